"""Carrying ratios over to the sigmas of a run: the same grid, a tail of it, or neither."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ..solvers import LearnedSteps, Schedule
from ..solvers.grid import SAME_POINT, falls_strictly, make_grid, same_point
from ..solvers.learned import learned_over
from .schedule import RatioSchedule
from .text import base_of, counted
from .warp import warped


def carry_over(found: RatioSchedule, sigmas: Sequence[float], schedule: Schedule) -> RatioSchedule:
    """The ratios for a run over ``sigmas``, and in the notes what was done.

    A run over the grid that the ratios are for gets them as they are, and so does a run of as many
    steps where that grid is not known.  A run over a part of it (img2img, a start or end step)
    gets, for each step that is a step of that grid, its ratio.  Other steps get 1, and so do the
    first ``dc_order``, at which too few outputs are known for compensation to act.

    Learned steps are for runs over the whole grid, or over the learned sigmas themselves; any other
    runs plain.  So does one to which nothing of a tournament is left but the solver that it chose,
    which is best on its own grid alone: with that of DC-Solver.
    """
    values = [float(sigma) for sigma in sigmas]
    steps = max(len(values) - 1, 0)
    if found.sigmas is None:
        if steps != found.steps:
            reason = f"the ratios are for {counted(found.steps)} and this run has {steps}"
            return _plain(found, values, reason)
        if found.start is not None and not same_point(found.start, values[0], schedule):
            reason = f"the ratios are for runs from sigma {found.start:.4g}, not {values[0]:.4g}"
            return _plain(found, values, reason)
        over = laid_over(found, values, schedule)
        if found.warp is None or over.learned is None:
            return over
        return over.with_notes(
            "the steps moved are those of this run, whose schedule is not known to be the one"
        )
    whole = over_whole(found, values, schedule)
    if whole is not None:
        return whole
    if found.moves_steps:
        return _plain(
            found,
            values,
            "learned steps hold for whole runs over the schedule they were found on, these for "
            f"{_grid_of(found)}, and the sigmas of this run of {counted(steps)} are others; for "
            "image to image use a calibration of quality paper or ratios+",
        )
    ratios: list[float] = []
    hits = 0
    ours, theirs = _lams(values, schedule), _lams(found.sigmas, schedule)
    part = _nearest(ours, theirs, SAME_POINT)
    for k in range(steps):
        step = part or _nearest(ours[k : k + 2], theirs, SAME_POINT)
        at = None if step is None else step[1] + (k if part else 0)
        acts = at is not None and len(ratios) >= found.dc_order
        ratios.append(found.ratios[at] if at is not None and acts else 1.0)
        hits += acts
    if hits == 0 or (found.chose_solver and all(ratio == 1.0 for ratio in ratios)):
        return _plain(
            found,
            values,
            f"the ratios are for {_grid_of(found)}, and the sigmas of this run of {counted(steps)} "
            "are others: another schedule, denoise or shift; calibrate or predict for it",
        )
    note = f"{hits} of {steps} steps have the ratio of the same step of the calibrated grid"
    return replace(
        found, ratios=tuple(ratios), sigmas=tuple(values), report=None, notes=(*found.notes, note)
    )


def _grid_of(found: RatioSchedule) -> str:
    on = f" on {found.identity.scheduler}" if found.identity.scheduler else ""
    return f"{counted(found.steps)}{on}"


def _plain(found: RatioSchedule, sigmas: list[float], reason: str) -> RatioSchedule:
    count = max(len(sigmas) - 1, 0)
    note = f"{reason}; sampling as plain {base_of(found)}"
    return replace(
        found,
        **found.serves,
        ratios=(1.0,) * count,
        sigmas=tuple(sigmas) if sigmas else None,
        report=None,
        learned=None,
        warp=None,
        notes=(*found.notes, note),
    )


def laid_over(found: RatioSchedule, sigmas: Sequence[float], schedule: Schedule) -> RatioSchedule:
    """A warp that has no grid yet over that of a run; anything else as it is.

    A grid whose steps cannot be moved, for it stands still somewhere, runs plain, and so does one
    between whose ends the learned steps do not fit.
    """
    values = [float(sigma) for sigma in sigmas]
    if found.learned is not None:
        if _fits(found.learned, values, schedule):
            return found
        return _plain(found, values, "the learned steps do not fit between the ends of this run")
    if found.warp is None:
        return found
    movable = len(values) > 1 and falls_strictly(values)
    grid = warped(values, schedule, found.warp) if movable else None
    if grid is None:
        return _plain(found, values, "the steps of this schedule cannot be moved")
    return replace(found, sigmas=tuple(values), learned=LearnedSteps(grid))


def _fits(learned: LearnedSteps, sigmas: Sequence[float], schedule: Schedule) -> bool:
    """Whether learned steps can be run from the first of these sigmas to the last."""
    try:
        over = learned_over(learned, make_grid(sigmas, schedule), schedule)
        make_grid((*over.inputs, *over.sigmas), schedule)
    except ValueError:
        return False
    return True


def part_at(found: RatioSchedule, sigmas: Sequence[float], place: int) -> RatioSchedule:
    """The ratios of the part of their grid that begins at ``place``, for a run over ``sigmas``.

    The first ``dc_order`` are 1, at which too few outputs are known for compensation to act.
    """
    steps = len(sigmas) - 1
    own = found.ratios[place : place + steps]
    ratios = (1.0,) * min(found.dc_order, steps) + own[found.dc_order :]
    note = f"steps {place + 1} to {place + steps} of a schedule of {found.steps}"
    return replace(
        found, ratios=ratios, sigmas=tuple(sigmas), report=None, notes=(*found.notes, note)
    )


def over_whole(
    found: RatioSchedule, sigmas: Sequence[float], schedule: Schedule, within: float = SAME_POINT
) -> RatioSchedule | None:
    """The ratios for a run over all of their grid, or over the sigmas that they move it to; None
    for any other run."""
    if found.sigmas is None:
        return None
    if same_grid(found.sigmas, sigmas, schedule, within):
        return laid_over(found, sigmas, schedule)
    moved = laid_over(found, found.sigmas, schedule)
    if moved.learned is None or not same_grid(moved.learned.sigmas, sigmas, schedule, within):
        return None
    return laid_over(moved, sigmas, schedule)


def same_grid(
    a: Sequence[float], b: Sequence[float], schedule: Schedule, within: float = SAME_POINT
) -> bool:
    """Whether two grids agree in every sigma, within a distance in half-logSNR."""
    return len(a) == len(b) and all(same_point(x, y, schedule, within) for x, y in zip(a, b))


def place_of(
    part: Sequence[float], grid: Sequence[float], schedule: Schedule, within: float = SAME_POINT
) -> int | None:
    """Where in ``grid`` the sigmas of ``part`` follow each other, at the nearest place of several;
    None where they do not."""
    found = nearest_place(part, grid, schedule, within)
    return None if found is None else found[1]


def nearest_place(
    part: Sequence[float], grid: Sequence[float], schedule: Schedule, within: float = SAME_POINT
) -> tuple[float, int] | None:
    """That place, behind how far the two are apart there: the sum over their sigmas of the distance
    in half-logSNR, where that is finite."""
    return _nearest(_lams(part, schedule), _lams(grid, schedule), within)


def _nearest(part: list[float], grid: list[float], within: float) -> tuple[float, int] | None:
    """The same of half-logSNRs."""
    places = (
        k
        for k in range(len(grid) - len(part) + 1)
        if all(_apart(lam, grid[k + i]) <= within for i, lam in enumerate(part))
    )
    apart = ((math.fsum(map(_apart, part, grid[k : k + len(part)])), k) for k in places)
    return min(apart, default=None)


def _lams(sigmas: Sequence[float], schedule: Schedule) -> list[float]:
    return [schedule.half_logsnr(sigma) for sigma in sigmas]


def _apart(here: float, there: float) -> float:
    """How far two half-logSNRs are apart; those that are infinite alike are the same."""
    return 0.0 if here == there else abs(here - there)
