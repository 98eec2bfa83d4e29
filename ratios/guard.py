"""The guard: what was found is kept only if it helps on points that it was not searched on.

Six such points alone are often wrong: where a setting's images differ much, the six may be among
those that it does not help.  So where few numbers were searched, a guard that hears ``"all"`` lets
the search points speak too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..solvers.learned import learned_plan
from ..solvers.plan import make_plan
from ..solvers.run import run_plan
from ..solvers.step import Settings, Step
from .cell import Cell, Found
from .families import plain_course
from .qualities import quality_of
from .schedule import RatioSchedule, geometric_mean_ratio, settings_of
from .task import Finals

#: Where the check points lose more than this, the search points have no say.
WORST_CHECK = 1.25
#: Stands for an infinite error in reports, which hold finite numbers alone.
_INFINITE = 1e30


def plan_of(cell: Cell, result: RatioSchedule) -> list[Step]:
    """The run that a result makes of the cell's grid."""
    settings = Settings(**settings_of(result))
    if result.learned is not None:
        return learned_plan(result.learned, cell.task.schedule, settings, result.ratios)
    return make_plan(cell.grid, cell.task.schedule, settings, result.ratios)


def checked(cell: Cell, result: RatioSchedule) -> RatioSchedule:
    """The result with the errors of the check points; plain where it does not help on them."""
    task, grid = cell.task, cell.grid
    model = task.point_model(cell.model, range(task.points, task.points + task.check), cell.tally)
    start, truth = task.start[task.points :], cell.trajectory.final[task.points :]

    def final(plan: Sequence[Step]) -> torch.Tensor:
        return run_plan(plan, model, start)

    def plain_plan(settings: Settings) -> list[Step]:
        return make_plan(grid, task.schedule, settings)

    def errors(states: torch.Tensor) -> tuple[float, ...]:
        distances = (states - truth).square().flatten(1).mean(dim=1).tolist()
        return tuple(d if math.isfinite(d) else _INFINITE for d in distances)

    finals = Finals(final(plain_plan(cell.plain)), final(plan_of(cell, result)), truth.clone())
    plain, found = errors(finals.plain), errors(finals.compensated)
    dpmpp_2m = errors(final(plain_plan(Settings(solver="dpmpp_2m", lower_order="final"))))
    if _INFINITE in plain:
        raise ValueError(
            "model: expected finite outputs, got NaN or infinity on a check seed; check the "
            "model and its precision."
        )
    if task.finals is not None:
        task.finals(finals)
    assert result.report is not None
    heard = result.report.check_work
    report = replace(
        result.report,
        check_calls=model.calls,
        check_points=task.check,
        check_work=heard and heard + model.calls * task.check,
        errors=found,
        errors_plain=plain,
        errors_dpmpp_2m=dpmpp_2m,
    )
    gain, estimate = report.gain, report.estimate
    better = gain is not None and estimate is not None and estimate < 1.0 and gain < WORST_CHECK
    report = replace(report, verdict="better" if better else "not better")
    if better:
        return replace(result, report=report)
    what = "the learned steps" if result.learned is not None else "compensation"
    if result.chose_solver and not result.acts:
        what = "the solver that was chosen"
    seeds = "check seeds" if gain is None or gain >= 1.0 else "check and search seeds together"
    return replace(
        result,
        ratios=(1.0,) * grid.steps,
        learned=None,
        warp=None,
        **settings_of(task.settings),
        report=report,
        notes=(f"{what} did not help on the {seeds}: the ratios stay 1",),
    )


def search_gain(cell: Cell, found: Found) -> float | None:
    """What the greedy ratios gained on the search points, on the given grid; one run without them.

    None for other searches: they have enough numbers to fit ten points far better than others.
    """
    if quality_of(cell.task, cell.grid) != "paper" or all(r == 1.0 for r in found.ratios):
        return None
    runs = cell.runs()
    plain = runs.run(plain_course(cell.grid.sigmas, cell.task.schedule, cell.plain))
    squares = runs.residual(plain).square().mean(dim=1)
    gain = geometric_mean_ratio(found.errors, squares.tolist())
    return gain if gain is not None and math.isfinite(gain) else None
