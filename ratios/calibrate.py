"""Search of the compensation ratios (DC-Solver, 2409.03755, algorithm 1) and of what goes beyond
them, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch

from ..solvers import Langevin, Schedule
from ..solvers.calls import Model
from ..solvers.grid import Grid
from ..solvers.inputs import check_state
from .cell import Cell, Found
from .greedy import HELD_BACK
from .guard import checked, search_gain
from .points import ExtraArgs, Tally
from .qualities import most_work, quality_of, search
from .reference_run import ReferenceRun
from .references import References
from .schedule import RatioSchedule, Report, settings_of
from .task import ShowFinals, Stock, Task, check_cfg

Progress = Callable[[int, int], None]
Interrupt = Callable[[], None]


def calibrate(
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor | Sequence[float],
    *,
    schedule: Schedule,
    check: int = 0,
    extra_args: ExtraArgs = None,
    chunk: int | None = None,
    device: torch.device | str | None = None,
    solver: str = "dc_solver",
    order: int = 2,
    variant: str = "bh2",
    dc_order: int = 2,
    lower_order: bool | str = True,
    variable: str = "t",
    first_corrector: bool = True,
    corrector: bool | None = None,
    langevin: Langevin | None = None,
    loss: str = "balanced",
    held_back: float = HELD_BACK,
    guard: str = "check",
    quality: str = "paper",
    stock: Stock | None = None,
    reference_calls: int | None = None,
    references: References | None = None,
    model_key: Hashable = None,
    finals: ShowFinals | None = None,
    cfg: float | None = None,
    progress: Progress | None = None,
    interrupt: Interrupt | None = None,
    **identity: Any,
) -> RatioSchedule:
    """Find what keeps the solver on the model's true trajectory, from a few points.

    At quality "paper", for each step in turn, the ratio that brings the states after it, corrector
    included, nearest to the reference; then on from there.

    Args:
        model: called as ``model(x, sigma * ones(B), **extra_args)``; returns the denoised x0.
        x: starting states at ``sigmas[0]`` in the host's scaling, ``(points, ...)``, one a data
            point.
        sigmas: the grid that the result is for: falling, the last perhaps 0.
        schedule: how sigma relates to half-logSNR and model time.
        check: the last ``check`` points are not searched on but try the result: unless the
            geometric mean of their error falls below that of the plain solver, the ratios stay
            1 (see ``guard``).  0: no such guard, and the report says "unchecked".
        extra_args: keyword arguments for the model, or a function from a slice of the points to
            those of these points (each may have its own prompt).
        chunk: points in one model call; None for all at once.
        device: where the model runs; None for the device of ``x``.
        solver, order, variant, dc_order, lower_order, variable, first_corrector, corrector: as in
            :func:`solvers.sample`.
        langevin: refused: with noise in every trajectory no ratio brings it nearer to a reference.
        loss: "mean" is the paper's mean square distance over the points; "relative" divides each
            point's square distance by that with a ratio of 1, so that no single point, such as one
            whose trajectory ends in another mode, decides for all; "balanced" by the root of that,
            between the two (benchmarks/search.py compares them).
        held_back: what is left of each ratio found, of 1 too, as the weight decay of the authors'
            AdamW has it; fewer of the other points then get worse.  The last one is within as much
            of what the loss asks for.  1: the minimum over the points.
        guard: whom it hears.  "check": the check points alone.  "all": at quality "paper" the
            search points too, at half weight, where the check points lose at most a quarter; six
            check points alone often speak against ratios that help.
        quality: what is searched; see :data:`ratios.qualities.SEARCHES`.
        stock: other grids of as many steps that the result may run on, by scheduler; or a function
            from the number of steps to them.  Those that do not fit are passed over.
        reference_calls: model calls of the reference trajectory, about; None for as many as the
            error of the student asks for (:mod:`ratios.accuracy`).
        references: where the reference is looked up and kept, so that another calibration of the
            same model from the same starting states, at any steps, solver or quality, need not run
            it again; one kept for a chosen number of calls serves that number alone.
        model_key: needed with ``references``: what tells the model and ``extra_args``, but not
            ``cfg``, from any other (:func:`ratios.model_key.model_key`).
        finals: receives the final states of the check points once they are known.
        cfg: the guidance scale that the model was given, kept with the result and with the
            reference.
        progress: called as ``progress(done, total)`` in model calls times points.
        interrupt: called before every model call; stops the run by raising.
        identity: fields of :class:`Identity` to keep with the result.

    Returns:
        The ratios with their :class:`Report`.  Nothing outside is changed, whatever happens.

    Raises:
        TypeError, ValueError: an argument does not fit; the message says what was expected.
    """
    task = Task.make(
        x,
        schedule,
        check=check,
        extra_args=extra_args,
        chunk=chunk,
        device=device,
        solver=solver,
        order=order,
        variant=variant,
        dc_order=dc_order,
        lower_order=lower_order,
        variable=variable,
        first_corrector=first_corrector,
        corrector=corrector,
        langevin=langevin,
        loss=loss,
        held_back=held_back,
        guard=guard,
        quality=quality,
        stock=stock,
        reference_calls=reference_calls,
        references=references,
        model_key=model_key,
        finals=finals,
        **identity,
    )
    if references is not None and cfg is None:
        raise ValueError(
            "cfg: expected the guidance scale, as references are kept by it beside model_key; got "
            "None. For a model without one give any number."
        )
    cfg = None if cfg is None else check_cfg(cfg)
    grid = task.check_grid(sigmas)
    check_state(model, x, schedule)
    reference = ReferenceRun(task, [grid], cfg)
    tally = Tally(progress, interrupt, reference.work + most_work(task, grid))
    with torch.no_grad():
        (result,) = _scale(task, model, [grid], cfg, reference, tally)
    tally.add(tally.total - tally.done)
    return result


def calibrate_grid(
    model: Callable[[float], Model],
    x: torch.Tensor,
    *,
    schedule: Schedule,
    grids: Sequence[torch.Tensor | Sequence[float]],
    cfgs: Sequence[float],
    progress: Progress | None = None,
    interrupt: Interrupt | None = None,
    **options: Any,
) -> list[RatioSchedule]:
    """:func:`calibrate` for every pair of a grid and a guidance scale.

    At each scale one reference trajectory serves all grids: a new one passes through the times of
    each.  Its calls are counted in the report of that scale's first grid.

    Args:
        model: a function of the guidance scale that returns the guided model.
        x: starting states; all grids must start at the same sigma, and end at the same.
        grids: the sigmas of each step count.
        cfgs: the guidance scales.
        progress, interrupt: as in :func:`calibrate`, over all of the work.
        options: the other arguments of :func:`calibrate` (all but ``sigmas`` and ``cfg``).

    Returns:
        The calibrations, scale by scale and within each in the order of the grids.

    Raises:
        TypeError, ValueError: as :func:`calibrate`, and where the grids start or end at several
            sigmas.
    """
    task = Task.make(x, schedule, **options)
    made = [task.check_grid(sigmas) for sigmas in grids]
    if not made or not cfgs:
        raise ValueError(
            f"calibrate_grid: expected one grid and one CFG or more, got {len(made)} and "
            f"{len(cfgs)}."
        )
    found = {quality_of(task, grid): grid.sigmas for grid in made}
    if "schedule" in found and len(found) > 1:
        raise ValueError(
            "grids: expected all of two steps or more that move, for at quality schedule no CPR "
            f"can be of others too, got {found['paper']}; leave it out, or take quality paper."
        )
    starts = {grid.sigmas[0] for grid in made}
    if len(starts) > 1:
        raise ValueError(
            f"grids: expected all to start at the same sigma, as x does, got {sorted(starts)}; "
            "use a scheduler whose first sigma does not depend on the number of steps."
        )
    ends = {grid.sigmas[-1] for grid in made}
    if len(ends) > 1:
        raise ValueError(
            f"grids: expected all to end at the same sigma, as their reference does, got "
            f"{sorted(ends)}; calibrate each of them alone."
        )
    cfgs = [check_cfg(cfg) for cfg in cfgs]
    models = [model(cfg) for cfg in cfgs]
    for guided in models:
        check_state(guided, x, schedule)
    references = [ReferenceRun(task, made, cfg) for cfg in cfgs]
    search_work = sum(most_work(task, grid) for grid in made)
    work = sum(reference.work + search_work for reference in references)
    tally = Tally(progress, interrupt, work)
    results = []
    with torch.no_grad():
        for guided, cfg, reference in zip(models, cfgs, references):
            results += _scale(task, guided, made, cfg, reference, tally)
    tally.add(tally.total - tally.done)
    return results


def _scale(
    task: Task,
    model: Model,
    grids: Sequence[Grid],
    cfg: float | None,
    reference: ReferenceRun,
    tally: Tally,
) -> list[RatioSchedule]:
    """The calibrations of every grid at one guidance scale, over one reference."""
    trajectory, work = reference.run(model, tally)
    results = []
    for k, grid in enumerate(grids):
        end = tally.done + most_work(task, grid)
        cell = Cell(task, model, grid, trajectory, tally)
        found = search(cell)
        searched = cell.work
        gain = search_gain(cell, found) if task.all_heard else None
        result = RatioSchedule(
            ratios=found.ratios,
            learned=found.learned,
            warp=found.warp,
            quality=quality_of(task, grid),
            sigmas=grid.sigmas,
            cfg=cfg,
            **settings_of(replace(found.settings, dc_order=found.settings.dc_order or 2)),
            identity=task.identity,
            report=replace(
                _report(task, found, searched, work if k == 0 else 0, reference.reused),
                search_gain=gain,
                check_work=cell.work - searched,
            ),
            notes=found.notes,
        )
        results.append(checked(cell, result) if task.check else result)
        tally.add(max(end - tally.done, 0))
    return results


def _report(
    task: Task,
    found: Found,
    search_work: int,
    reference_work: int,
    reused: bool,
) -> Report:
    """The report before the check; work is calls x points."""
    everyone = task.points + task.check
    return Report(
        losses=found.losses,
        losses_plain=found.losses_plain,
        search_calls=round(search_work / task.points),
        reference_calls=round(reference_work / everyone),
        search_work=search_work if search_work % task.points else 0,
        reference_work=reference_work if reference_work % everyone else 0,
        reused_reference=reused,
        points=task.points,
        found=found.ratios,
    )
