"""DCSolverSampler: DC-Solver as a SAMPLER for the custom sampling nodes."""

from __future__ import annotations

from typing import Any

from ..ratios import RatioSchedule
from ..solvers import Langevin, Tolerance
from . import host, library
from .options import (
    CATEGORY,
    CORRECTOR,
    LOWER_ORDER,
    chosen,
    find_ratios,
    sampling_extras,
    solver,
    solver_settings,
)
from .sampling import Wish, sample_dc_solver


class DCSolverSampler:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "DC-Solver, and every other solver of the pack, for SamplerCustom and "
        "SamplerCustomAdvanced. Connected ratios bring their own solver settings; without any it "
        "takes those that your library has for the run, or else guesses that of the last step "
        "with care, or is UniPC."
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
                "solver": solver(),
                **sampling_extras(),
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
        solver: str = "dc_solver",
        corrector: str = "automatic",
        threshold: float = 0.0,
        langevin_steps: int = 0,
        langevin_snr: float = 0.1,
        rtol: float = 0.05,
        atol: float = 0.0078,
        max_calls: int = 200,
        node: str = "",
    ) -> tuple[Any]:
        def tell(text: str) -> None:
            host.show_on_node(text, node)

        options = {
            "wish": Wish(ratios, find_ratios, tell),
            "solver": solver,
            "order": order,
            "variant": variant,
            "lower_order": chosen("lower_order", LOWER_ORDER, lower_order),
            "corrector": chosen("corrector", CORRECTOR, corrector),
            "threshold": threshold or None,
            "langevin": Langevin(langevin_steps, langevin_snr) if langevin_steps else None,
            "tolerance": Tolerance(atol=atol, rtol=rtol, max_calls=max_calls),
        }
        return (host.make_sampler(sample_dc_solver, options),)
