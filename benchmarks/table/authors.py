"""The search of DC-Solver's authors, to compare with: theirs in all but its faults.

Greedy over the steps as in the paper's algorithm 1, but with gradients: AdamW at their settings
moves one ratio 40 times, each time back through the step and the model call after it.  Their
released script takes the pipeline's own scheduler at 200 steps for the reference; here that DDIM
passes through the student's times, so that no state is compared with that of another time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from dc_solver.demo.emoji import Denoiser
from dc_solver.solvers import discrete_time, sample
from dc_solver.solvers.compensation import interpolation_weights
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.run import advanced, combine, converted
from dc_solver.solvers.step import Settings, Step
from torch.nn import functional as F

from .task import Task

ITERATIONS = 40
RATE = 0.1
REFERENCE_STEPS = 200
#: K, and with it the number of outputs that a step must know to have a ratio: K + 1.
DC_ORDER = 2

Model = Callable[[torch.Tensor, float], torch.Tensor]


@dataclass(frozen=True)
class Found:
    """The ratios and the model calls a point, forward 1 and backward 2."""

    ratios: tuple[float, ...]
    calls: float


def calibrate(task: Task) -> Found:
    """The ratios for a task, searched on its search points alone."""
    at = slice(task.search)
    x, conditions = task.start[at], task.data.conditions[at]
    sigmas = task.sigmas.double().tolist()
    fine, places = reference_grid(sigmas, task.model.sigmas.tolist())
    states = reference(task, x, conditions, fine, places)
    guided = differentiable(task.subject.eager.denoiser(task.cfg))

    def model(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return guided(x, torch.full((len(x),), sigma), condition=conditions)

    settings = Settings(solver="dc_solver", order=2, dc_order=DC_ORDER)
    plan = make_plan(make_grid(sigmas, task.model.schedule), task.model.schedule, settings)
    ratios, forward, backward = search(model, x, states, plan)
    return Found(ratios, len(fine) - 1 + forward + 2 * backward)


def search(
    model: Model, x: torch.Tensor, truth: Sequence[torch.Tensor], plan: Sequence[Step]
) -> tuple[tuple[float, ...], int, int]:
    """The ratio of each step, and how many times the model went forward and backward.

    ``truth`` are the reference states at each sigma of the grid.
    """
    ratios: list[float] = []
    forward = backward = 0
    now = _Now(x, None, [])
    for i, step in enumerate(plan):
        if now.denoised is None:
            now = _called(model, step, now)
            forward += 1
        after = plan[i + 1] if step.correct is not None else None
        take = partial(_stepped, model, step, after, now)
        ratio = 1.0
        if step.nodes:

            def loss(ratio: torch.Tensor, take: Any = take, i: int = i) -> torch.Tensor:
                return F.mse_loss(take(ratio).state, truth[i + 1])

            ratio = _adamw(loss)
            if after is not None:
                forward, backward = forward + ITERATIONS, backward + ITERATIONS
        with torch.no_grad():
            now = take(torch.tensor(ratio))
        forward += after is not None
        ratios.append(ratio)
    return tuple(ratios), forward, backward


@dataclass(frozen=True)
class _Now:
    """A state, the x0 there where the model has been called, and the outputs, newest first."""

    state: torch.Tensor
    denoised: torch.Tensor | None
    outputs: list[torch.Tensor]


def _called(model: Model, step: Step, now: _Now) -> _Now:
    denoised = model(now.state, step.sigma)
    output = converted(step.convert, now.state, denoised)
    return _Now(now.state, denoised, [output, *now.outputs[:DC_ORDER]])


def _stepped(model: Model, step: Step, after: Step | None, now: _Now, ratio: torch.Tensor) -> _Now:
    """After a step with this ratio, corrected where ``after`` is given."""
    outputs = list(now.outputs)
    if step.nodes:
        weights = interpolation_weights(step.nodes, ratio)  # type: ignore[arg-type]
        outputs[0] = torch.stack([w * o for w, o in zip(weights, outputs)]).sum(dim=0)
    there = _Now(advanced(step, now.state, now.denoised, outputs), None, outputs)
    if after is None or step.correct is None:
        return there
    there = _called(model, after, there)
    corrected = combine((1.0, *step.correct), (there.state, there.outputs[0], *outputs))
    return _Now(corrected, there.denoised, there.outputs)


def _adamw(loss: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """Their optimiser, weight decay as it comes."""
    ratio = torch.ones((), requires_grad=True)
    optimizer = torch.optim.AdamW([ratio], lr=RATE)
    for _ in range(ITERATIONS):
        optimizer.zero_grad()
        loss(ratio).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(ratio.detach())


def reference_grid(
    sigmas: Sequence[float], table: Sequence[float]
) -> tuple[list[float], list[int]]:
    """About 200 sigmas even in the model's timestep through those of the student, and where in
    them each of the student's stands.  Sigma 0 is one timestep below the first."""
    time = discrete_time(table)
    logs = np.log(np.asarray(table, dtype=np.float64))
    times = [time(sigma) if sigma > 0.0 else -1.0 for sigma in sigmas]
    density = REFERENCE_STEPS / (times[0] - times[-1])
    fine, places = [sigmas[0]], [0]
    for here, after, sigma in zip(times, times[1:], sigmas[1:]):
        count = max(1, round(density * (here - after)))
        between = np.linspace(here, after, count + 1)[1:-1]
        inside = between[between >= 0.0]
        fine += np.exp(np.interp(inside, np.arange(len(logs)), logs)).tolist()
        fine.append(sigma)
        places.append(len(fine) - 1)
    return fine, places


def reference(
    task: Task,
    x: torch.Tensor,
    conditions: torch.Tensor,
    fine: Sequence[float],
    places: Sequence[int],
) -> list[torch.Tensor]:
    """The states of a DDIM over the fine grid at the student's times."""
    states: dict[int, torch.Tensor] = {}

    def keep(info: dict[str, Any]) -> None:
        if info["i"] in places:
            states[info["i"]] = info["x"].clone()

    states[places[-1]] = sample(
        task.denoiser(),
        x,
        fine,
        schedule=task.model.schedule,
        solver="ddim",
        extra_args={"condition": conditions},
        callback=keep,
        disable=True,
    )
    return [states[place] for place in places]


def differentiable(denoiser: Denoiser) -> Callable[..., torch.Tensor]:
    """The denoiser with gradients through its input: its call from under ``torch.no_grad``."""
    call = type(denoiser).__call__.__wrapped__  # type: ignore[attr-defined]
    return partial(call, denoiser)
