"""A reference as fine as it has to be: two resolutions agree, or the next one runs.

The error of a run is estimated by its distance to a coarser one, on a few points; it may be a small
share of the error of the student that the reference is to judge.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .runs import log_error
from .trajectory import Trajectory

#: Calls of the references tried, each after the one before it did not do.
LEVELS = (28, 56, 112, 224)
#: Calls of the rough one that the first of them is compared with, and the points that it takes.
ROUGH = 20
PROBES = 4
#: The share of the distance between two resolutions that the finer is taken to be off by: a
#: quarter, as for an error that halves with the step.
_LEFT = 0.25

#: ``make(calls, points)`` runs a reference over the first ``points`` (None: all).
Make = Callable[[int, int | None], Trajectory]


def fine_enough(make: Make, student: torch.Tensor, share: float) -> tuple[Trajectory, float]:
    """The first of :data:`LEVELS` whose error is at most ``share`` of the student's.

    Args:
        make: runs a reference.
        student: final states of the student on the first :data:`PROBES` points.
        share: of the mean square error, in the geometric mean over those points.

    Returns:
        The reference, and the share that its error is estimated to be.
    """
    probes = len(student)
    coarse = make(ROUGH, probes)
    for calls in LEVELS:
        fine = make(calls, None)
        estimate = _apart(fine, coarse, probes, student)
        if estimate <= share:
            break
        coarse = fine
    return fine, estimate


def _apart(fine: Trajectory, coarse: Trajectory, probes: int, student: torch.Tensor) -> float:
    off = (fine.final[:probes] - coarse.final[:probes]).double().flatten(1)
    error = (student - fine.final[:probes]).double().flatten(1)
    distance = torch.tensor(log_error(off) - log_error(error)).exp()
    return _LEFT * float(distance)
