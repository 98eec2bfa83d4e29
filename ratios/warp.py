"""Step placement in two numbers: a warp of the host's own schedule.

A grid of N steps is read as a curve, the angle ``atan(sigma / signal)`` over the share of the steps
done, and taken at other shares: those that Kumaraswamy's distribution function

    W(u; a, b) = 1 - (1 - u^a)^b

gives for even ones.  ``a = b = 1`` is the host's schedule itself; below 1, ``a`` hurries through
the noise at the start and ``b`` dwells at the end.  The angle is finite at both ends of every
schedule, and the same two numbers mean the same for any number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..solvers import Schedule
from ..solvers.grid import falls_strictly

#: The numbers of a warp lie between these; searches end far within.
LEAST, MOST = 0.01, 100.0


@dataclass(frozen=True)
class Warp:
    """The two numbers.  Raises ValueError for those that put all steps into one end."""

    a: float = 1.0
    b: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("a", self.a), ("b", self.b)):
            if not LEAST <= value <= MOST:  # NaN too
                raise ValueError(f"warp {name}: expected {LEAST:g} to {MOST:g}, got {value!r}.")

    def share(self, u: float) -> float:
        """The share of the schedule that is done after the share ``u`` of the steps."""
        return 1.0 - (1.0 - u**self.a) ** self.b


def warped(
    sigmas: Sequence[float], schedule: Schedule, warp: Warp, steps: int | None = None
) -> tuple[float, ...] | None:
    """The grid of ``steps`` steps (None: as many) that the warp makes of a falling one.

    Ends where the host's does.  None where two of its sigmas would meet.
    """
    from scipy.interpolate import PchipInterpolator  # a tenth of a second that only this needs

    count = steps or len(sigmas) - 1
    angles = [angle(sigma, schedule) for sigma in sigmas]
    curve = PchipInterpolator(np.linspace(0.0, 1.0, len(sigmas)), angles)
    shares = [warp.share(i / count) for i in range(1, count)]
    inner = [sigma_at_angle(float(value), schedule) for value in curve(shares)]
    grid = (sigmas[0], *inner, sigmas[-1])
    return grid if falls_strictly(grid) else None


def angle(sigma: float, schedule: Schedule) -> float:
    """``atan(sigma / signal)``: 0 at an image, a quarter turn at pure noise."""
    return math.atan2(sigma, schedule.signal(sigma))


def sigma_at_angle(value: float, schedule: Schedule) -> float:
    """The sigma with this angle, the inverse of :func:`angle`."""
    return schedule.sigma_at(-math.log(math.tan(value))) if value > 0.0 else 0.0
