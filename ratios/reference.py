"""The grid of the reference trajectory, which passes through the times of the student's.

The paper takes a DDIM of 999 steps.  Cutting the student's own intervals into steps even in
half-logSNR and running UniPC over them is as exact with a tenth of the calls, and lies on the
student's times without interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..solvers.grid import finite_part
from ..solvers.schedules import Schedule

#: Where the step to sigma 0 is cut: below, one step goes straight to 0.
_LAST_SIGMA = 2e-3
#: The half-logSNRs between which images take shape, and the share of steps spent elsewhere.
_BUSY = (-4.0, 1.5)
_ELSEWHERE = 0.35
#: Two sigmas closer than this in half-logSNR share their reference state.
_SAME = 1e-6


def reference_sigmas(
    sigmas: Sequence[float], schedule: Schedule, calls: int
) -> tuple[list[float], list[int]]:
    """A fine grid through ``sigmas`` (descending), and where in it each of them stands.

    It has about ``calls`` steps, and at least one in each interval.
    """
    intervals = list(zip(sigmas, sigmas[1:]))
    parts = [finite_part(here, after, schedule, _LAST_SIGMA) for here, after in intervals]
    efforts = [_effort(start, stop, schedule) for start, stop in parts]
    per_effort = calls / sum(efforts) if sum(efforts) > 0.0 else 0.0

    fine = [sigmas[0]]
    places = [0]
    for (here, after), (start, stop), effort in zip(intervals, parts, efforts):
        if start != here:
            fine.append(start)
        if effort > 0.0:
            count = max(1, round(per_effort * effort))
            first, last = schedule.half_logsnr(start), schedule.half_logsnr(stop)
            fine += [schedule.sigma_at(first + (last - first) * k / count) for k in range(1, count)]
            fine.append(stop)
        if stop != after:
            fine.append(after)
        places.append(len(fine) - 1)
    return fine, places


def _effort(start: float, stop: float, schedule: Schedule) -> float:
    """How many steps an interval deserves: its length, less where little happens."""
    if start == stop:
        return 0.0
    a, b = schedule.half_logsnr(start), schedule.half_logsnr(stop)
    busy = max(min(b, _BUSY[1]) - max(a, _BUSY[0]), 0.0)
    return busy + _ELSEWHERE * (b - a - busy)


def union(grids: Sequence[Sequence[float]], schedule: Schedule) -> list[float]:
    """All sigmas of several descending grids, descending, near-equal ones once."""
    merged: list[float] = []
    for sigma in sorted({sigma for grid in grids for sigma in grid}, reverse=True):
        if not merged or not _same(merged[-1], sigma, schedule):
            merged.append(sigma)
    return merged


def _same(a: float, b: float, schedule: Schedule) -> bool:
    return a == b or abs(schedule.half_logsnr(a) - schedule.half_logsnr(b)) < _SAME
