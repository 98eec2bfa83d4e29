"""DCSolverKSampler: the stock KSampler with DC-Solver and, where connected, its ratios."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..ratios import RatioSchedule
from . import host, library
from .options import CATEGORY, cfg, denoise, find_ratios, solver, steps
from .sampling import Wish, sample_dc_solver


class DCSolverKSampler:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "KSampler with DC-Solver. It takes the ratios that your library has for this model, CFG "
        "and steps, or those that you connect; for a model that is not calibrated it guesses the "
        "last one with care. As many model calls as steps either way."
    )
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The denoised latent.",)
    FUNCTION = "sample"
    SEARCH_ALIASES = ["dc solver", "unipc", "dynamic compensation", "few step ksampler"]

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
                "denoise": denoise(),
            },
            "optional": {
                "ratios": ("DC_RATIOS", {
                    "tooltip": "Calibrated or predicted ratios. Without them the library is "
                    "looked through.",
                }),
                "find_ratios": find_ratios(),
                "solver": solver(),
            },
        }  # fmt: skip

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        """Run again when the library changes, where the ratios may come from there."""
        return library.state() if library.used(inputs) else ""

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
        find_ratios: bool = True,
        solver: str = "dc_solver",
    ) -> dict[str, Any]:
        sigmas = host.calculate_sigmas(model, scheduler, steps, denoise)
        if ratios is not None and denoise < 1.0:
            ratios = _only_whole_runs(ratios)
        shown: list[str] = []
        wish = Wish(ratios, find_ratios, shown.append)
        sampler = host.make_sampler(sample_dc_solver, {"wish": wish, "solver": solver})
        latent = host.sample_custom(
            model, seed, cfg, sampler, sigmas, positive, negative, latent_image
        )
        text = shown[-1:] or ["nothing to sample: denoise or steps is 0"]
        return {"ui": {"text": text}, "result": (latent,)}


def _only_whole_runs(ratios: RatioSchedule) -> RatioSchedule:
    """Ratios of which no sigmas are known, not even by name, fit whole runs alone."""
    if ratios.sigmas is not None or ratios.identity.scheduler is not None:
        return ratios
    plain = replace(ratios, ratios=(1.0,) * ratios.steps)
    return plain.with_notes("the ratios are for denoise 1")
