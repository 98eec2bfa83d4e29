"""The sampler function that ComfyUI calls."""

from __future__ import annotations

from typing import Any

import torch

from ..ratios import RatioSchedule
from ..ratios.matching import carry_over
from ..solvers import sample
from . import host


def sample_dc_solver(
    model: Any,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    ratios: RatioSchedule | None = None,
    **options: Any,
) -> torch.Tensor:
    """Sample with DC-Solver; without ratios that is UniPC.  One model call a step."""
    schedule = host.schedule_of(host.model_sampling_of(model))
    fitted = None if ratios is None else carry_over(ratios, sigmas.tolist(), schedule)
    host.log.info("DC-Solver: %s", told(fitted))
    return sample(
        model,
        x,
        sigmas,
        solver="dc_solver",
        schedule=schedule,
        ratios=fitted,
        extra_args=extra_args,
        callback=callback,
        disable=disable,
        **options,
    )


def told(ratios: RatioSchedule | None) -> str:
    """Which ratios run, in one line."""
    if ratios is None:
        return "no ratios: plain UniPC"
    notes = "".join(f" ({note})" for note in ratios.notes)
    if not ratios.active:
        return f"ratios of 1: plain UniPC{notes}"
    return "ratios " + " ".join(f"{ratio:.3f}" for ratio in ratios.ratios) + notes
