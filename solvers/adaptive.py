"""DPM-Solver-12 and -23: adaptive step sizes (2206.00927, appendix C).

Each attempt takes one step at two orders from the same outputs.  Their difference, in units of the
tolerance, decides whether the step is kept and how long the next one is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from tqdm.auto import tqdm

from .calls import Calls, start_not_finite
from .grid import Grid, Point, finite_part
from .run import Callback, advanced
from .schedules import Schedule
from .singlestep import step_of, update_of
from .solver import Solver, Stage
from .step import Step

#: Where the last stretch is taken in one step: to sigma 0 it is infinitely long in half-logSNR, and
#: few models were trained below.
_LAST_SIGMA = 0.03


@dataclass(frozen=True)
class Tolerance:
    """What an adaptive solver aims for (the paper's defaults).

    A step is kept where the root mean square of its error estimate, in units of
    ``max(atol, rtol * |x|)``, is at most 1 for every sample.  ``first_step`` is in half-logSNR.
    Where ``max_calls`` would be exceeded the rest is done in one step of order 1, and the report
    says so.
    """

    atol: float = 0.0078
    rtol: float = 0.05
    first_step: float = 0.05
    safety: float = 0.9
    max_calls: int = 200


@dataclass(frozen=True)
class RunReport:
    """What a run took: model calls, and of an adaptive one the steps kept and tried again.

    ``capped`` tells that the calls ran out before the tolerance was met to the end.
    """

    calls: int
    accepted: int = 0
    rejected: int = 0
    capped: bool = False


def run_adaptive(
    entry: Solver,
    grid: Grid,
    schedule: Schedule,
    tolerance: Tolerance,
    calls: Calls,
    x: torch.Tensor,
    callback: Callback | None,
    disable: bool | None,
) -> tuple[torch.Tensor, RunReport]:
    """Integrate down from the first to the last sigma of the grid; those between play no part.

    The callback's step is the share of the way in half-logSNR that is behind, in steps of the grid:
    a step that is tried again moves no bar.
    """
    state = x.to(calls.dtype)
    if not bool(torch.isfinite(state).all()):
        raise start_not_finite()
    start, end, goal = _ends(grid, schedule)
    way = _Way(grid, start, end, callback, disable)
    here = grid.points[0]
    if here.sigma != start.sigma:
        state = _first_order(calls, way, state, here, start)
        here = start
    h = tolerance.first_step
    accepted = rejected = 0
    capped = False
    before = state * _paper_scale(schedule, here)
    reserve = 1 + (goal.sigma != end.sigma)
    known: torch.Tensor | None = None
    while here.sigma != end.sigma:
        cost = entry.orders[0] - (known is not None)
        if calls.count + cost + reserve > tolerance.max_calls:
            state = _first_order(calls, way, state, here, end, known)
            capped = True
            break
        last = h >= (end.lam - here.lam) * (1.0 - 1e-6)
        target = end if last else Point.at_half_logsnr(here.lam + h, schedule)
        low, high, known = _attempt(entry, schedule, calls, way, state, here, target, known)
        scale = _paper_scale(schedule, target)
        error = _error(low * scale, high * scale, before, tolerance)
        if not math.isfinite(error):
            calls.check_finite(grid.steps, outputs_alone=True)  # else the step itself was too long
        h = (target.lam - here.lam) * _growth(error, entry.orders[0], tolerance)
        if error <= 1.0:
            before, state, here, known = low * scale, high, target, None
            accepted += 1
            way.reached(here)
        else:
            rejected += 1
    if goal.sigma != end.sigma:
        state = _first_order(calls, way, state, end, goal)
    way.close()
    return state.to(x.dtype), RunReport(calls.count, accepted, rejected, capped)


def _ends(grid: Grid, schedule: Schedule) -> tuple[Point, Point, Point]:
    """Where the adaptive part starts and ends, both finite in half-logSNR, and the goal."""
    first, last = finite_part(grid.sigmas[0], grid.sigmas[-1], schedule, _LAST_SIGMA)
    return Point.at(first, schedule), Point.at(last, schedule), grid.points[-1]


def _attempt(
    entry: Solver,
    schedule: Schedule,
    calls: Calls,
    way: _Way,
    state: torch.Tensor,
    here: Point,
    target: Point,
    known: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The step at the lower and the higher order, and the x0 at its start for a next try."""
    order = entry.orders[0]
    steps = step_of(entry, order, here, target, schedule)
    stage, outputs = state, [] if known is None else [known]
    for k, step in enumerate(steps):
        if k > 0 or known is None:
            denoised = calls(stage, step.sigma, way.step)
            way.show(stage, step.sigma, denoised)
            outputs.insert(0, denoised)
        stage = advanced(step, state, None, outputs)
    low = advanced(_lower(entry, here, target, schedule), state, None, outputs[1 - order :])
    return low, stage, outputs[-1]


def _lower(entry: Solver, here: Point, target: Point, schedule: Schedule) -> Step:
    """The same step at one order less, of the first outputs alone."""
    assert entry.embedded is not None
    at = partial(Point.at_half_logsnr, schedule=schedule)
    return update_of(here, here, entry.embedded(here, target, at))


def _first_order(
    calls: Calls,
    way: _Way,
    state: torch.Tensor,
    here: Point,
    target: Point,
    known: torch.Tensor | None = None,
) -> torch.Tensor:
    denoised = calls(state, here.sigma, way.step) if known is None else known
    way.show(state, here.sigma, denoised)
    way.reached(target)
    return advanced(update_of(here, here, Stage(target, ())), state, None, [denoised])


def _growth(error: float, order: int, tolerance: Tolerance) -> float:
    """How much longer than this step the next is to be."""
    if not math.isfinite(error):
        return 0.1
    return min(max(tolerance.safety * max(error, 1e-12) ** (-1.0 / order), 0.1), 10.0)


def _paper_scale(schedule: Schedule, point: Point) -> float:
    """The papers' state over the host's: the tolerances are meant for that of unit variance."""
    return schedule.alpha(point.sigma) / point.signal


def _error(
    low: torch.Tensor, high: torch.Tensor, before: torch.Tensor, tolerance: Tolerance
) -> float:
    """The largest over the batch of the root mean square error in units of the tolerance."""
    unit = torch.maximum(low.abs(), before.abs()).mul_(tolerance.rtol).clamp_min_(tolerance.atol)
    return float(((low - high) / unit).reshape(len(low), -1).square().mean(dim=1).sqrt().max())


class _Way:
    """How far a run is, for the host's progress bar and the console's."""

    def __init__(
        self, grid: Grid, start: Point, end: Point, callback: Callback | None, disable: bool | None
    ) -> None:
        self.step = 0
        self._steps = grid.steps
        self._start, self._end = start.lam, end.lam
        self._callback = callback
        self._bar = tqdm(total=grid.steps, disable=disable)

    def reached(self, point: Point) -> None:
        """A kept step has come this far."""
        share = min((point.lam - self._start) / ((self._end - self._start) or 1.0), 1.0)
        step = min(int(share * self._steps), self._steps - 1)
        self._bar.update(step - self.step)
        self.step = step

    def show(self, state: torch.Tensor, sigma: float, denoised: torch.Tensor) -> None:
        if self._callback is None:
            return
        at = torch.full((), sigma, dtype=state.dtype, device=state.device)
        self._callback(
            {"x": state, "i": self.step, "sigma": at, "sigma_hat": at, "denoised": denoised}
        )

    def close(self) -> None:
        self._bar.update(self._steps - self._bar.n)
        self._bar.close()
