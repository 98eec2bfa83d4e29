"""The steps of a singlestep method: several outputs of one step, none of the step before.

A grid of N intervals is a budget of N model calls, as in the papers: a step of order p spans p
intervals and calls the model p times, at its start and at points that it chooses in half-logSNR.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from .grid import Grid, Point
from .parameterisation import transfer
from .schedules import Schedule
from .solver import Solver, Stage
from .step import Settings, Step, nothing


def singlestep_plan(
    entry: Solver, grid: Grid, schedule: Schedule, settings: Settings
) -> list[Step]:
    """The steps of a run, one model call for each interval of the grid."""
    steps: list[Step] = []
    for first, last in _monotone_parts(grid):
        place = first
        for order in _orders(grid, first, last, settings):
            here, target = grid.points[place], grid.points[place + order]
            steps += step_of(entry, order, here, target, schedule)
            place += order
    steps += [nothing(0.0, 0.0)] * (grid.steps - len(steps))
    return steps


def step_of(
    entry: Solver, order: int, here: Point, target: Point, schedule: Schedule
) -> list[Step]:
    """One step of an order as that many model calls."""
    assert entry.stages is not None
    stages = entry.stages(order, here, target, partial(Point.at_half_logsnr, schedule=schedule))
    calls = [here, *(stage.target for stage in stages)]
    steps = [update_of(here, call, stage) for call, stage in zip(calls, stages)]
    return [
        replace(step, starts=k == 0, completes=k == order - 1, order=order, keep=(k + 1) % order)
        for k, step in enumerate(steps)
    ]


def update_of(start: Point, call: Point, stage: Stage) -> Step:
    """A call at ``call``, and the update from ``start`` to the stage's target."""
    state, first = transfer("data", start, stage.target)
    oldest, *later = stage.outputs or (0.0,)
    outputs = (first + oldest, *later)
    return Step(call.sigma, stage.target.sigma, state, outputs[::-1], None, order=1)


def order_list(calls: int, order: int, lower_last: bool) -> list[int]:
    """Orders of steps that make exactly ``calls`` calls (2206.00927, section 3.4 and appendix D.3).

    With ``lower_last`` the list of the papers' code, whose order-3 list ends in 2, 1 or in 1 where
    calls are left for it.
    """
    whole, rest = divmod(calls, order)
    if lower_last and order == 3 and rest == 0 and whole > 0:
        return [3] * (whole - 1) + [2, 1]
    return [order] * whole + ([rest] if rest else [])


def _orders(grid: Grid, first: int, last: int, settings: Settings) -> list[int]:
    """The orders over one part; an end that is infinite in half-logSNR takes a step of its own."""
    begins = [1] if math.isinf(grid.points[first].lam) else []
    calls = last - first - len(begins)
    at_end = last == grid.steps_to_end
    orders = order_list(calls, settings.order, bool(settings.lower_order) and at_end)
    if orders and math.isinf(grid.points[last].lam) and orders[-1] > 1:
        orders = [*orders[:-1], orders[-1] - 1, 1]
    return [*begins, *orders] if calls > 0 else begins


def _monotone_parts(grid: Grid) -> list[tuple[int, int]]:
    """Where the grid falls, rises or stays: first and last index of each part that changes."""
    parts: list[tuple[int, int]] = []
    before = 0
    for i in range(grid.steps_to_end):
        change = _direction(grid.points[i], grid.points[i + 1])
        if parts and change == before and change != 0:
            parts[-1] = (parts[-1][0], i + 1)
        else:
            parts.append((i, i + 1))
        before = change
    return parts


def _direction(here: Point, after: Point) -> int:
    if here.repeats(after):
        return 0
    return 1 if after.lam > here.lam else -1
