"""DCSolverSampler: DC-Solver as a SAMPLER for the custom sampling nodes."""

from __future__ import annotations

from typing import Any

from ..ratios import RatioSchedule
from ..ratios.chosen import told
from ..ratios.lookup import Choice
from . import host, library
from .options import CATEGORY, LOWER_ORDER, find_ratios, solver_settings
from .sampling import Wish, sample_dc_solver


class DCSolverSampler:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "DC-Solver for SamplerCustom and SamplerCustomAdvanced. Connected ratios bring their own "
        "solver settings; without any it takes those that your library has for the run, else it "
        "is UniPC."
    )
    RETURN_TYPES = ("SAMPLER",)
    OUTPUT_TOOLTIPS = ("For SamplerCustom and SamplerCustomAdvanced.",)
    FUNCTION = "make"
    SEARCH_ALIASES = ["dc solver", "unipc", "dynamic compensation", "few step sampler"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": solver_settings(),
            "optional": {
                "ratios": ("DC_RATIOS", {
                    "tooltip": "Calibrated or predicted ratios; their settings win.",
                }),
                "find_ratios": find_ratios(),
            },
            "hidden": {"node": "UNIQUE_ID"},
        }  # fmt: skip

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        """Run again when the library changes, where the ratios may come from there."""
        return library.state() if library.used(inputs) else ""

    def make(
        self,
        order: int,
        variant: str,
        lower_order: str,
        ratios: RatioSchedule | None = None,
        find_ratios: bool = True,
        node: str = "",
    ) -> tuple[Any]:
        def tell(choice: Choice) -> None:
            host.show_on_node(told(choice), node)

        options = {
            "wish": Wish(ratios, find_ratios, tell),
            "order": order,
            "variant": variant,
            "lower_order": LOWER_ORDER[lower_order],
        }
        return (host.make_sampler(sample_dc_solver, options),)
