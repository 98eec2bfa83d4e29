"""The steps of a multistep method: outputs of earlier steps, UniC, compensation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from .compensation import interpolation_weights
from .grid import Grid, Point
from .orders import step_order
from .parameterisation import output_weights, transfer
from .schedules import Schedule
from .solver import Solver, Span
from .step import Settings, Step, nothing

#: In half-logSNR: beyond, exp(h) - 1 is more than a corrector on noise may add.
_LONG = 1.0


def multistep_plan(
    entry: Solver,
    grid: Grid,
    schedule: Schedule,
    settings: Settings,
    ratios: Sequence[float] | None,
    earlier_sigmas: Sequence[float],
) -> list[Step]:
    """The steps of a run; see :func:`solvers.plan.make_plan`."""
    points = [Point.at(sigma, schedule) for sigma in earlier_sigmas]  # of the outputs, newest first
    in_time = settings.dc_order is not None and settings.variable == "t"
    if in_time and grid.steps_to_end and not schedule.has_model_time:
        schedule.model_time(grid.sigmas[0])  # which raises, and says what to do
    steps: list[Step] = []
    repeated = False
    for i, (here, target) in enumerate(zip(grid.points, grid.points[1:])):
        if here.sigma == 0.0:
            steps.append(nothing(0.0, 0.0))
            continue
        if repeated:
            del points[0]
        points.insert(0, here)
        if len(points) > 1 and (target.lam - here.lam) * (here.lam - points[1].lam) < 0.0:
            del points[1:]
        ratio = 1.0 if ratios is None else ratios[i]
        fresh = not steps or steps[-1].correct is None
        step = _make_step(entry, grid, i, points, target, settings, ratio, schedule, fresh)
        steps.append(replace(step, replaces_newest=repeated))
        # The next output then replaces the newest in place of joining it.
        repeated = target.repeats(here)
    return _with_keep(steps)


def _make_step(
    entry: Solver,
    grid: Grid,
    i: int,
    points: Sequence[Point],
    target: Point,
    settings: Settings,
    ratio: float,
    schedule: Schedule,
    fresh: bool,
) -> Step:
    """``fresh``: the newest output belongs to the state, which no corrector has moved since."""
    here = points[0]
    if target.repeats(here):
        return _first_order(entry, here, target)
    h = target.lam - here.lam

    order = settings.order
    if settings.lower_order:
        order = min(order, grid.steps_to_end - i)
    known = _usable(entry, points)
    order = _order(known, target, order, settings.lower_order is True)
    span = Span(known[:order], target, settings.variant, schedule)
    assert entry.predict is not None and entry.correct is not None

    nodes = _nodes(points, settings, schedule)
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


def _usable(entry: Solver, points: Sequence[Point]) -> list[Point]:
    """The newest point and those before it that a polynomial can pass through."""
    if entry.parameterisation == "derivative":  # in sigma or time, finite everywhere
        return list(points)
    return [points[0], *(point for point in points[1:] if math.isfinite(point.lam))]


def _nodes(points: Sequence[Point], settings: Settings, schedule: Schedule) -> tuple[float, ...]:
    """The times (or half-logSNRs) of the outputs that compensation would interpolate."""
    if settings.dc_order is None or len(points) <= settings.dc_order:
        return ()
    newest = points[: settings.dc_order + 1]
    if settings.variable == "t":
        return tuple(schedule.model_time(point.sigma) for point in newest)
    return tuple(point.lam for point in newest)


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
