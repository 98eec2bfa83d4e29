"""The pack's settings, under one heading."""

from __future__ import annotations

from typing import Any

from modules import script_callbacks, shared

from . import library

SECTION = ("dc_solver", "DC-Solver")


def register() -> None:
    script_callbacks.on_ui_settings(_add)


def _add() -> None:
    option: Any = shared.OptionInfo("", "Folder of the calibrations", section=SECTION)
    option.info(
        f"empty: models/{library.FOLDER}; ComfyUI keeps its own in models/dc_ratios, and both can "
        "share one"
    )
    shared.opts.add_option(library.OPTION, option)
