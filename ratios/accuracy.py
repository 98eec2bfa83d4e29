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

#: Calls of the references tried, each after the one before it did not do.
LEVELS = (28, 56, 112, 224)
#: Calls of the rough one that the first of them is compared with, and the points that it takes.
ROUGH = 20
PROBES = 4
#: Two that step where the student does would agree with it and with each other: the rough one takes
#: twice its steps or more, the first level nearly three times, and a quarter more than the rough.
_ROUGH_STEPS, _LEVEL_STEPS, _FINER = 2, 2.8, 1.25
#: The share of the distance between two resolutions that the finer is taken to be off by: a
#: quarter, as for an error that halves with the step.
_LEFT = 0.25

#: ``make(calls, points)`` runs a reference over the first ``points`` (None: all).
Make = Callable[[int, int | None], Trajectory]


@dataclass(frozen=True)
class Reference:
    """A reference for which ``asked`` calls were asked, and how far it is from a coarser one.

    ``log_apart`` is the mean log of that distance over the probes; 0 where none was run.
    """

    trajectory: Trajectory
    asked: int
    log_apart: float = 0.0

    def share(self, student: torch.Tensor) -> float:
        """What its error is estimated to be, as a share of the student's; see
        :func:`fine_enough`."""
        error = (student - self.trajectory.final[: len(student)]).double().flatten(1)
        distance = torch.tensor(self.log_apart - log_error(error)).exp()
        return _LEFT * float(distance)

    @property
    def finite(self) -> bool:
        """Whether it can be relied on."""
        return math.isfinite(self.log_apart) and self.trajectory.finite


class Resolutions(NamedTuple):
    """The calls of the rough reference, and of the levels that are tried after it."""

    rough: int
    levels: Sequence[int]


def resolutions_for(calls: Callable[[int], int], steps: int) -> Resolutions:
    """Those that tell how exact they are for a student of ``steps``.

    ``calls`` says how many calls a reference comes to for which so many are asked.
    """
    rough = max(ROUGH, _ROUGH_STEPS * steps)
    least = max(_LEVEL_STEPS * steps, _FINER * calls(rough))
    levels = [level for level in LEVELS if calls(level) >= least]
    return Resolutions(rough, levels or (math.ceil(least),))


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
        known: the finest reference of these points so far; where it does not do, the next level
            is compared with it.
    """
    if known is not None and known.share(student) <= share:
        return known
    probes = len(student)
    coarse = make(resolutions.rough, probes) if known is None else known.trajectory
    found = known
    for calls in resolutions.levels:
        if known is not None and calls <= known.asked:
            continue
        fine = make(calls, None)
        off = (fine.final[:probes] - coarse.final[:probes]).double().flatten(1)
        found = Reference(fine, calls, log_error(off))
        if not found.share(student) > share:  # nor is it with NaN, which no level mends
            break
        coarse = fine
    assert found is not None
    return found
