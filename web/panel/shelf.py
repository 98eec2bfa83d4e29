"""The library as the panel sees it: what is there, and what can be done with it.

A file is only ever taken from a fresh listing, never from a path that a page sent; new names go
through :func:`path_in`.  Nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ...ratios import CPR, RatioFileError, RatioSchedule, import_official, load
from ...ratios.files import MOST_BYTES, SUFFIX, save_new
from ...ratios.library import Library, files_below, path_in
from ...ratios.writing import move
from .words import day, gain, origin, plain, purpose, unbroken

#: What can be imported.
ENDINGS = (".npy", ".json", SUFFIX)
MOST_FILES = 2000


class Refused(Exception):
    """Something that cannot be done with the library; the message tells a person why."""


@dataclass(frozen=True)
class Entry:
    """A file of the library.

    ``name`` is what it is called on the page, ``stamp`` changes when it is written; ``found`` is
    None where it cannot be read, which ``broken`` gives the reason for.
    """

    name: str
    path: Path
    stamp: tuple[int, int]
    found: RatioSchedule | CPR | None
    broken: str = ""

    @property
    def title(self) -> str:
        """Its name without the ending that all of them have."""
        return self.name.removesuffix(SUFFIX)

    @property
    def label(self) -> str:
        """Its name, and on a second line what it is for."""
        if self.found is None:
            return f"⚠ {self.title}\nbroken: {plain(self.broken, 160)}"
        told = (purpose(self.found), gain(self.found), origin(self.found), day(self.stamp[0] / 1e9))
        return f"{self.title}\n" + " · ".join(unbroken(part) for part in told if part)


class Shelf:
    """The calibrations in a folder that is asked for each time, since a host may change it."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._library = Library()

    @property
    def place(self) -> str:
        """The folder as people know it, such as ``models/dc_ratios``."""
        folder = self._folder().absolute()
        return plain("/".join((folder.parent.name, folder.name)).lstrip("/"), 80)

    def entries(self) -> list[Entry]:
        """All files, the newest first; those that cannot be read too."""
        files = dict(_files(self._folder()))
        found, broken = self._library.entries([(n, path) for n, (path, _) in files.items()])
        held: dict[str, RatioSchedule | CPR] = dict(found)
        entries = [
            Entry(name, path, stamp, held.get(name), _why(path.name, broken.get(name, "")))
            for name, (path, stamp) in files.items()
            if name in held or name in broken
        ]
        return sorted(entries, key=lambda entry: (-entry.stamp[0], entry.name.lower()))

    def rename(self, name: str, stamp: Sequence[int], new: str) -> str:
        """Give the file that was seen with ``stamp`` another name in its folder; that name."""
        entry = self._seen([(name, stamp)])[0]
        target = _path(entry.path.parent, new)
        if target.name == entry.path.name:
            return name
        try:
            move(entry.path, target)
        except FileExistsError as error:
            raise Refused(
                f"There is a {plain(target.name)} already; nothing was renamed."
            ) from error
        except OSError as error:
            raise Refused(f"{name} was not renamed: {_reason(error)}.") from error
        return self._name_of(target)

    def delete(self, seen: Sequence[tuple[str, Sequence[int]]]) -> list[str]:
        """Delete files, all of them or none where one is not what was seen; their names."""
        gone: list[str] = []
        for entry in self._seen(seen):
            try:
                entry.path.unlink()
            except OSError as error:
                done = f" {', '.join(gone)} was deleted." if gone else ""
                raise Refused(f"{entry.name} was not deleted: {_reason(error)}.{done}") from error
            gone.append(entry.name)
        return gone

    def bring_in(self, source: Path, called: str, cfg: float | None = None) -> str:
        """Import an uploaded file, ``called`` so where it came from; the name it got.

        ``cfg`` is the guidance scale of a list of ratios, which does not say it itself.
        """
        called = called.replace("\\", "/").rpartition("/")[2]
        ending = Path(called).suffix.lower()
        if ending not in ENDINGS:
            raise Refused(
                f"{plain(called)} was not imported: expected {', '.join(ENDINGS[:-1])} of the "
                f"authors or a calibration ({SUFFIX})."
            )
        target = _path(self._folder(), Path(called).stem)
        try:
            if source.stat().st_size > MOST_BYTES:
                raise Refused(f"{plain(called)} was not imported: it is larger than 4 MB.")
            if source.suffix.lower() != ending:
                raise Refused(f"{plain(called)} was not imported: its ending was changed.")
            found = load(source) if ending == SUFFIX else import_official(source, cfg=cfg)
            return self._name_of(save_new(found, target))
        except RatioFileError as error:
            why = plain(_why(source.name, str(error)), 300)
            raise Refused(f"{plain(called)} was not imported: {why}.") from error
        except OSError as error:
            raise Refused(f"{plain(called)} was not imported: {_reason(error)}.") from error

    def _seen(self, seen: Sequence[tuple[str, Sequence[int]]]) -> list[Entry]:
        """The entries, if all of them are still what was seen."""
        there = dict(_files(self._folder()))
        entries = []
        for name, stamp in seen:
            if name not in there:
                raise Refused(f"{plain(name, 120)} is gone; nothing was done.")
            path, now = there[name]
            if tuple(stamp) != now:
                raise Refused(f"{name} has changed since it was shown; nothing was done.")
            entries.append(Entry(name, path, now, None))
        return entries

    def _name_of(self, path: Path) -> str:
        return next((name for name, (p, _) in _files(self._folder()) if p == path), path.name)


def _files(root: Path) -> Iterator[tuple[str, tuple[Path, tuple[int, int]]]]:
    """Names, paths and stamps of the calibrations below a folder; nothing where there is none."""
    taken: set[str] = set()
    for path in islice(files_below(root), MOST_FILES):
        try:
            status = path.stat()
        except OSError:  # gone since
            continue
        name = plain(path.relative_to(root).as_posix(), 400)
        while name in taken:
            name += "'"
        taken.add(name)
        yield name, (path, (status.st_mtime_ns, status.st_size))


def _path(folder: Path, name: str) -> Path:
    try:
        return path_in(folder, name)
    except ValueError as error:
        raise Refused(str(error)) from error


def _why(name: str, message: str) -> str:
    """A message about a file without its name and full stop, for where both are written."""
    return message.removeprefix(f"{name}: ").rstrip(".")


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
