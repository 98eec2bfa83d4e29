"""All coefficients of one run, computed in float64 before the first model call.

Every update of a multistep exponential integrator is linear in the state and in the model's
outputs.  A plan is the list of those weights, so the loop that runs it only multiplies and adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .compensation import interpolation_weights
from .grid import Grid
from .orders import step_order
from .schedules import Schedule
from .unipc import corrector_weights, predictor_weights

#: Steps shorter than this in half-logSNR are a repeated sigma: divided differences over them are
#: noise, so the next output replaces the newest one in place of joining it.
_REPEAT = 1e-5


@dataclass(frozen=True)
class Settings:
    """How to integrate: the arguments of :func:`solvers.sample` that shape the coefficients.

    ``dc_order`` None means no compensation; then no model time is needed.
    """

    order: int = 2
    variant: str = "bh2"
    corrector: bool = True
    dc_order: int | None = None
    variable: str = "t"
    lower_order: bool | str = True
    first_corrector: bool = True


@dataclass(frozen=True)
class Step:
    """The update from ``sigmas[i]`` to ``sigmas[i + 1]``; outputs count from the newest.

    ``x_next = state * x + sum_j outputs[j] * m_j``, after ``m_0 <- sum_j compensate[j] * m_j``
    where ``compensate`` is given.  Once the model has been called at ``x_next``, giving ``m_new``,
    ``correct`` adds ``correct[0] * m_new + sum_j correct[j + 1] * m_j``.

    ``nodes`` are the times (or half-logSNRs) of the ``K + 1`` newest outputs where compensation can
    act, else empty.  ``keep`` tells how many outputs, from the newest, later steps still use.
    """

    state: float
    outputs: tuple[float, ...]
    correct: tuple[float, ...] | None
    order: int
    nodes: tuple[float, ...] = ()
    compensate: tuple[float, ...] | None = None
    calls_model: bool = True
    replaces_newest: bool = False
    keep: int = 0


@dataclass
class _History:
    """Half-logSNR and time of the outputs a step may use, newest first."""

    lambdas: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def push(self, lam: float, time: float) -> None:
        self.lambdas.insert(0, lam)
        self.times.insert(0, time)

    def drop_newest(self) -> None:
        del self.lambdas[0], self.times[0]

    def forget_older(self) -> None:
        del self.lambdas[1:], self.times[1:]

    @property
    def finite(self) -> list[float]:
        """The newest half-logSNR and the finite ones before it."""
        older = (lam for lam in self.lambdas[1:] if math.isfinite(lam))
        return [self.lambdas[0], *older]


def make_plan(
    grid: Grid,
    schedule: Schedule,
    settings: Settings,
    ratios: Sequence[float] | None = None,
    earlier_sigmas: Sequence[float] = (),
) -> list[Step]:
    """The steps of a run over ``grid``.

    ``ratios`` has one number a step; those where fewer than ``dc_order + 1`` outputs are known
    are ignored.  ``earlier_sigmas``, newest first, are the sigmas of outputs known before the run
    starts.  Raises ValueError where compensation in ``t`` meets a schedule without a model time.
    """

    def label(sigma: float) -> float:
        if settings.dc_order is None:
            return math.nan
        return (
            schedule.model_time(sigma) if settings.variable == "t" else schedule.half_logsnr(sigma)
        )

    history = _History()
    for sigma in reversed(earlier_sigmas):
        history.push(schedule.half_logsnr(sigma), label(sigma))
    steps: list[Step] = []
    repeated = False
    for i in range(grid.steps):
        lam, target = grid.lambdas[i], grid.lambdas[i + 1]
        if grid.sigmas[i] == 0.0:
            steps.append(Step(1.0, (), None, order=0, calls_model=False))
            continue
        if repeated:
            history.drop_newest()
        history.push(lam, label(grid.sigmas[i]))
        turned = len(history.lambdas) > 1 and (target - lam) * (lam - history.lambdas[1]) < 0.0
        if turned:
            history.forget_older()
        ratio = 1.0 if ratios is None else ratios[i]
        step = _make_step(grid, i, history, settings, ratio)
        steps.append(replace(step, replaces_newest=repeated))
        repeated = target == lam or abs(target - lam) < _REPEAT
    return _with_keep(steps)


def _make_step(grid: Grid, i: int, history: _History, settings: Settings, ratio: float) -> Step:
    sigma, sigma_next = grid.sigmas[i], grid.sigmas[i + 1]
    signal, signal_next = grid.signals[i], grid.signals[i + 1]
    h = 0.0 if grid.lambdas[i + 1] == grid.lambdas[i] else grid.lambdas[i + 1] - grid.lambdas[i]
    state = sigma_next / sigma
    newest = signal_next - signal * state
    if abs(h) < _REPEAT:
        return Step(state, (newest,) if newest else (), None, order=1)

    order = settings.order
    if settings.lower_order:
        order = min(order, grid.steps_to_end - i)
    known = history.finite
    order = step_order(
        known,
        grid.lambdas[i + 1],
        order=order,
        lower_long_steps=settings.lower_order is True,
    )
    distances = [lam - known[0] for lam in known[1:order]]
    extra = predictor_weights(distances, h, settings.variant)
    outputs = tuple(signal_next * weight for weight in extra)
    outputs = (newest + outputs[0], *outputs[1:])

    nodes: tuple[float, ...] = ()
    if settings.dc_order is not None and len(history.times) > settings.dc_order:
        nodes = tuple(history.times[: settings.dc_order + 1])
    compensate = interpolation_weights(nodes, ratio) if nodes and ratio != 1.0 else None

    correct = None
    wanted = settings.corrector and (settings.first_corrector or i > 0)
    if settings.lower_order is True and h < 0.0 and len(known) == 1:
        # Back to noise, with nothing to correct by but one output: exp(-h) times its change.
        wanted = False
    if wanted and i + 1 < grid.steps_to_end:
        weights = corrector_weights(distances, h, settings.variant)
        correct = tuple(signal_next * weight for weight in weights)
    return Step(state, outputs, correct, order, nodes, compensate)


def _with_keep(steps: list[Step]) -> list[Step]:
    """Tell each step how many outputs to keep, newest first, for those that follow."""
    kept: list[Step] = []
    need_after = 0
    for step in reversed(steps):
        keep = max(need_after, len(step.correct) - 1 if step.correct else 0)
        kept.append(replace(step, keep=keep))
        need = max(len(step.outputs), len(step.nodes), keep)
        need_after = max(need, 1) if step.replaces_newest else need - 1
    return kept[::-1]
