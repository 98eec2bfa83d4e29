"""A reference as fine as it has to be: two resolutions agree, or the next one runs.

The error of a run is estimated by its distance to a coarser one, on a few points; it may be a small
share of the error of the student that the reference is to judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from .runs import log_error
from .trajectory import Trajectory

#: Calls of the references tried, each after the one before it did not do, for runs of five steps
#: or less; longer ones take more in proportion.
LEVELS = (28, 56, 112, 224)
#: Calls of the rough one that the first of them is compared with, and the points that it takes.
ROUGH = 20
PROBES = 4
#: Two that step where the student does would agree with it and with each other, so the rough one
#: takes twice its steps or more, the first level a quarter more than that, and 28 for 5 steps: with
#: half of that ratios were found that fit the error of the reference (flow, CFG 1.5, beta, 8 steps:
#: 0.70 of the plain error by the reference, 0.87 by the truth).
_ROUGH_STEPS, _LEVEL_STEPS, _FINER = 2, 5.6, 1.25
#: A known one of fewer calls than this share of the first level does not do, whatever it says of
#: itself; one to go on with has so many times the calls of a known one.
_ENOUGH, _NEXT = 0.75, 1.5
#: How far off it may be by the estimate, as a share of the student's error; the estimate is one to
#: three times the truth on the trained models.
SHARE = 0.04
#: The order of the solver that the references are run with, or less: by what power of their calls
#: their errors fall.
_ORDER = 2

#: ``make(calls, points)`` runs a reference over the first ``points`` (None: all).
Make = Callable[[int, int | None], Trajectory]


@dataclass(frozen=True)
class Reference:
    """A reference for which ``asked`` calls were asked.

    ``log_off`` is what its mean log error over the probes is estimated to be by its distance to a
    coarser one; 0 where none was run.
    """

    trajectory: Trajectory
    asked: int
    log_off: float = 0.0

    def share(self, student: torch.Tensor) -> float:
        """What its error is estimated to be, as a share of the student's; see
        :func:`fine_enough`."""
        error = (student - self.trajectory.final[: len(student)]).double().flatten(1)
        return float(torch.tensor(self.log_off - log_error(error), device="cpu").exp())

    @property
    def finite(self) -> bool:
        """Whether it can be relied on."""
        return math.isfinite(self.log_off) and self.trajectory.finite


def _log_off(fine: Trajectory, coarse: Trajectory, probes: int) -> float:
    """The log error of the finer of two, were both off by a power of their calls (Richardson)."""
    apart = log_error((fine.final[:probes] - coarse.final[:probes]).double().flatten(1))
    finer = max(fine.calls / coarse.calls, _FINER)
    return apart - 2.0 * math.log(finer**_ORDER - 1.0)


class Resolutions(NamedTuple):
    """The calls of the rough reference, and of the levels that are tried after it."""

    rough: int
    levels: Sequence[int]


def resolutions_for(calls: Callable[[int], int], steps: int) -> Resolutions:
    """Those that tell how exact they are for a student of ``steps``.

    ``calls`` says how many calls a reference comes to for which so many are asked.
    """
    rough = max(ROUGH, _ROUGH_STEPS * steps)
    first = max(_LEVEL_STEPS * steps / LEVELS[0], 1.0)
    most = max(math.ceil(first * LEVELS[0]), LEVELS[-1])
    levels = sorted({min(math.ceil(first * level), most) for level in LEVELS})
    least = _FINER * calls(rough)
    enough = [level for level in levels if calls(level) >= least]
    return Resolutions(rough, enough or [math.ceil(least)])


def fine_enough(
    make: Make,
    student: torch.Tensor,
    share: float,
    resolutions: Resolutions,
    known: Reference | None = None,
) -> Reference:
    """The first level whose error is at most ``share`` of the student's.

    Args:
        make: runs a reference.
        student: final states of the student on the first :data:`PROBES` points.
        share: of the mean square error, in the geometric mean over those points.
        resolutions: see :func:`resolutions_for`.
        known: the finest reference of these points so far, perhaps of another number of steps;
            where it does not do, the next level that is clearly finer is compared with it.
    """
    few = known is not None and known.asked < _ENOUGH * resolutions.levels[0]
    if known is not None and not few and known.share(student) <= share:
        return known
    probes = len(student)
    coarse = make(resolutions.rough, probes) if known is None else known.trajectory
    found = known
    least = 0.0 if known is None else _NEXT * known.asked
    levels = [calls for calls in resolutions.levels if calls >= least]
    for calls in levels or (resolutions.levels[-1:] if few else ()):
        fine = make(calls, None)
        found = Reference(fine, calls, _log_off(fine, coarse, probes))
        if not found.share(student) > share:  # nor is it with NaN, which no level mends
            break
        coarse = fine
    assert found is not None
    return found
