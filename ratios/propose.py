"""Grids proposed without model calls, from what the reference run left behind.

Were a student on the true trajectory at every step, its outputs would be those of the reference,
and what a step then misses by is known for any grid.  GITS (2405.14326) chooses steps by that local
error; here it chooses which few warps of the host's schedule are worth a real run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from ..solvers import Schedule
from ..solvers.step import Settings
from .families import plain_course
from .least_squares import fit
from .runs import log_error
from .trajectory import Trajectory
from .warp import Warp, angle, warped

#: Warps that are looked at: from twice as fast to half as fast at either end.
_POWERS = (0.6, 0.75, 0.9, 1.0, 1.15, 1.35, 1.6, 2.0)


def warps(sigmas: Sequence[float], schedule: Schedule) -> dict[tuple[float, ...], Warp]:
    """The grids that the warps of :data:`_POWERS` make of one."""
    found = {}
    for warp in (Warp(a, b) for a in _POWERS for b in _POWERS):
        grid = warped(sigmas, schedule, warp)
        if grid is not None:
            found[grid] = warp
    return found


def proposed(
    grids: Iterable[Sequence[float]],
    trajectory: Trajectory,
    settings: Settings,
    points: int,
    history: int,
    count: int,
) -> list[tuple[float, ...]]:
    """The ``count`` grids whose local errors over the first ``points`` are least, best first."""
    scored = [
        (local_error(grid, trajectory, settings, points, history), tuple(grid)) for grid in grids
    ]
    return [grid for _, grid in sorted(scored)[:count]]


def local_error(
    sigmas: Sequence[float], trajectory: Trajectory, settings: Settings, points: int, history: int
) -> float:
    """The mean log error over the points that the steps of a grid add up to.

    Each step's error, with the weights of its outputs fitted, counts by how much of it is left at
    the end: an error in a state at angle ``phi`` (see :mod:`ratios.warp`) by ``cos(phi)``, as for
    data of unit variance.
    """
    schedule = trajectory.schedule
    rows = plain_course(sigmas, schedule, settings).rows.tolist()
    start = trajectory.state(sigmas[0])[:points]
    outputs: list[torch.Tensor] = []
    squares: torch.Tensor | None = None
    for k, (sigma, after) in enumerate(zip(sigmas, sigmas[1:])):
        outputs.append(trajectory.output(sigma)[:points])
        missed = trajectory.state(after)[:points] - _combined(rows[k + 1], start, outputs)
        oldest = max(k - history, 0)
        if k > oldest:
            parts = [output - outputs[k] for output in outputs[oldest:k]]
            for weight, part in zip(fit(missed, parts), parts):
                missed = missed - weight * part
        share = torch.tensor(angle(after, schedule), device="cpu").cos().square()
        # In a host's scaling of VP the state itself grows by 1 / cos(phi).
        scaled = share if schedule.signal(after) == 1.0 else 1.0
        here = missed.double().square() * scaled
        squares = here if squares is None else squares + here
    assert squares is not None
    return log_error(squares.sqrt())


def _combined(
    row: Sequence[float], start: torch.Tensor, outputs: Sequence[torch.Tensor]
) -> torch.Tensor:
    total = row[0] * start
    for weight, output in zip(row[1:], outputs):
        if weight != 0.0:
            total = total + weight * output
    return total
