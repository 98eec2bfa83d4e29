"""Files that appear whole or not at all, whoever else writes there or stops half way."""

from __future__ import annotations

import contextlib
import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

#: A file that is being written is hidden and called so; one that a killed process left behind is
#: removed by a later one after this many seconds.
_BEING_WRITTEN = ".writing-*.tmp"
_ABANDONED = 3600.0
#: Names that are tried for a new file.
_MOST_NUMBERS = 10_000


def write(target: Path, content: bytes) -> None:
    """Write ``content`` to ``target``, in place of what is there.

    The folder is made where it is missing.  Raises OSError where the disk refuses, with nothing
    changed.
    """
    with _written(target.parent, content) as temporary:
        temporary.replace(target)


def write_new(target: Path, content: bytes) -> Path:
    """Write ``content`` under the first of ``target``, ``target_02``, ``target_03``, ... that
    nothing has, whatever other processes write meanwhile; the path it got.

    Raises OSError where the disk refuses, FileExistsError where ten thousand names are taken.
    """
    with _written(target.parent, content) as temporary:
        for path in _numbered(target):
            if os.path.lexists(path):
                continue
            with contextlib.suppress(FileExistsError):
                _name(temporary, path)
                return path
    raise FileExistsError(f"{target.name}: {_MOST_NUMBERS} files have this name and a number")


def named(target: Path) -> Iterator[Path]:
    """The files that :func:`write_new` has written for ``target``, as far as none is gone."""
    return itertools.takewhile(os.path.lexists, _numbered(target))


def move(old: Path, new: Path) -> None:
    """Give a file another name in its folder.  Raises FileExistsError where something has it."""
    _name(old, new)
    try:
        old.unlink(missing_ok=True)
    except OSError:  # then it keeps the name that it had
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _name(old: Path, new: Path) -> None:
    """Make a file known as ``new``, which nothing may be; it may still be ``old`` too."""
    try:
        os.link(old, new, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a disk without links
        _take(old, new)


def _take(old: Path, new: Path) -> None:
    """The same where files cannot have two names: an empty file holds the name meanwhile."""
    if os.name == "nt":  # where a new name never replaces
        old.rename(new)
        return
    with new.open("xb"):
        pass
    try:
        old.replace(new)
    except BaseException:
        if old.exists():  # else it was replaced, and something else went wrong after
            with contextlib.suppress(OSError):
                new.unlink()
        raise


@contextlib.contextmanager
def _written(folder: Path, content: bytes) -> Iterator[Path]:
    """A hidden file of this content, on the disk when it is there, gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".writing-{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        now = temporary.stat().st_mtime  # by the clock of the disk
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _clean(folder, now)


def _clean(folder: Path, now: float) -> None:
    """Remove what killed processes have left."""
    for path in folder.glob(_BEING_WRITTEN):
        with contextlib.suppress(OSError):
            if now - path.stat().st_mtime > _ABANDONED:
                path.unlink()


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in range(2, _MOST_NUMBERS + 1):
        yield path.with_name(f"{path.stem}_{number:02d}{path.suffix}")
