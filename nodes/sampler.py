"""DCSolverSampler: DC-Solver as a SAMPLER for the custom sampling nodes."""

from __future__ import annotations

from typing import Any

from ..ratios import RatioSchedule
from . import host
from .options import CATEGORY, LOWER_ORDER, solver_settings
from .sampling import sample_dc_solver


class DCSolverSampler:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "DC-Solver for SamplerCustom and SamplerCustomAdvanced. Without ratios it is UniPC; "
        "connected ratios bring their own solver settings."
    )
    RETURN_TYPES = ("SAMPLER",)
    OUTPUT_TOOLTIPS = ("For SamplerCustom.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": solver_settings(),
            "optional": {
                "ratios": ("DC_RATIOS", {
                    "tooltip": "Calibrated or predicted ratios; their settings win.",
                }),
            },
        }  # fmt: skip

    def make(
        self, order: int, variant: str, lower_order: str, ratios: RatioSchedule | None = None
    ) -> tuple[Any]:
        options = {
            "ratios": ratios,
            "order": order,
            "variant": variant,
            "lower_order": LOWER_ORDER[lower_order],
        }
        return (host.make_sampler(sample_dc_solver, options),)
