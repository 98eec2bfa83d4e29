"""DCSolverPredictRatios: ratios for any CFG and step count, at once."""

from __future__ import annotations

from typing import Any

from ..ratios import CPR, RatioSchedule
from ..ratios.edits import apply_edits, parse_edits
from ..ratios.text import describe_ratios
from . import host, tokens
from .missing import why_missing
from .options import CATEGORY, cfg, check_edits, edits, steps


class DCSolverPredictRatios:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Gives the ratios for any steps and CFG from one calibrated grid, and draws them as you "
        "move either. Drag a point to set a ratio by hand. Outside the range that was calibrated "
        "it takes the nearest setting and says so."
    )
    RETURN_TYPES = ("DC_RATIOS", "STRING")
    RETURN_NAMES = ("ratios", "report")
    OUTPUT_TOOLTIPS = ("The ratios for these steps and CFG.", "What was predicted, in words.")
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
            "optional": {"edits": edits("number of steps")},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, edits: str | None = None) -> bool | str:
        """Refuse bad edits before anything runs."""
        return check_edits(edits)

    def predict(self, cpr: CPR, steps: int, cfg: float, edits: str = "") -> dict[str, Any]:
        predicted: RatioSchedule = cpr.predict(steps, cfg)
        points = {} if why_missing(cpr) else parse_edits(edits).get(str(steps), {})
        found = apply_edits(predicted, points)
        for note in found.notes:
            host.log.warning("DC-Solver prediction: %s", note)
        report = describe_ratios(found)
        shown = {"cpr": tokens.remember(cpr), "steps": steps, "cfg": cfg}
        return {"ui": {"dc_run": [shown]}, "result": (found, report)}  # the curve tells the rest
