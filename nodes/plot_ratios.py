"""DCSolverPlotRatios: ratio curves as a picture."""

from __future__ import annotations

from typing import Any

from ..ratios.text import describe_ratios
from .options import CATEGORY
from .plotting import below_why, plot


class DCSolverPlotRatios:
    CATEGORY = CATEGORY
    DESCRIPTION = "Draws one to four ratio curves over each other."
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("curve", "report")
    OUTPUT_TOOLTIPS = ("The curves, as an image.", "What they cost and gain, in words.")
    FUNCTION = "plot"
    SEARCH_ALIASES = ["dc solver", "ratio curve", "compare ratios", "show calibration"]
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"ratios": ("DC_RATIOS", {"tooltip": "The ratios to draw."})},
            "optional": {
                f"ratios_{k}": ("DC_RATIOS", {"tooltip": "Another curve to lay over it."})
                for k in (2, 3, 4)
            },
        }

    def plot(self, ratios: Any, **others: Any) -> dict[str, Any]:
        schedules = [ratios, *(others[name] for name in sorted(others) if others[name] is not None)]
        shown = plot(schedules)
        report = "\n\n".join(describe_ratios(schedule) for schedule in schedules)
        text = below_why(report, shown)
        return {"ui": {"images": shown.previews, "text": [text]}, "result": (shown.image, report)}
