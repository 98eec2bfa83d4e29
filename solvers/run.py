"""The loop that runs a plan: a model call a step, multiplications and additions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm.auto import trange

from .calls import Calls, Model
from .step import Step

Callback = Callable[[dict[str, Any]], None]
#: Changes a state between two steps: ``between(state, sigma, step)``.
Between = Callable[[torch.Tensor, float, int], torch.Tensor]


def run_plan(
    plan: Sequence[Step],
    model: Model | Calls,
    x: torch.Tensor,
    *,
    callback: Callback | None = None,
    disable: bool | None = True,
    outputs: Sequence[torch.Tensor] = (),
    between: Between | None = None,
) -> torch.Tensor:
    """Run the steps of a plan; ``outputs`` are those known before it starts, newest first."""
    calls = model if isinstance(model, Calls) else Calls(model, x)
    state = origin = x.to(calls.dtype)
    buffer = [output.to(calls.dtype) for output in outputs]
    correct: tuple[float, ...] | None = None
    first: torch.Tensor | None = None
    for i in trange(len(plan), disable=disable):
        step = plan[i]
        denoised = state
        if step.calls_model:
            denoised = calls(state, step.sigma, i)
            output = converted(step.convert, state, denoised)
            if correct is not None:
                state = combine((1.0, *correct), (state, output, *buffer))
            if step.replaces_newest:
                del buffer[0]
            buffer.insert(0, output)
            del output
        if step.starts:
            origin, first = state, denoised if step.denoised else None
        if callback is not None:
            sigma = torch.full((), step.sigma, dtype=state.dtype, device=x.device)
            callback({"x": state, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        del denoised
        if step.compensate is not None:
            buffer[0] = combine(step.compensate, buffer)
        state = origin
        del buffer[max(len(step.outputs), step.keep) :]
        state = advanced(step, origin, first, buffer)
        if step.completes:
            origin, first = state, None
            if between is not None and step.calls_model and step.sigma_next > 0.0:
                state = origin = between(state, step.sigma_next, i)
        correct = step.correct
        del buffer[step.keep :]
    return state.to(x.dtype) if plan else x.clone()


def converted(
    weights: tuple[float, float] | None, state: torch.Tensor, denoised: torch.Tensor
) -> torch.Tensor:
    """What the solver integrates, of a state and the x0 found at it."""
    return denoised if weights is None else combine(weights, (state, denoised))


def advanced(
    step: Step, start: torch.Tensor, denoised: torch.Tensor | None, outputs: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The state after a step from ``start``, at which the model gave ``denoised``."""
    if denoised is None or step.denoised == 0.0:
        return combine((step.state, *step.outputs), (start, *outputs))
    return combine((step.state, step.denoised, *step.outputs), (start, denoised, *outputs))


def combine(weights: Sequence[float], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """``sum_j weights[j] * tensors[j]`` in a new tensor; a weight of 0 is never multiplied."""
    total: torch.Tensor | None = None
    for weight, tensor in zip(weights, tensors):
        if weight == 0.0:
            continue
        if total is None:
            total = torch.mul(tensor, weight)
        else:
            total.add_(tensor, alpha=weight)
    return torch.zeros_like(tensors[0]) if total is None else total
