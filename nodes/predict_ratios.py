"""DCSolverPredictRatios: ratios for any CFG and step count, at once."""

from __future__ import annotations

from typing import Any

from ..ratios import CPR, RatioSchedule
from ..ratios.text import describe_ratios
from . import host
from .options import CATEGORY, cfg, steps


class DCSolverPredictRatios:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Gives the ratios for any steps and CFG from one calibrated grid. Outside the range that "
        "was calibrated it takes the nearest setting and says so."
    )
    RETURN_TYPES = ("DC_RATIOS", "STRING")
    RETURN_NAMES = ("ratios", "report")
    OUTPUT_TOOLTIPS = ("The ratios for these steps and CFG.", "What was predicted, in words.")
    FUNCTION = "predict"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "cpr": ("DC_CPR", {"tooltip": "From Calibrate Ratios Grid or Load Ratios."}),
                "steps": steps(),
                "cfg": cfg(),
            },
        }

    def predict(self, cpr: CPR, steps: int, cfg: float) -> dict[str, Any]:
        found: RatioSchedule = cpr.predict(steps, cfg)
        for note in found.notes:
            host.log.warning("DC-Solver prediction: %s", note)
        report = describe_ratios(found)
        return {"ui": {"text": [report]}, "result": (found, report)}
