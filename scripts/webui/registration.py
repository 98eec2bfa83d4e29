"""What the pack adds to the WebUI's samplers."""

from __future__ import annotations

import sys
from pathlib import Path

from modules import errors, script_callbacks, sd_samplers
from modules.sd_samplers_common import SamplerData

from .sampler import DCSolverSampler

NAME = "DC-Solver"
_ROOT = Path(__file__).resolve().parent.parent.parent


def register_sampler() -> None:
    """Put DC-Solver into the dropdowns, once.

    "Automatic" means the schedule Simple, whose grid ComfyUI has too, so they share calibrations.
    """
    leave_the_path(_ROOT)
    there = sd_samplers.all_samplers_map.get(NAME)
    if there is not None:
        if there.constructor is not DCSolverSampler:  # else it is after Reload UI
            errors.report(f"DC-Solver: another extension has a sampler {NAME}; ours is not added")
        return
    data = SamplerData(NAME, DCSolverSampler, ["dc_solver"], {"scheduler": "simple"})
    sd_samplers.all_samplers.append(data)
    sd_samplers.all_samplers_map[NAME] = data
    sd_samplers.set_samplers()


def leave_the_path(pack: Path) -> None:
    """Take a folder of the pack off ``sys.path`` once all is loaded; Forge leaves that of every
    extension there.

    Its names, such as ``nodes`` and ``demo``, would be found by others.
    """

    def leave() -> None:
        for entry in list(sys.path):
            if entry and Path(entry).resolve() == pack.resolve():
                sys.path.remove(entry)

    script_callbacks.on_before_ui(leave)
