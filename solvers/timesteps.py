"""Sampling grids of the papers, over the sigmas that a model was trained at.

A host's schedulers stay the default; these are for comparing with a paper on its own grid, and for
coefficients that were fitted on one.
"""

from __future__ import annotations

from collections.abc import Sequence

from .choices import check_one_of
from .grid import FIRST_FLOW_SIGMA
from .schedules import FlowSchedule, Schedule, discrete_time

#: Even in time; even in half-logSNR; even in the root of time (2206.00927, appendix D.3); and the
#: grid of DC-Solver's authors, even in time and rounded to whole timesteps.
SPACINGS = ("time_uniform", "logsnr", "time_quadratic", "authors")


def make_sigmas(
    spacing: str,
    steps: int,
    table: Sequence[float],
    schedule: Schedule,
    *,
    to_zero: bool = True,
) -> list[float]:
    """``steps + 1`` falling sigmas from the largest to the smallest of ``table``.

    ``table`` are the model's sigmas, ascending, one a timestep; between two of them log sigma is
    interpolated.  With ``to_zero`` the last is 0 in place of the smallest, as hosts expect; not so
    with "authors", whose grid ends at the smallest.

    Raises ValueError for an unknown spacing, a number of steps that the table cannot give, or a
    table that does not rise.
    """
    check_one_of("spacing", spacing, SPACINGS)
    most = len(table) - 1 if spacing == "authors" else 10_000
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= most:
        raise ValueError(f"steps: expected 1 to {most} on this schedule, got {steps!r}.")
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected VPSchedule() or FlowSchedule(), got {schedule!r}.")
    discrete_time(table)  # which refuses a table that does not rise
    shares = [k / steps for k in range(steps + 1)]
    if spacing == "logsnr":
        sigmas = _even_logsnr(table, schedule, shares)
    else:
        sigmas = [_sigma_at(table, place) for place in _places(spacing, len(table), shares)]
    sigmas[0], sigmas[-1] = float(table[-1]), float(table[0])
    if to_zero and spacing != "authors":
        sigmas[-1] = 0.0
    return sigmas


def _places(spacing: str, count: int, shares: Sequence[float]) -> list[float]:
    """Places in the table, from its last to its first."""
    last = count - 1
    if spacing == "time_quadratic":  # time (place + 1) / count, from 1 to 1 / count
        lowest = count**-0.5
        return [count * (1.0 + (lowest - 1.0) * share) ** 2 - 1.0 for share in shares]
    if spacing == "authors":  # as numpy's linspace rounds, from below
        steps = len(shares) - 1
        return [float(round((steps - k) * (last / steps))) for k in range(steps + 1)]
    return [last * (1.0 - share) for share in shares]


def _sigma_at(table: Sequence[float], place: float) -> float:
    low = min(max(int(place), 0), len(table) - 2)
    share = place - low
    return float(table[low]) ** (1.0 - share) * float(table[low + 1]) ** share


def _even_logsnr(
    table: Sequence[float], schedule: Schedule, shares: Sequence[float]
) -> list[float]:
    highest = float(table[-1])
    if isinstance(schedule, FlowSchedule):
        highest = min(highest, FIRST_FLOW_SIGMA)
    first, last = schedule.half_logsnr(highest), schedule.half_logsnr(float(table[0]))
    return [schedule.sigma_at(first + (last - first) * share) for share in shares]
