"""What a calibration searches, by its quality.

* **paper**: the greedy ratios of the paper.
* **ratios+**: those for several K and both variables of interpolation, the best of them by the
  check points, refined on the final error where that helps on the check points too.
* **tournament**: the best pair of solver and stock schedule, then its ratios.
* **schedule**: two numbers of step placement (:mod:`ratios.warp`), then ratios on those steps.
* **full**: step placement, the sigma that the model is told, and the weights of all outputs.

Nothing here takes a gradient of the model, and every run makes one model call a step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ..solvers import LearnedSteps, get_solver
from ..solvers.grid import Grid, falls_strictly, make_grid
from ..solvers.plan import make_plan
from ..solvers.step import Settings
from .cell import Cell, Found
from .families import RatioFamily, StepFamily, WarpFamily, plain_course
from .greedy import greedy_search
from .least_squares import fit_steps
from .propose import proposed, warps
from .refine import jacobian_calls, refine
from .runs import Course, Loss, Runs, log_error
from .search import MOST_TRIES
from .task import Task, tells_times
from .tournament import ENTRANTS, best_pair, tournament_work

#: Outputs before the newest that a learned step may weigh anew.
HISTORY = 3
#: Grids of those proposed that are tried in real runs.
_CONFIRMED = 6
#: Gauss-Newton steps, and from how many steps of a run one has to do.
_ROUNDS = 3
_LONG_RUN = 12
_RATIO_ROUNDS = 2
#: Of the mean over the points (:class:`ratios.runs.Loss`).
_EXPONENT = 1.0


def paper(cell: Cell) -> Found:
    """The greedy ratios (DC-Solver, algorithm 1)."""
    return _greedy(cell, cell.task.settings, cell.grid)


def ratios_plus(cell: Cell) -> Found:
    """Ratios, with K and the variable chosen by held-out error, refined on the final error."""
    judge = _judge(cell)
    timed = tells_times(cell.task.schedule, cell.grid.sigmas)
    variables = ("t", "lambda") if timed else ("lambda",)
    tried: list[tuple[float, Found]] = []
    for dc_order in (1, 2):
        for variable in variables:
            settings = replace(cell.task.settings, dc_order=dc_order, variable=variable)
            found = _greedy(cell, settings, cell.grid)
            tried.append((_judged(judge, _course(cell, found)), found))
    error, best = min(tried, key=lambda pair: pair[0])
    family = RatioFamily(cell.grid.sigmas, cell.task.schedule, best.settings, best.ratios)
    if not len(family.first_call):
        return best
    runs = cell.runs()
    refined = refine(
        runs, family, np.zeros(len(family.first_call)), _RATIO_ROUNDS, _loss(cell, runs)
    )
    ratios = family.ratios(refined.values)
    if ratios != best.ratios and _judged(judge, refined.course) < error:
        best = replace(best, ratios=ratios)
    return best


def tournament(cell: Cell) -> Found:
    """The best pair of solver and stock schedule, compensated where that helps."""
    pair = best_pair(cell)
    settings = pair.settings
    if settings.solver == "unipc":  # the same solver, with ratios
        settings = replace(settings, solver="dc_solver")
    found = Found(settings, (1.0,) * cell.grid.steps)
    if get_solver(settings.solver).compensates:
        settings = replace(
            settings, dc_order=cell.task.settings.dc_order, variable=cell.task.settings.variable
        )
        greedy = _greedy(cell, settings, make_grid(pair.grid, cell.task.schedule))
        judge = _judge(cell)
        courses = [
            plain_course(pair.grid, cell.task.schedule, settings, ratios)
            for ratios in (greedy.ratios, None)
        ]
        with_ratios, without = (_judged(judge, course) for course in courses)
        found = greedy if with_ratios < without else replace(greedy, ratios=found.ratios)
    if pair.scheduler is None:
        return found
    note = f"on the steps of {pair.scheduler}"
    return replace(found, learned=LearnedSteps(pair.grid), notes=(note,))


def schedule(cell: Cell) -> Found:
    """A warp of the given grid, proposed by the reference and confirmed by runs; then ratios."""
    task, given = cell.task, cell.grid.sigmas
    known = warps(given, task.schedule)
    candidates = proposed(known, cell.trajectory, cell.plain, task.points, 0, _CONFIRMED)
    runs = cell.runs()

    loss = _loss(cell, runs)

    def error(grid: tuple[float, ...]) -> float:
        course = plain_course(grid, task.schedule, cell.plain)
        return loss(runs.residual(runs.run(course)))

    best = min(candidates, key=error)
    family = WarpFamily(given, task.schedule, cell.plain, known[best])
    refined = refine(runs, family, np.zeros(2), _ROUNDS, loss)
    grid = refined.course.sigmas
    found = _greedy(cell, task.settings, make_grid(grid, task.schedule))
    return replace(found, learned=LearnedSteps(grid), warp=family.warp(refined.values))


def full(cell: Cell) -> Found:
    """Step placement, told sigmas and the weights of the outputs, together."""
    task, given = cell.task, cell.grid.sigmas
    others = [(given[0], *grid[1:]) for grid in cell.other_grids().values()]
    grids = {given, *others, *warps(given, task.schedule)}
    candidates = proposed(
        sorted(grids), cell.trajectory, cell.plain, task.points, HISTORY, _CONFIRMED
    )
    runs = cell.runs()
    loss = _loss(cell, runs)
    fitted = []
    for grid in dict.fromkeys([given, *candidates]):
        family = StepFamily(grid, task.schedule, cell.plain, HISTORY)
        values, trace = fit_steps(runs, family, cell.states)
        fitted.append((loss(runs.residual(trace)), family, values))
    _, family, values = min(fitted, key=lambda entry: entry[0])
    refined = refine(runs, family, values, _rounds(cell.grid.steps), loss)
    settings = replace(cell.plain, dc_order=task.settings.dc_order)
    return Found(settings, (1.0,) * cell.grid.steps, family.learned(refined.values))


SEARCHES: dict[str, Callable[[Cell], Found]] = {
    "paper": paper,
    "ratios+": ratios_plus,
    "tournament": tournament,
    "schedule": schedule,
    "full": full,
}


def search(cell: Cell) -> Found:
    """What the task's quality finds; on a grid whose steps cannot be moved, the paper's ratios."""
    return SEARCHES[quality_of(cell.task, cell.grid)](cell)


def quality_of(task: Task, grid: Grid) -> str:
    """The task's quality, as far as the grid lets it."""
    return task.quality if grid.steps > 1 and falls_strictly(grid.sigmas) else "paper"


def check_counts(
    name: str, counts: Sequence[int], dc_order: int = 2, quality: str = "paper"
) -> None:
    """Raises ValueError for numbers of steps at which there is nothing to search."""
    if quality != "paper":
        if min(counts) < 2:
            raise ValueError(
                f"{name}: expected 2 or more, got {min(counts)}; quality {quality} changes what "
                "happens between the steps of a run."
            )
        return
    if min(counts) <= dc_order:
        raise ValueError(
            f"{name}: expected {dc_order + 1} or more, got {min(counts)}; the first ratio is that "
            f"of step {dc_order + 1}, so a run this short is plain UniPC (dc_order {dc_order})."
        )


def most_work(task: Task, grid: Grid) -> int:
    """The most that a search and its check may cost, in calls x points; about, beyond paper."""
    plan = make_plan(grid, task.schedule, task.settings)
    tries = sum(MOST_TRIES + 1 if step.nodes and step.correct else 1 for step in plan[:-1])
    greedy = (tries + 1) * task.points
    check = 3 * grid.steps * task.check
    steps = grid.steps
    if task.quality == "ratios+":
        acting = range(min(2, steps), steps)
        rounds = _RATIO_ROUNDS * (sum(steps - i - 1 for i in acting) + steps)
        own = steps * task.points  # the plain run
        return 4 * greedy + rounds * task.points + own + check + 6 * steps * task.check
    if task.quality == "tournament":
        pairs = len(ENTRANTS) * (1 + len(task.other_grids(grid))) + 1
        return tournament_work(pairs, task.points, steps) + greedy + check + 2 * steps * task.check
    if task.quality == "schedule":
        return greedy + check + (_CONFIRMED + 3 + 5 * _ROUNDS) * steps * task.points
    if task.quality == "full":
        family = StepFamily(grid.sigmas, task.schedule, task.settings, HISTORY)
        rounds = _rounds(steps) * (jacobian_calls(family, steps) + 3 * steps)
        return (rounds + (_CONFIRMED + 3) * steps) * task.points + check
    return greedy + check + (steps * task.points if task.all_heard else 0)


def _rounds(steps: int) -> int:
    return _ROUNDS if steps < _LONG_RUN else 1


def _greedy(cell: Cell, settings: Settings, grid: Grid) -> Found:
    task = cell.task
    found = greedy_search(
        cell.point_model(range(task.points)),
        task.start[: task.points],
        [cell.states(sigma) for sigma in grid.sigmas],
        grid,
        make_plan(grid, task.schedule, settings),
        task.loss,
        cell.trajectory.sketch,
        task.held_back,
    )
    return Found(settings, found.ratios, None, found.losses, found.losses_plain, found.errors)


def _loss(cell: Cell, runs: Runs) -> Loss:
    """What a search brings down: errors over those of the plain solver on the given grid."""
    plain = plain_course(cell.grid.sigmas, cell.task.schedule, cell.plain)
    return Loss(runs.residual(runs.run(plain)), _EXPONENT)


def _judge(cell: Cell) -> Runs:
    """The points that choose between what was found on others: the check points, or where there
    are none those of the search."""
    task = cell.task
    return cell.runs(range(task.points, task.points + task.check)) if task.check else cell.runs()


def _judged(judge: Runs, course: Course) -> float:
    return log_error(judge.residual(judge.run(course)))


def _course(cell: Cell, found: Found) -> Course:
    return plain_course(cell.grid.sigmas, cell.task.schedule, found.settings, found.ratios)
