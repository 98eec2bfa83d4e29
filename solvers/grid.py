"""A sampling grid: the sigmas of one run, with all that follows from them, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .schedules import Schedule

#: Steps shorter than this in half-logSNR are a repeated sigma.
_REPEAT = 1e-5
#: Two sigmas this close in half-logSNR (5% in sigma) are the same point of a schedule.
SAME_POINT = 0.05
#: Where the step from a flow model's pure noise, infinitely long in half-logSNR, is cut.
FIRST_FLOW_SIGMA = 1.0 - 1e-3


@dataclass(frozen=True)
class Point:
    """A sigma with its signal factor and half-logSNR."""

    sigma: float
    signal: float
    lam: float

    @classmethod
    def at(cls, sigma: float, schedule: Schedule) -> Point:
        """The point of a schedule at a sigma."""
        return cls(sigma, schedule.signal(sigma), schedule.half_logsnr(sigma))

    @classmethod
    def at_half_logsnr(cls, lam: float, schedule: Schedule) -> Point:
        """The point of a schedule at a half-logSNR."""
        return cls.at(schedule.sigma_at(lam), schedule)

    def repeats(self, other: Point) -> bool:
        """Whether the two are so near that divided differences over them are noise."""
        return self.lam == other.lam or abs(self.lam - other.lam) < _REPEAT


@dataclass(frozen=True)
class Grid:
    """``N + 1`` sigmas and their points."""

    sigmas: tuple[float, ...]
    points: tuple[Point, ...]

    @property
    def steps(self) -> int:
        """The number of steps, ``N``."""
        return max(len(self.sigmas) - 1, 0)

    @property
    def steps_to_end(self) -> int:
        """The number of steps that change the state: those up to the first sigma 0."""
        return self.sigmas.index(0.0) if 0.0 in self.sigmas else self.steps


def sigma_list(sigmas: torch.Tensor | Sequence[float]) -> tuple[float, ...]:
    """The sigmas as Python floats, read from the device once.

    Raises TypeError for anything but a 1-D tensor or a sequence of numbers.
    """
    if isinstance(sigmas, torch.Tensor):
        if sigmas.ndim != 1:
            raise TypeError(
                f"sigmas: expected one dimension, got shape {tuple(sigmas.shape)}; "
                "pass the sigmas of one run."
            )
        return tuple(sigmas.detach().cpu().double().tolist())
    try:
        return tuple(float(sigma) for sigma in sigmas)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"sigmas: expected a 1-D tensor or a sequence of numbers, got {sigmas!r}."
        ) from error


def make_grid(sigmas: torch.Tensor | Sequence[float], schedule: Schedule) -> Grid:
    """Check the sigmas against the schedule and derive the grid.

    Raises ValueError for a sigma outside the schedule, and for a 0 that is not at the end: from
    sigma 0 upwards the direction of the noise is unknown.
    """
    values = sigma_list(sigmas)
    for sigma in values:
        schedule.check(sigma)
    for here, after in zip(values, values[1:]):
        if here == 0.0 and after != 0.0:
            raise ValueError(
                f"sigmas: expected 0 only at the end, got 0 followed by {after!r}; start a rising "
                "grid from a small sigma such as 1e-4."
            )
    return Grid(values, tuple(Point.at(sigma, schedule) for sigma in values))


def falls_strictly(sigmas: Sequence[float]) -> bool:
    """Whether every sigma lies below the one before it."""
    return all(a > b for a, b in zip(sigmas, sigmas[1:]))


def same_point(a: float, b: float, schedule: Schedule, within: float = SAME_POINT) -> bool:
    """Whether two sigmas agree within a distance in half-logSNR, or are infinite there alike."""
    here, there = schedule.half_logsnr(a), schedule.half_logsnr(b)
    return here == there or (
        math.isfinite(here) and math.isfinite(there) and abs(here - there) <= within
    )


def finite_part(
    here: float, after: float, schedule: Schedule, last_sigma: float
) -> tuple[float, float]:
    """The part of a falling interval whose ends have a finite half-logSNR.

    ``last_sigma`` is where the way to sigma 0 is cut, or a tenth of ``here`` where that is less.
    """
    start, stop = here, after
    if math.isinf(schedule.half_logsnr(here)) and here != after:
        start = max(FIRST_FLOW_SIGMA, after)
    if after == 0.0 and here > 0.0:
        stop = min(last_sigma, 0.1 * here)
    return start, stop
