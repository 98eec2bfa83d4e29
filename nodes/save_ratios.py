"""DCSolverSaveRatios: keep a calibration in the library."""

from __future__ import annotations

from typing import Any

from ..ratios import CPR, RatioSchedule, save
from ..ratios.files import SUFFIX, save_once
from ..ratios.library import path_in, usable_name
from . import host
from .missing import why_missing
from .options import CATEGORY


class DCSolverSaveRatios:
    CATEGORY = CATEGORY
    DESCRIPTION = f"Saves ratios or a CPR to models/{host.FOLDER}, to load, copy and share."
    RETURN_TYPES = ()
    FUNCTION = "save"
    SEARCH_ALIASES = ["dc solver", "keep calibration", "export ratios"]
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "ratios": ("DC_RATIOS,DC_CPR", {"tooltip": "Ratios or a CPR."}),
                "name": ("STRING", {
                    "default": "my_model",
                    "tooltip": "A file name, without a folder.",
                }),
                "overwrite": ("BOOLEAN", {
                    "default": False,
                    "tooltip": "Replace a calibration of this name; else a number is added.",
                }),
            },
        }  # fmt: skip

    def save(self, ratios: RatioSchedule | CPR, name: str, overwrite: bool) -> dict[str, Any]:
        why = why_missing(ratios)
        if why is not None:
            raise ValueError(f"ratios: expected some to save, got none ({why}).")
        # Refusing a name would lose the calibration, which has run by now.
        path = path_in(host.library_folder(), usable_name(name))
        found, there = (save(ratios, path), False) if overwrite else save_once(ratios, path)
        if there:
            told = f"{found.name} in models/{host.FOLDER} is the same already"
        else:
            host.log.info("DC-Solver: saved %s", found.name)
            told = f"saved as {found.name} in models/{host.FOLDER}"
        if name.strip() and path.stem != name.strip().removesuffix(SUFFIX):
            told += f" (a file cannot be called {name[:80]!r})"
        return {"ui": {"text": [told]}}
