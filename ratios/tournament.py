"""A tournament of solvers and stock schedules, by successive halving.

The best pair differs from a careless one by up to ten times and changes with the number of steps.
All pairs run a few of the search points, the better half of them (and then again) some more, so
that the points go to the pairs among which there is a choice to make.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..solvers import get_solver
from ..solvers.step import Settings
from .cell import Cell
from .families import plain_course
from .task import tells_times

#: Solvers with the orders they run at.
ENTRANTS = (
    ("unipc", 2),
    ("unipc", 3),
    ("dpmpp_2m", 2),
    ("deis_tab", 3),
    ("ipndm", 2),
    ("ipndm", 3),
)
#: The share of the search points that each round adds.
_ROUNDS = (0.2, 0.3, 0.5)
#: The share of the pairs that goes on to the next round.
_KEPT = 0.25


@dataclass(frozen=True)
class Pair:
    """A solver on a grid, whose scheduler has a name where it is not the given one."""

    settings: Settings
    grid: tuple[float, ...]
    scheduler: str | None


def entrants(cell: Cell) -> list[Pair]:
    """Every solver on the given grid and on the stock ones."""
    solvers = [Settings(solver=name, order=order) for name, order in ENTRANTS]
    grids: list[tuple[str | None, tuple[float, ...]]] = [
        (None, cell.grid.sigmas),
        *cell.other_grids().items(),
    ]
    pairs = [Pair(cell.plain, cell.grid.sigmas, None)]
    pairs += [
        Pair(settings, (cell.grid.sigmas[0], *grid[1:]), name)
        for name, grid in grids
        for settings in solvers
        if name is None or grid != cell.grid.sigmas
        if not get_solver(settings.solver).timed or tells_times(cell.task.schedule, grid)
    ]
    return pairs


def best_pair(cell: Cell) -> Pair:
    """The pair with the least mean log error over the search points."""
    pairs = entrants(cell)
    errors: list[list[float]] = [[] for _ in pairs]
    left = list(range(len(pairs)))
    first = 0
    for number, share in enumerate(_ROUNDS):
        last = number == len(_ROUNDS) - 1
        until = cell.task.points if last else first + max(1, round(share * cell.task.points))
        until = min(until, cell.task.points)
        if until > first:
            runs = cell.runs(range(first, until))
            for k in left:
                course = plain_course(pairs[k].grid, cell.task.schedule, pairs[k].settings)
                residual = runs.residual(runs.run(course))
                squares = residual.square().mean(dim=1).nan_to_num(1e30, 1e30, 1e30)
                errors[k] += squares.clamp(1e-30, 1e30).log().tolist()
        left.sort(key=lambda k: float(np.mean(errors[k])))
        if not last:
            left = left[: max(1, round(_KEPT * len(left)))]
        first = until
    return pairs[left[0]]


def tournament_work(pairs: int, points: int, steps: int) -> int:
    """Calls x points of a tournament, about."""
    work, left = 0.0, float(pairs)
    for share in _ROUNDS:
        work += left * share * points * steps
        left = max(1.0, _KEPT * left)
    return round(work)
