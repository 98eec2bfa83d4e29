"""The library as the running host has it: read once, and again where a file changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..ratios.library import Library, state_of
from ..ratios.lookup import Entry
from . import host

shelf = Library()


def entries() -> list[Entry]:
    """All readable calibrations, the newest first.  Of the others the log tells once."""
    return shelf.readable(host.library_files(), host.log)


def state() -> str:
    """What changes when the library does, for nodes whose result depends on it."""
    return state_of(host.library_files())


def used(inputs: Mapping[str, Any]) -> bool:
    """Whether a node with these inputs looks in the library.  A connected one is there as None."""
    return "ratios" not in inputs and inputs.get("find_ratios") is not False
