"""The folder of calibrations as the WebUI has it."""

from __future__ import annotations

import logging
from pathlib import Path

from modules import paths, shared

from ...ratios import CPR, RatioSchedule
from ...ratios.library import Library, files_below
from ...ratios.lookup import Entry

FOLDER = "DC-Ratios"
OPTION = "dc_solver_folder"
log = logging.getLogger("dc_solver")
_shelf = Library()


def folder() -> Path:
    """``models/DC-Ratios``, or what the settings say, such as ComfyUI's ``models/dc_ratios``."""
    chosen = str(shared.opts.data.get(OPTION) or "").strip()
    return Path(chosen) if chosen else Path(paths.models_path) / FOLDER


def names() -> list[str]:
    """The files of the library, in its subfolders too, by their names from the folder on.

    Without those whose name is no text, such as one unpacked in another locale: the page of the
    host could not be sent with it.
    """
    root = folder()
    names = (path.relative_to(root).as_posix() for path in files_below(root))
    return sorted((name for name in names if _is_text(name)), key=str.lower)


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def load(name: str) -> RatioSchedule | CPR:
    """What a file holds.

    Raises ValueError for a name that is not in the library, and where it cannot be read.
    """
    if name not in names():
        raise ValueError(f"not in this library ({folder().name})")
    return _shelf.load(folder() / name)


def entries() -> list[Entry]:
    """All readable calibrations, the newest first.  Of the others the log tells once."""
    return _shelf.readable(((name, folder() / name) for name in names()), log)
