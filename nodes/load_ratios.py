"""DCSolverLoadRatios: a calibration from the library."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from ..ratios import CPR, RatioSchedule
from ..ratios.edits import apply_edits, parse_edits
from ..ratios.files import MOST_BYTES
from ..ratios.library import path_in
from ..ratios.text import describe_cpr, describe_ratios
from . import host, library
from .missing import missing_cpr, missing_ratios
from .options import CATEGORY, check_edits, edits


class DCSolverLoadRatios:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        f"Loads ratios or a CPR from models/{host.FOLDER}. A file holds one of the two: connect "
        "the output that fits. Drag a point of the curve to set a ratio by hand."
    )
    RETURN_TYPES = ("DC_RATIOS", "DC_CPR", "STRING")
    RETURN_NAMES = ("ratios", "cpr", "report")
    OUTPUT_TOOLTIPS = (
        "For a file that holds ratios.",
        "For a file that holds a CPR.",
        "What the file holds, in words.",
    )
    FUNCTION = "load"
    SEARCH_ALIASES = ["dc solver", "open calibration", "edit ratios", "compensation ratios"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "file": (
                    host.library_names() or [""],  # an empty list would show "undefined"
                    {"tooltip": f"A file in models/{host.FOLDER}."},
                ),
            },
            "optional": {"edits": edits("file name")},
        }

    @classmethod
    def VALIDATE_INPUTS(cls, file: str | None = None, edits: str | None = None) -> bool | str:
        """Refuse bad edits, and names that are none, before anything runs.

        A plain name that this library lacks is let through: a shared workflow still runs.
        """
        try:
            if not isinstance(file, (str, type(None))):
                return f"file: expected a name, got {file!r}"
            if file and file not in host.library_names():  # "": the library is empty
                for part in re.split(r"[/\\]", file):
                    path_in(host.library_folder(), part)
        except ValueError as error:
            return f"file: {error}"
        return check_edits(edits)

    @classmethod
    def IS_CHANGED(cls, file: str | None = None, edits: str | None = "") -> str:
        if file is None:  # another node chooses it
            return library.state()
        if file not in host.library_names():
            return "missing"
        with host.library_path(file).open("rb") as content:
            return hashlib.sha256(content.read(MOST_BYTES + 1)).hexdigest()

    def load(self, file: str, edits: str = "") -> tuple[Any, Any, str]:
        if file not in host.library_names():
            return _missing(file)
        found = library.shelf.load(host.library_path(file))
        points = parse_edits(edits).get(file, {})
        if isinstance(found, CPR):
            report = describe_cpr(found)
            why = f"{file} holds a CPR: connect its cpr output to Predict Ratios."
            return (host.block(why), found, report)
        found = apply_edits(found, points)
        report = describe_ratios(found)
        why = f"{file} holds ratios for one setting, not a CPR: connect its ratios output."
        return (found, host.block(why), report)


def _missing(file: str) -> tuple[RatioSchedule, CPR, str]:
    """What stands in for a file that this library lacks: plain UniPC, and a word why."""
    what = f"{file} is not in this library" if file else "the library is empty"
    why = f"{what}: copy a calibration to models/{host.FOLDER} and press R"
    host.log.warning("DC-Solver: %s", why)
    return (missing_ratios(why), missing_cpr(why), why)
