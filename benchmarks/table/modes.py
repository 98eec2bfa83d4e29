"""The ways to calibrate.  A new one is a function here, under ``@mode``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from dc_solver.demo.emoji import Points
from dc_solver.demo.grids import SCHEDULERS
from dc_solver.ratios import (
    CPR,
    RatioSchedule,
    calibrate,
    calibrate_grid,
    carry_over,
    fit_cpr,
    settings_of,
)
from dc_solver.ratios import prior as prior_of

from . import authors as authors_search
from .task import Subject, Task


class Calibrated(NamedTuple):
    """What a calibration gives.

    ``run(points)`` returns their final latents, each with as many model calls as the task has
    steps; ``calls`` are those that the calibration took, times the points in each, over the number
    of search points, with a backward pass as two; ``notes`` go into the results as they are.
    """

    run: Callable[[Points], torch.Tensor]
    calls: float
    notes: dict[str, Any] = {}  # noqa: RUF012


Function = Callable[[Task], tuple[Any, ...]]


@dataclass(frozen=True)
class Mode:
    """``expected(steps)`` is about what ``calls`` will be, for the estimate of the time;
    ``where(cfg, steps)`` says for which cells it is."""

    name: str
    function: Function
    version: str
    schedulers: tuple[str, ...]
    expected: Callable[[int], float]
    where: Callable[[float, int], bool]

    def __call__(self, task: Task) -> Calibrated:
        return Calibrated(*self.function(task))


MODES: dict[str, Mode] = {}


def mode(
    version: str,
    *,
    schedulers: tuple[str, ...] = ("simple", "beta"),
    expected: Callable[[int], float] = lambda steps: 100.0 + 10.0 * steps,
    where: Callable[[float, int], bool] = lambda cfg, steps: True,
) -> Callable[[Function], Function]:
    """Registers a function under its own name.  Results of another ``version`` are run again."""

    def register(function: Function) -> Function:
        name = function.__name__
        MODES[name] = Mode(name, function, version, schedulers, expected, where)
        return function

    return register


@mode("7", expected=lambda steps: 60.0 + 6.0 * steps)
def paper(task: Task) -> Calibrated:
    """The greedy ratios as ComfyUI's node and the demo search them."""
    return _quality(task, "paper")


@mode("6", expected=lambda steps: 60.0 + 25.0 * steps)
def ratios_plus(task: Task) -> Calibrated:
    return _quality(task, "ratios+")


@mode("6", expected=lambda steps: 80.0 + 20.0 * steps)
def tournament(task: Task) -> Calibrated:
    return _quality(task, "tournament")


@mode("6", expected=lambda steps: 60.0 + 25.0 * steps)
def schedule(task: Task) -> Calibrated:
    return _quality(task, "schedule")


@mode("2", expected=lambda steps: 100.0 + 7.0 * steps * steps)
def full(task: Task) -> Calibrated:
    return _quality(task, "full")


#: What the CPR is fitted on, the default of ComfyUI's node; it is tried at scales between.
FITTED_STEPS, FITTED_CFGS = (5, 6, 8, 10), (2.0, 4.0, 7.0)


def _between(cfg: float, steps: int) -> bool:
    return (
        min(FITTED_STEPS) <= steps <= max(FITTED_STEPS)
        and min(FITTED_CFGS) < cfg < max(FITTED_CFGS)
        and cfg not in FITTED_CFGS
    )


@mode("7", expected=lambda steps: 40.0, where=_between)
def cpr(task: Task) -> Calibrated:
    """What the regression predicts for steps or a scale that it has not seen; it costs nothing
    here, and the grid of calibrations behind it is in the notes."""
    return _predicted(task, "paper")


@mode("7", expected=lambda steps: 100.0, where=_between)
def cpr_schedule(task: Task) -> Calibrated:
    """The same over calibrations that moved their steps."""
    return _predicted(task, "schedule")


#: The prior of each model from those of its family without it, by ``benchmarks/prior.py``.
_PRIORS = Path(__file__).resolve().parent.parent / "results" / "prior.json"


def _priors_version() -> str:
    """Of other numbers, another."""
    return f"2 {hashlib.sha256(_PRIORS.read_bytes()).hexdigest()[:8]}"


@mode(
    _priors_version(),
    expected=lambda steps: 0.0,
    where=lambda cfg, steps: prior_of.measured(steps, cfg),
)
def prior(task: Task) -> Calibrated:
    """The last ratio as the other models have it: no calibration at all."""
    numbers = json.loads(_PRIORS.read_text(encoding="utf-8"))[task.subject.name]
    default = settings_of(RatioSchedule(()))
    sigmas, schedule = task.sigmas.tolist(), task.model.schedule
    found = prior_of.prior(sigmas, task.cfg, schedule, default, numbers)
    ratios = [1.0] * task.steps if found is None else list(found.ratios)
    return Calibrated(lambda data: task.sample(data, ratios=ratios), 0.0, {"ratios": ratios})


@mode("1", expected=lambda steps: 200.0 + 120.0 * (steps - 3))
def authors(task: Task) -> Calibrated:
    """The search of DC-Solver's authors: gradients, 40 iterations a step."""
    found = authors_search.calibrate(task)
    return Calibrated(
        lambda data: task.sample(data, ratios=found.ratios),
        found.calls,
        {"ratios": list(found.ratios)},
    )


def _predicted(task: Task, quality: str) -> Calibrated:
    fitted, work = _fitted(task.subject, task.scheduler, quality)
    predicted = fitted.predict(task.steps, task.cfg)
    found = carry_over(predicted, task.sigmas.tolist(), task.model.schedule)
    notes = {
        "ratios": list(found.ratios),
        "sigmas": list(found.sigmas_to_run or ()),
        "told": list(found.notes),
        "calls of the grid": work,
    }
    return Calibrated(lambda data: task.sample(data, ratios=found), 0.0, notes)


@lru_cache(maxsize=4)
def _fitted(subject: Subject, scheduler: str, quality: str) -> tuple[CPR, float]:
    """The regression over the grid of calibrations, and their calls a point."""
    tasks = [Task.make(subject, FITTED_CFGS[0], steps, scheduler) for steps in FITTED_STEPS]
    found = calibrate_grid(
        tasks[0].denoiser,
        tasks[0].start,
        schedule=tasks[0].model.schedule,
        grids=[task.sigmas for task in tasks],
        cfgs=FITTED_CFGS,
        check=tasks[0].check,
        extra_args=tasks[0].extra_args,
        guard="all",
        quality=quality,
    )
    return fit_cpr(found), sum(each.report.calls_per_point for each in found if each.report)


def _quality(task: Task, quality: str) -> Calibrated:
    """A calibration of this quality, free to run on the stock schedules of as many steps."""
    found = calibrate(
        task.denoiser(),
        task.start,
        task.sigmas,
        schedule=task.model.schedule,
        check=task.check,
        extra_args=task.extra_args,
        cfg=task.cfg,
        guard="all",
        quality=quality,
        stock={name: task.grid(name) for name in SCHEDULERS},
    )
    assert found.report is not None
    notes = {
        "verdict": found.report.verdict,
        "gain": found.report.gain,
        "search_gain": found.report.search_gain,
        "found": list(found.report.found),
        "ratios": list(found.ratios),
        "sigmas": list(found.sigmas_to_run or ()),
        "solver": found.solver,
        "order": found.order,
        "told": list(found.notes),
    }
    return Calibrated(
        lambda data: task.sample(data, ratios=found), found.report.calls_per_point, notes
    )
