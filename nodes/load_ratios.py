"""DCSolverLoadRatios: a calibration from the library."""

from __future__ import annotations

import hashlib
from typing import Any

from ..ratios import CPR, load
from ..ratios.files import MOST_BYTES
from ..ratios.text import describe_cpr, describe_ratios
from . import host
from .options import CATEGORY


class DCSolverLoadRatios:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        f"Loads ratios or a CPR from models/{host.FOLDER}. A file holds one of the two: connect "
        "the output that fits."
    )
    RETURN_TYPES = ("DC_RATIOS", "DC_CPR", "STRING")
    RETURN_NAMES = ("ratios", "cpr", "report")
    OUTPUT_TOOLTIPS = (
        "For a file that holds ratios.",
        "For a file that holds a CPR.",
        "What the file holds, in words.",
    )
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "file": (host.library_names(), {"tooltip": f"A file in models/{host.FOLDER}."}),
            },
        }

    @classmethod
    def IS_CHANGED(cls, file: str) -> str:
        with host.library_path(file).open("rb") as content:
            return hashlib.sha256(content.read(MOST_BYTES + 1)).hexdigest()

    def load(self, file: str) -> tuple[Any, Any, str]:
        found = load(host.library_path(file))
        if isinstance(found, CPR):
            report = describe_cpr(found)
            why = f"{file} holds a CPR: connect its cpr output to Predict Ratios."
            return (host.block(why), found, report)
        report = describe_ratios(found)
        why = f"{file} holds ratios for one setting, not a CPR: connect its ratios output."
        return (found, host.block(why), report)
