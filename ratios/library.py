"""A folder of calibrations: names that stay inside it, and what is in it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from .cpr import CPR
from .files import SUFFIX, RatioFileError, load
from .schedule import RatioSchedule

#: Bytes in the name of a file, without its ending.
LONGEST = 120
#: With the halves of surrogates, which no disk takes.
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')
_BLANK_START, _BLANK_END = re.compile(r"^[\s.]+"), re.compile(r"[\s.]+$")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


def path_in(folder: Path, name: str) -> Path:
    """The path of the calibration ``name`` in ``folder``.

    ``name`` is a file name without a folder; the ending may be left out.  Raises ValueError for a
    name that would leave the folder or that some disk cannot hold.
    """
    stem = _BLANK_END.sub("", name.strip().removesuffix(SUFFIX))
    if not stem or len(stem.encode("utf-8", "replace")) > LONGEST:
        raise ValueError(f"name: expected 1 to {LONGEST} characters, got {name[:40]!r}.")
    if _FORBIDDEN.search(stem) or stem.startswith(".") or stem.split(".")[0].lower() in _DEVICES:
        raise ValueError(
            f"name: expected a plain file name without a folder, got {name[:80]!r}; use letters, "
            "digits, spaces, - and _."
        )
    return folder / f"{stem}{SUFFIX}"


def usable_name(name: str) -> str:
    """``name``, or one as near to it as a file can have; ``calibration`` for an empty one."""
    stem = _FORBIDDEN.sub("_", name.strip().removesuffix(SUFFIX))
    stem = _cut(_BLANK_START.sub("", _BLANK_END.sub("", stem)))
    if stem.split(".")[0].lower() in _DEVICES:
        stem = _cut(f"_{stem}")
    return stem or "calibration"


def _cut(stem: str) -> str:
    """As much of it as a name can hold."""
    while len(stem.encode("utf-8", "replace")) > LONGEST:
        stem = _BLANK_END.sub("", stem[:-1])
    return stem


def files_below(folder: Path, _above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """The calibrations in a folder and the folders below it, in order of their names.

    Links are followed, but not back into a folder that they are in; hidden ones, such as a bin, are
    no part of a library.  Nothing of what cannot be read or is not there.
    """
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            inside = sorted(
                (entry.name, entry.is_dir(), entry.is_file())
                for entry in entries
                if visible(entry.name)
            )
    except OSError:
        return
    here = (status.st_dev, status.st_ino)
    if here in _above:
        return
    for name, is_folder, is_file in inside:
        if is_folder:
            yield from files_below(folder / name, (*_above, here))
        elif is_file and name.endswith(SUFFIX):
            yield folder / name


def visible(name: str) -> bool:
    """Whether neither a file nor a folder of its name is hidden."""
    return not any(part.startswith(".") for part in name.replace("\\", "/").split("/"))


class Library:
    """Reads calibrations and keeps them until their files change; for several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._read: dict[Path, tuple[tuple[int, int], RatioSchedule | CPR | str]] = {}
        self._told: set[tuple[str, str]] = set()

    def load(self, path: Path) -> RatioSchedule | CPR:
        """What the file holds.  Raises RatioFileError and OSError as :func:`load` does."""
        with self._lock:
            stamp = _stamp(path)
            known = self._read.get(path)
            if known is None or known[0] != stamp:
                try:
                    known = (stamp, load(path))
                except RatioFileError as error:
                    known = (stamp, str(error))
                self._read[path] = known
        if isinstance(known[1], str):
            raise RatioFileError(known[1])
        return known[1]

    def entries(
        self, files: Iterable[tuple[str, Path]]
    ) -> tuple[list[tuple[str, RatioSchedule | CPR]], dict[str, str]]:
        """What the named files hold, the newest first, and why some of them cannot be read."""
        files = list(files)
        found: list[tuple[int, str, RatioSchedule | CPR]] = []
        broken: dict[str, str] = {}
        with self._lock:
            for gone in self._read.keys() - {path for _, path in files}:
                del self._read[gone]
        for name, path in files:  # who wants a single one meanwhile waits for no more than one
            try:
                found.append((-_stamp(path)[0], name, self.load(path)))
            except (RatioFileError, OSError) as error:
                broken[name] = str(error)
        found.sort(key=lambda entry: entry[:2])
        return [(name, obj) for _, name, obj in found], broken

    def readable(
        self, files: Iterable[tuple[str, Path]], log: logging.Logger
    ) -> list[tuple[str, RatioSchedule | CPR]]:
        """What the named files hold, the newest first.  Of the others the log tells once."""
        found, broken = self.entries(files)
        with self._lock:
            new = [told for told in broken.items() if told not in self._told]
            self._told.update(new)
        for name, why in new:
            log.warning("DC-Solver: leaving out %s of the library (%s)", name, why)
        return found


def state_of(files: Iterable[tuple[str, Path]]) -> str:
    """A hash that changes when a file is added, removed or written."""
    digest = hashlib.sha256()
    for name, path in sorted(files):
        try:
            digest.update(repr((name, _stamp(path))).encode("utf-8", "replace"))
        except OSError:
            digest.update(repr((name, None)).encode("utf-8", "replace"))
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
