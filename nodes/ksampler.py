"""DCSolverKSampler: the stock KSampler with DC-Solver and, where connected, its ratios."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..ratios import RatioSchedule
from . import host
from .options import CATEGORY, cfg, steps
from .sampling import fit_ratios, sample_dc_solver, told


class DCSolverKSampler:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "KSampler with DC-Solver. Connect calibrated or predicted ratios for the same steps, CFG "
        "and scheduler; without them it samples as UniPC. One model call a step either way."
    )
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The denoised latent.",)
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
        if ratios is not None and ratios.sigmas is None:
            ratios = self._of_scheduler(ratios, scheduler, denoise)
        fitted = fit_ratios(ratios, sigmas.tolist(), model, cfg)
        sampler = host.make_sampler(sample_dc_solver, {"ratios": fitted})
        latent = host.sample_custom(
            model, seed, cfg, sampler, sigmas, positive, negative, latent_image
        )
        return {"ui": {"text": [told(fitted)]}, "result": (latent,)}

    @staticmethod
    def _of_scheduler(ratios: RatioSchedule, scheduler: str, denoise: float) -> RatioSchedule:
        """Ratios whose sigmas are not known fit only whole runs of their scheduler."""
        known = ratios.identity.scheduler
        if denoise >= 1.0 and known in (None, scheduler):
            return ratios
        reason = f"scheduler {known}" if known not in (None, scheduler) else "denoise 1"
        ones = (1.0,) * ratios.steps
        return replace(ratios, ratios=ones).with_notes(f"the ratios are for {reason}")
