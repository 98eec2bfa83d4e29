"""The sampler function that ComfyUI calls, and which ratios it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..ratios import RatioSchedule
from ..ratios.matching import carry_over
from ..solvers import sample
from . import host

_SAME_CFG = 0.05


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
    patcher = host.patcher_of(model)
    fitted = fit_ratios(ratios, sigmas.tolist(), patcher, host.cfg_of(model))
    host.log.info("DC-Solver: %s", told(fitted))
    return sample(
        model,
        x,
        sigmas,
        solver="dc_solver",
        schedule=host.schedule_of(patcher.get_model_object("model_sampling")),
        ratios=fitted,
        extra_args=extra_args,
        callback=callback,
        disable=disable,
        **options,
    )


def fit_ratios(
    ratios: RatioSchedule | None, sigmas: Sequence[float], model: Any, cfg: float | None
) -> RatioSchedule | None:
    """The ratios for a run of this model over ``sigmas``; their notes say what does not fit."""
    if ratios is None or len(sigmas) < 2:
        return None
    schedule = host.schedule_of(model.get_model_object("model_sampling"))
    fitted = carry_over(ratios, sigmas, schedule)
    here, there = host.identity_of(model), ratios.identity
    notes = []
    if cfg is not None and fitted.cfg is not None and abs(fitted.cfg - cfg) > _SAME_CFG:
        notes.append(f"the ratios are for CFG {fitted.cfg:g}, not {cfg:g}")
    if there.prediction is not None and there.prediction != here.prediction:
        notes.append(f"the ratios are for a model of {there.prediction}, not {here.prediction}")
    elif there.fingerprint is not None and there.fingerprint != here.fingerprint:
        notes.append("the ratios are another model's")
    return fitted.with_notes(*(note for note in notes if note not in fitted.notes))


def told(ratios: RatioSchedule | None) -> str:
    """Which ratios run, in one line."""
    if ratios is None:
        return "no ratios: plain UniPC"
    notes = "".join(f" ({note})" for note in ratios.notes)
    if not ratios.active:
        return f"ratios of 1: plain UniPC{notes}"
    return "ratios " + " ".join(f"{ratio:.3f}" for ratio in ratios.ratios) + notes
