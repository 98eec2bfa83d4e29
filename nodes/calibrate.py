"""DCSolverCalibrate: search the ratios of one step count and scale, inside the graph."""

from __future__ import annotations

from typing import Any

import torch

from ..ratios import RatioSchedule, calibrate
from ..ratios.qualities import check_counts
from ..ratios.text import describe_ratios
from . import host
from .calibration import run_calibration
from .host_runs import GuidedModel
from .options import (
    CATEGORY,
    calibrated_model,
    calibrated_solver,
    cfg,
    first_seed,
    for_pictures,
    quality,
    search_settings,
    solver_settings,
    steps,
)
from .plotting import Pictures, below_why, plot

#: Qualities that choose among the host's schedules.
_CHOOSE_SCHEDULE = ("tournament", "full")


class DCSolverCalibrate:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Searches the compensation ratios of your model for one number of steps and one CFG, from "
        "ten seeds. Takes minutes, needs no more memory than sampling. Save the result and it "
        "serves every image made with these settings."
    )
    RETURN_TYPES = ("DC_RATIOS", "IMAGE", "STRING", "IMAGE", "SIGMAS")
    RETURN_NAMES = ("ratios", "curve", "report", "comparison", "sigmas")
    OUTPUT_TOOLTIPS = (
        "The ratios: connect to KSampler (DC-Solver) or Save Ratios.",
        "The ratios over the steps, as an image.",
        "What they cost and gain, in words.",
        "UniPC, DC-Solver and the reference on check seeds; needs a VAE.",
        "The schedule to run, with moved steps where the quality moves them: for any sampler that "
        "takes SIGMAS.",
    )
    FUNCTION = "calibrate"
    SEARCH_ALIASES = ["dc solver", "compensation ratios", "search ratios"]
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **calibrated_model(),
                "steps": steps(),
                "cfg": cfg(),
                "scheduler": (host.schedulers(), {
                    "default": "simple",
                    "tooltip": "The schedule that the ratios are for.",
                }),
                "first_seed": first_seed(),
                **search_settings(),
                **solver_settings(),
            },
            "optional": {
                "sigmas": ("SIGMAS", {
                    "tooltip": "A schedule of your own, in place of steps and scheduler.",
                }),
                **for_pictures(),
                **calibrated_solver(),
                "quality": quality(),
            },
            "hidden": {"node": "UNIQUE_ID"},
        }  # fmt: skip

    def calibrate(
        self,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        steps: int,
        cfg: float,
        scheduler: str,
        sigmas: Any = None,
        vae: Any = None,
        quality: str = "paper",
        **settings: Any,
    ) -> dict[str, Any]:
        name = scheduler if sigmas is None else "custom"
        grid = host.calculate_sigmas(model, scheduler, steps) if sigmas is None else sigmas
        check_counts("steps", [len(grid) - 1], settings["dc_order"], quality)
        choose = sigmas is None and quality in _CHOOSE_SCHEDULE

        def work(guided: GuidedModel, x: Any, **arguments: Any) -> list[RatioSchedule]:
            return [calibrate(guided.at(cfg), x, grid, cfg=cfg, **arguments)]

        pictures = Pictures(vae, model)
        (found,) = run_calibration(
            work,
            model=model,
            positive=positive,
            negative=negative,
            latent_image=latent_image,
            pictures=pictures,
            sigmas=grid,
            scheduler=name,
            quality=quality,
            stock=host.other_schedules(model, len(grid) - 1) if choose else None,
            **settings,
        )
        report = describe_ratios(found)
        host.log.info(report)
        curve = plot([found])  # the node draws it itself
        compared = pictures.compare([found])
        shown = {
            "images": compared.previews,
            "text": [below_why(report, compared, curve)],
            "dc_curve": [{"ratios": found.ratios, "dc_order": found.dc_order,
                          "steps": found.steps, "cfg": found.cfg, "learned": found.moves_steps,
                          "sigmas": found.sigmas_to_run, "given": found.sigmas}],
        }  # fmt: skip
        to_run = torch.tensor(found.sigmas_to_run, dtype=torch.float32)
        return {"ui": shown, "result": (found, curve.image, report, compared.image, to_run)}
