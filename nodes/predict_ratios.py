"""DCSolverPredictRatios: ratios for any CFG and step count, at once."""

from __future__ import annotations

from typing import Any

import torch

from ..ratios import CPR, RatioSchedule, carry_over
from ..ratios.edits import apply_edits, parse_edits
from ..ratios.text import describe_ratios
from . import host, host_model, tokens
from .missing import why_missing
from .options import CATEGORY, cfg, check_edits, edits, steps


class DCSolverPredictRatios:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Gives the ratios for any steps and CFG from one calibrated grid, and draws them as you "
        "move either. Drag a point to set a ratio by hand. Outside the range that was calibrated "
        "it takes the nearest setting and says so."
    )
    RETURN_TYPES = ("DC_RATIOS", "STRING", "SIGMAS")
    RETURN_NAMES = ("ratios", "report", "sigmas")
    OUTPUT_TOOLTIPS = (
        "The ratios for these steps and CFG.",
        "What was predicted, in words.",
        "The schedule to run, its steps moved where the grid was calibrated so: for any sampler "
        "that takes SIGMAS. Connect the model to get it.",
    )
    FUNCTION = "predict"
    SEARCH_ALIASES = ["dc solver", "cpr", "compensation ratios", "ratio curve", "edit ratios"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "cpr": ("DC_CPR", {"tooltip": "From Calibrate Ratios Grid or Load Ratios."}),
                "steps": steps(),
                "cfg": cfg(),
            },
            "optional": {
                "edits": edits("number of steps"),
                "model": ("MODEL", {
                    "tooltip": "The model that you sample with; only the output sigmas needs it.",
                }),
            },
        }  # fmt: skip

    @classmethod
    def VALIDATE_INPUTS(cls, edits: str | None = None) -> bool | str:
        """Refuse bad edits before anything runs."""
        return check_edits(edits)

    def predict(
        self, cpr: CPR, steps: int, cfg: float, edits: str = "", model: Any = None
    ) -> dict[str, Any]:
        predicted: RatioSchedule = cpr.predict(steps, cfg)
        points = {} if why_missing(cpr) else parse_edits(edits).get(str(int(steps)), {})
        found = apply_edits(predicted, points)
        sigmas = host.block(
            "Predict Ratios: connect the model, which the schedule of these steps is made for."
        )
        if model is not None:
            found, sigmas = _laid_over(found, model)
        for note in found.notes:
            host.log.warning("DC-Solver prediction: %s", note)
        report = describe_ratios(found)
        shown = {"cpr": tokens.remember(cpr), "steps": steps, "cfg": cfg}
        # The curve tells the rest.
        return {"ui": {"dc_run": [shown]}, "result": (found, report, sigmas)}


def _laid_over(found: RatioSchedule, model: Any) -> tuple[RatioSchedule, Any]:
    """The ratios over the model's own schedule, and the sigmas to run."""
    scheduler = found.identity.scheduler
    named = host_model.sigmas_of(model, scheduler, found.steps) if scheduler else None
    grid = named or found.sigmas
    if grid is None:
        return found, host.block(
            f"Predict Ratios: the scheduler {scheduler or 'of this file'} is not known here, so "
            "its sigmas are not either."
        )
    schedule = host_model.schedule_of(model.get_model_object("model_sampling"))
    over = carry_over(found, grid, schedule)
    return over, torch.tensor(over.sigmas_to_run or grid, dtype=torch.float32)
