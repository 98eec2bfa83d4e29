"""The library as the running host has it: read once, and again where a file changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..ratios.library import Library, state_of
from ..ratios.lookup import Entry
from . import host

shelf = Library()
_told: set[tuple[str, str]] = set()


def entries() -> list[Entry]:
    """All readable calibrations, the newest first.  Of the others the log tells once."""
    found, broken = shelf.entries(host.library_files())
    for name, why in broken.items():
        if (name, why) not in _told:
            _told.add((name, why))
            host.log.warning("DC-Solver: leaving out %s of the library (%s)", name, why)
    return found


def state() -> str:
    """What changes when the library does, for nodes whose result depends on it."""
    return state_of(host.library_files())


def used(inputs: Mapping[str, Any]) -> bool:
    """Whether a node with these inputs looks in the library.  A connected one is there as None."""
    return "ratios" not in inputs and inputs.get("find_ratios") is not False
