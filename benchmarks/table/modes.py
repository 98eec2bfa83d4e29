"""The ways to calibrate.  A new one is a function here, under ``@mode``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from dc_solver.demo.emoji import Points
from dc_solver.demo.grids import SCHEDULERS
from dc_solver.ratios import calibrate

from . import authors as authors_search
from .task import Task


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


@mode("2", expected=lambda steps: 60.0 + 5.0 * steps)
def paper(task: Task) -> Calibrated:
    """The greedy ratios as ComfyUI's node and the demo search them."""
    return _quality(task, "paper")


@mode("1", expected=lambda steps: 60.0 + 25.0 * steps)
def ratios_plus(task: Task) -> Calibrated:
    return _quality(task, "ratios+")


@mode("1", expected=lambda steps: 80.0 + 20.0 * steps)
def tournament(task: Task) -> Calibrated:
    return _quality(task, "tournament")


@mode("1", expected=lambda steps: 60.0 + 25.0 * steps)
def schedule(task: Task) -> Calibrated:
    return _quality(task, "schedule")


@mode("1", expected=lambda steps: 100.0 + 7.0 * steps * steps)
def full(task: Task) -> Calibrated:
    return _quality(task, "full")


@mode("1", expected=lambda steps: 200.0 + 120.0 * (steps - 3))
def authors(task: Task) -> Calibrated:
    """The search of DC-Solver's authors: gradients, 40 iterations a step."""
    found = authors_search.calibrate(task)
    return Calibrated(
        lambda data: task.sample(data, ratios=found.ratios),
        found.calls,
        {"ratios": list(found.ratios)},
    )


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
        quality=quality,
        stock={name: task.grid(name) for name in SCHEDULERS},
    )
    assert found.report is not None
    notes = {
        "verdict": found.report.verdict,
        "ratios": list(found.ratios),
        "sigmas": list(found.sigmas_to_run or ()),
        "solver": found.solver,
        "order": found.order,
        "told": list(found.notes),
    }
    return Calibrated(
        lambda data: task.sample(data, ratios=found), found.report.calls_per_point, notes
    )
