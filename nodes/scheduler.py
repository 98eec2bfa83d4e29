"""DCSolverScheduler: the grids of the papers as SIGMAS."""

from __future__ import annotations

from typing import Any

import torch

from ..solvers import make_sigmas
from . import host_model
from .options import CATEGORY, chosen, denoise, steps

_SPACINGS = {
    "even in time": "time_uniform",
    "even in log-SNR": "logsnr",
    "quadratic in time": "time_quadratic",
    "as DC-Solver's authors": "authors",
}
#: Whether the last sigma is 0.
_ENDS = {"sigma 0": True, "smallest sigma": False}


class DCSolverScheduler:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "The schedules of the papers, for SamplerCustom and Calibrate Ratios. Ratios of "
        "DC-Solver's authors are for their own. For images ComfyUI's schedulers do as well or "
        "better."
    )
    RETURN_TYPES = ("SIGMAS",)
    OUTPUT_TOOLTIPS = ("For SamplerCustom, SamplerCustomAdvanced and Calibrate Ratios.",)
    FUNCTION = "make"
    SEARCH_ALIASES = ["dc solver", "sigmas", "log snr", "time uniform", "schedule"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model, with the shift that you use."}),
                "schedule": (list(_SPACINGS), {
                    "default": "even in time",
                    "tooltip": "How the steps are spread. That of DC-Solver's authors always ends "
                    "at the smallest sigma and keeps a little noise.",
                }),
                "steps": steps(),
                "end": (list(_ENDS), {
                    "default": "sigma 0",
                    "tooltip": "Where it ends: without noise, as ComfyUI's schedulers do, or at "
                    "the model's smallest sigma, as in the papers.",
                }),
                "denoise": denoise(),
            },
        }  # fmt: skip

    def make(
        self, model: Any, schedule: str, steps: int, end: str, denoise: float
    ) -> tuple[torch.Tensor]:
        if denoise <= 0.0:
            return (torch.FloatTensor([]),)
        sampling = model.get_model_object("model_sampling")
        sigmas = make_sigmas(
            chosen("schedule", _SPACINGS, schedule),
            int(steps / denoise) if denoise < 1.0 else steps,
            sampling.sigmas.tolist(),
            host_model.schedule_of(sampling),
            to_zero=chosen("end", _ENDS, end),
        )
        return (torch.tensor(sigmas[-(steps + 1) :]),)
