"""Sampling a model as a host would: its start, its grid, its calls counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from dc_solver.demo.emoji import Denoiser, Emoji, Points
from dc_solver.demo.grids import make_sigmas
from dc_solver.ratios.reference import reference_sigmas
from dc_solver.solvers import sample

#: What makes a denoiser at a guidance scale count somewhere.
Counted = Callable[[Denoiser], Any]


def grid(model: Emoji, scheduler: str, steps: int) -> torch.Tensor:
    """The sigmas of a stock schedule."""
    return make_sigmas(scheduler, model.sigmas, steps, flow=model.kind == "flow")


def start(model: Emoji, noise: torch.Tensor, sigma: float) -> torch.Tensor:
    """The state that ComfyUI's KSampler starts from: of a schedule that begins below the model's
    largest sigma it takes the noise alone."""
    top = float(model.sigmas[-1])
    if model.kind == "flow" or sigma > top or math.isclose(sigma, top, rel_tol=1e-5):
        return model.start(noise, sigma)
    return noise * sigma


def run(
    model: Emoji, denoiser: Any, data: Points, sigmas: torch.Tensor, **options: Any
) -> torch.Tensor:
    """The final latents of these points; ``options`` are those of :func:`solvers.sample`."""
    return sample(
        denoiser,
        start(model, data.noise, float(sigmas[0])),
        sigmas,
        schedule=model.schedule,
        extra_args={"condition": data.conditions},
        disable=True,
        **options,
    )


def truth(model: Emoji, cfg: float, data: Points, steps: int) -> torch.Tensor:
    """The final latents of the model's trajectory, in so many small steps of UniPC-3."""
    fine, _ = reference_sigmas([float(model.sigmas[-1]), 0.0], model.schedule, steps)
    return run(
        model,
        model.denoiser(cfg),
        data,
        torch.tensor(fine),
        solver="unipc",
        order=3,
        lower_order="final",
    )


def errors(latents: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The mean square over the elements, an image each; infinite where it is no number."""
    found = (latents.double() - truth.double()).square().flatten(1).mean(dim=1)
    return found.nan_to_num(nan=math.inf, posinf=math.inf)
