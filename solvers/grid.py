"""A sampling grid: the sigmas of one run, with all that follows from them, in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .schedules import Schedule

#: Steps shorter than this in half-logSNR are a repeated sigma: divided differences over them are
#: noise.
REPEAT = 1e-5


@dataclass(frozen=True)
class Point:
    """A sigma with its signal factor, half-logSNR and, where it was asked for, model time."""

    sigma: float
    signal: float
    lam: float
    time: float = math.nan

    @classmethod
    def at(cls, sigma: float, schedule: Schedule, *, timed: bool = False) -> Point:
        """The point of a schedule.  Raises ValueError where ``timed`` and it has no model time."""
        time = schedule.model_time(sigma) if timed else math.nan
        return cls(sigma, schedule.signal(sigma), schedule.half_logsnr(sigma), time)


@dataclass(frozen=True)
class Grid:
    """``N + 1`` sigmas and, at each, the signal factor and the half-logSNR."""

    sigmas: tuple[float, ...]
    signals: tuple[float, ...]
    lambdas: tuple[float, ...]

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
    return Grid(
        sigmas=values,
        signals=tuple(schedule.signal(sigma) for sigma in values),
        lambdas=tuple(schedule.half_logsnr(sigma) for sigma in values),
    )
