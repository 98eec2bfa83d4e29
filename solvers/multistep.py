"""The steps of a multistep method: outputs of earlier steps, UniC, compensation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .compensation import interpolation_weights
from .grid import REPEAT, Grid, Point
from .orders import step_order
from .parameterisation import output_weights, transfer
from .schedules import Schedule
from .solver import Solver, Span
from .step import Settings, Step, nothing

#: In half-logSNR: beyond, exp(h) - 1 is more than a corrector on noise may add.
_LONG = 1.0


@dataclass
class _History:
    """The points of the outputs that a step may use, and their labels for the compensation, newest
    first."""

    points: list[Point] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)

    def push(self, point: Point, label: float) -> None:
        self.points.insert(0, point)
        self.labels.insert(0, label)

    def drop_newest(self) -> None:
        del self.points[0], self.labels[0]

    def forget_older(self) -> None:
        del self.points[1:], self.labels[1:]

    def usable(self, entry: Solver) -> list[Point]:
        """The newest point and those before it that a polynomial can pass through."""
        if entry.parameterisation == "derivative":  # in sigma or time, finite everywhere
            return list(self.points)
        return [self.points[0], *(p for p in self.points[1:] if math.isfinite(p.lam))]


def multistep_plan(
    entry: Solver,
    grid: Grid,
    schedule: Schedule,
    settings: Settings,
    ratios: Sequence[float] | None,
    earlier_sigmas: Sequence[float],
) -> list[Step]:
    """The steps of a run; see :func:`solvers.plan.make_plan`."""
    timed = entry.timed or (settings.dc_order is not None and settings.variable == "t")

    def label(point: Point) -> float:
        return point.time if settings.variable == "t" else point.lam

    history = _History()
    for sigma in reversed(earlier_sigmas):
        point = Point.at(sigma, schedule, timed=timed)
        history.push(point, label(point))
    steps: list[Step] = []
    repeated = False
    for i in range(grid.steps):
        if grid.sigmas[i] == 0.0:
            steps.append(nothing(0.0, 0.0))
            continue
        here = Point.at(grid.sigmas[i], schedule, timed=timed)
        target = Point.at(grid.sigmas[i + 1], schedule)
        if repeated:
            history.drop_newest()
        history.push(here, label(here))
        points = history.points
        if len(points) > 1 and (target.lam - here.lam) * (here.lam - points[1].lam) < 0.0:
            history.forget_older()
        ratio = 1.0 if ratios is None else ratios[i]
        fresh = not steps or steps[-1].correct is None
        step = _make_step(entry, grid, i, history, target, settings, ratio, schedule, fresh)
        steps.append(replace(step, replaces_newest=repeated))
        repeated = target.lam == here.lam or abs(target.lam - here.lam) < REPEAT
    return _with_keep(steps)


def _make_step(
    entry: Solver,
    grid: Grid,
    i: int,
    history: _History,
    target: Point,
    settings: Settings,
    ratio: float,
    schedule: Schedule,
    fresh: bool,
) -> Step:
    """``fresh``: the newest output belongs to the state, which no corrector has moved since."""
    here = history.points[0]
    h = 0.0 if target.lam == here.lam else target.lam - here.lam
    if abs(h) < REPEAT:
        return _first_order(entry, here, target)

    order = settings.order
    if settings.lower_order:
        order = min(order, grid.steps_to_end - i)
    known = history.usable(entry)
    order = _order(known, target, order, settings.lower_order is True)
    span = Span(known[:order], target, settings.variant, schedule)
    assert entry.predict is not None and entry.correct is not None

    nodes: tuple[float, ...] = ()
    if settings.dc_order is not None and len(history.labels) > settings.dc_order:
        nodes = tuple(history.labels[: settings.dc_order + 1])
    compensate = interpolation_weights(nodes, ratio) if nodes and ratio != 1.0 else None

    wanted = settings.corrector and (settings.first_corrector or i > 0)
    if settings.lower_order is True and len(known) == 1 and _amplifies(entry, h):
        wanted = False
    correct = entry.correct(span) if wanted and i + 1 < grid.steps_to_end else None
    if correct is not None and not any(correct):
        correct = None
    own = entry.parameterisation != "data" and order == 1
    if own and ((fresh and not nodes) or here.signal == 0.0):
        step = _first_order(entry, here, target)
    else:
        state, _ = transfer(entry.parameterisation, here, target)
        convert = output_weights(entry.parameterisation, here)
        outputs = entry.predict(span)
        step = Step(here.sigma, target.sigma, state, outputs, None, order, convert=convert)
    return replace(step, nodes=nodes, compensate=compensate, correct=correct)


def _order(known: Sequence[Point], target: Point, order: int, lower_long_steps: bool) -> int:
    """The order of a step by the outputs that it would use.

    Lengths count in half-logSNR; where one of the outputs is at pure noise, infinitely far away
    there, in sigma.
    """
    lams = [point.lam for point in known[:order]]
    if math.isinf(target.lam) or all(map(math.isfinite, lams)):
        return step_order(lams, target.lam, order=order, lower_long_steps=lower_long_steps)
    sigmas = [-point.sigma for point in known[:order]]
    return step_order(sigmas, -target.sigma, order=order, lower_long_steps=lower_long_steps)


def _amplifies(entry: Solver, h: float) -> bool:
    """Whether a corrector that has one output alone would add exp(|h|) times its change: on x0 on
    the way back to noise, on noise on a long way down."""
    if entry.parameterisation == "noise":
        return h > _LONG
    return entry.parameterisation == "data" and h < 0.0


def _first_order(entry: Solver, here: Point, target: Point) -> Step:
    """DDIM on x0: the same as on noise where the output belongs to the state, and no division by
    the signal, which is small or 0 where a flow begins."""
    state, denoised = transfer("data", here, target)
    convert = output_weights(entry.parameterisation, here)
    if convert is None:
        outputs = (denoised,) if denoised else ()
        return Step(here.sigma, target.sigma, state, outputs, None, order=1)
    return Step(
        here.sigma, target.sigma, state, (), None, order=1, denoised=denoised, convert=convert
    )


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
