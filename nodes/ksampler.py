"""DCSolverKSampler: the stock KSampler with DC-Solver and, where connected, its ratios."""

from __future__ import annotations

from typing import Any

from ..ratios import RatioSchedule
from ..ratios.matching import carry_over
from . import host
from .options import CATEGORY, cfg, steps
from .sampling import sample_dc_solver, told


class DCSolverKSampler:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "KSampler with DC-Solver. Connect calibrated or predicted ratios for the same steps, CFG "
        "and scheduler; without them it samples as UniPC. One model call a step either way."
    )
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model used for denoising the latent."}),
                "seed": ("INT", {
                    "default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF,
                    "control_after_generate": True,
                    "tooltip": "The random seed used for creating the noise.",
                }),
                "steps": steps(),
                "cfg": cfg(),
                "scheduler": (host.schedulers(), {
                    "default": "simple",
                    "tooltip": "The schedule of sigmas. Use the one that the ratios are for.",
                }),
                "positive": ("CONDITIONING", {"tooltip": "What you want in the image."}),
                "negative": ("CONDITIONING", {"tooltip": "What you do not want in the image."}),
                "latent_image": ("LATENT", {"tooltip": "The latent image to denoise."}),
                "denoise": ("FLOAT", {
                    "default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01,
                    "tooltip": "How much of the image is made anew: 1 all, lower keeps more of it.",
                }),
            },
            "optional": {
                "ratios": ("DC_RATIOS", {
                    "tooltip": "Calibrated or predicted ratios. Without them: plain UniPC.",
                }),
            },
        }  # fmt: skip

    def sample(
        self,
        model: Any,
        seed: int,
        steps: int,
        cfg: float,
        scheduler: str,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        denoise: float = 1.0,
        ratios: RatioSchedule | None = None,
    ) -> dict[str, Any]:
        sigmas = host.calculate_sigmas(model, scheduler, steps, denoise)
        fitted = ratios
        if ratios is not None and len(sigmas) > 1:
            schedule = host.schedule_of(model.get_model_object("model_sampling"))
            fitted = carry_over(ratios, sigmas.tolist(), schedule)
            if fitted.cfg is not None and abs(fitted.cfg - cfg) > 0.05:
                fitted = fitted.with_notes(f"the ratios are for CFG {fitted.cfg:g}, not {cfg:g}")
        sampler = host.make_sampler(sample_dc_solver, {"ratios": fitted})
        latent = host.sample_custom(
            model, seed, cfg, sampler, sigmas, positive, negative, latent_image
        )
        return {"ui": {"text": [told(fitted)]}, "result": (latent,)}
