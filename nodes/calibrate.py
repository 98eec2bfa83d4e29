"""DCSolverCalibrate: search the ratios of one step count and scale, inside the graph."""

from __future__ import annotations

from typing import Any

from ..ratios import RatioSchedule, calibrate
from ..ratios.text import describe_ratios
from . import host
from .calibration import run_calibration
from .host_runs import GuidedModel
from .options import (
    CATEGORY,
    calibrated_model,
    cfg,
    first_seed,
    search_settings,
    solver_settings,
    steps,
)
from .plotting import plot


class DCSolverCalibrate:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Searches the compensation ratios of your model for one number of steps and one CFG, from "
        "ten seeds. Takes minutes, needs no more memory than sampling. Save the result and it "
        "serves every image made with these settings."
    )
    RETURN_TYPES = ("DC_RATIOS", "IMAGE", "STRING")
    RETURN_NAMES = ("ratios", "curve", "report")
    OUTPUT_TOOLTIPS = (
        "The ratios: connect to KSampler (DC-Solver) or Save Ratios.",
        "The ratios over the steps, as an image.",
        "What they cost and gain, in words.",
    )
    FUNCTION = "calibrate"
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
            },
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
        **settings: Any,
    ) -> dict[str, Any]:
        name = scheduler if sigmas is None else "custom"
        grid = host.calculate_sigmas(model, scheduler, steps) if sigmas is None else sigmas
        if len(grid) < 2:
            raise ValueError(f"sigmas: expected two or more, got {len(grid)}; use 1 step or more.")

        def work(guided: GuidedModel, x: Any, **arguments: Any) -> list[RatioSchedule]:
            return [calibrate(guided.at(cfg), x, grid, cfg=cfg, **arguments)]

        (found,) = run_calibration(
            work,
            model=model,
            positive=positive,
            negative=negative,
            latent_image=latent_image,
            sigmas=grid,
            scheduler=name,
            **settings,
        )
        report = describe_ratios(found)
        host.log.info(report)
        previews, image = plot([found])
        return {"ui": {"images": previews, "text": [report]}, "result": (found, image, report)}
