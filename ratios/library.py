"""A folder of calibrations: names that stay inside it, and what is in it."""

from __future__ import annotations

import re
from pathlib import Path

from .files import SUFFIX

_LONGEST = 120
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


def path_in(folder: Path, name: str) -> Path:
    """The path of the calibration ``name`` in ``folder``.

    ``name`` is a file name without a folder; the ending may be left out.  Raises ValueError for a
    name that would leave the folder or that some disk cannot hold.
    """
    stem = name.strip().removesuffix(SUFFIX).rstrip(". ")
    if not stem or len(stem.encode("utf-8", "replace")) > _LONGEST:
        raise ValueError(f"name: expected 1 to {_LONGEST} characters, got {name[:40]!r}.")
    if _FORBIDDEN.search(stem) or stem.startswith(".") or stem.split(".")[0].lower() in _DEVICES:
        raise ValueError(
            f"name: expected a plain file name without a folder, got {name[:80]!r}; use letters, "
            "digits, spaces, - and _."
        )
    return folder / f"{stem}{SUFFIX}"


def free_path(path: Path) -> Path:
    """``path``, or where that is taken the first of its numbered variants that is not."""
    if not path.exists():
        return path
    number = 2
    while (candidate := path.with_name(f"{path.stem}_{number:02d}{SUFFIX}")).exists():
        number += 1
    return candidate
