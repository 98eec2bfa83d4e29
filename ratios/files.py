"""Ratios on disk: one safetensors file a calibration, read strictly and written atomically.

Numbers are float64 tensors, everything else one JSON object in the metadata.  A file from someone
else is data alone: nothing in it is run, and whatever is unknown, oversized, not finite or does not
fit is refused by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from .cpr import CPR
from .records import FORMAT, RecordError, from_record, to_record
from .schedule import RatioSchedule
from .writing import named, write, write_new

SUFFIX = ".safetensors"
#: A calibration takes a few kilobytes; anything larger is something else.
MOST_BYTES = 4 * 1024 * 1024
_MOST_HEADER = 2 * 1024 * 1024
_KEY = "dc_solver"


class RatioFileError(ValueError):
    """A file that is not a readable calibration; the message says why.  It is left as it is."""


def save(obj: RatioSchedule | CPR, path: str | os.PathLike[str]) -> Path:
    """Write a calibration or a regression to ``path``, whole or not at all.

    The folder is made where it is missing.  An earlier calibration at ``path`` is replaced, as is
    an empty file; any other there is not (RatioFileError).  Raises TypeError for another object,
    OSError where the disk refuses.  Returns the path.
    """
    target = Path(path)
    content = _content(obj, target)
    if target.is_symlink() or (target.exists() and target.stat().st_size > 0):
        try:
            load(target)
        except RatioFileError as error:
            raise RatioFileError(
                f"{target.name}: will not replace a file that is not a readable calibration "
                f"({error}); choose another name."
            ) from error
    write(target, content)
    return target


def save_new(obj: RatioSchedule | CPR, path: str | os.PathLike[str]) -> Path:
    """Write a calibration or a regression beside what there is: to ``path``, or where something has
    that name to ``path`` with the first free number, also while other processes save there.

    Raises what :func:`save` does.  Returns the path that it got.
    """
    target = Path(path)
    return write_new(target, _content(obj, target))


def save_once(obj: RatioSchedule | CPR, path: str | os.PathLike[str]) -> tuple[Path, bool]:
    """As :func:`save_new`, unless ``path`` or one of its numbers holds the same already; the path,
    and whether it did: it is then the newest of the folder, which comes first where several fit.
    What the reference cost may differ, as it may have been run before."""
    to_record(obj)  # refuses what is neither
    wanted = _but_for_costs(obj)
    for there in named(Path(path)):
        with contextlib.suppress(RatioFileError, OSError):
            if _but_for_costs(load(there)) == wanted:
                with contextlib.suppress(OSError):  # somebody else's, or a disk without times
                    os.utime(there)
                return there, True
    return save_new(obj, path), False


def _but_for_costs(obj: Any) -> Any:
    if isinstance(obj, CPR):
        return replace(obj, fitted=tuple(map(_but_for_costs, obj.fitted)))
    if obj.report is None:
        return obj
    free = {"reference_calls": 0, "reference_work": 0, "reused_reference": False}
    return replace(obj, report=replace(obj.report, **free))


def _content(obj: RatioSchedule | CPR, target: Path) -> bytes:
    """The bytes of a file, which read back."""
    record, arrays = to_record(obj)
    try:
        content = save_tensors(arrays, metadata={_KEY: json.dumps(record, allow_nan=False)})
        parse(content)
    except (TypeError, ValueError) as error:
        raise RatioFileError(f"{target.name}: cannot be saved ({error}).") from error
    return content


def load(path: str | os.PathLike[str]) -> RatioSchedule | CPR:
    """Read a calibration or a regression.

    Raises RatioFileError saying what is wrong with the file, FileNotFoundError where there is
    none.
    """
    source = Path(path)
    with source.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    try:
        return parse(content)
    except RecordError as error:
        raise RatioFileError(f"{source.name}: {error}") from error


def parse(content: bytes) -> RatioSchedule | CPR:
    """The object in the bytes of a file.  Raises RecordError."""
    if len(content) > MOST_BYTES:
        raise RecordError(f"expected at most {MOST_BYTES} bytes, got more")
    record = _record(content)
    try:
        arrays = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"expected a safetensors file ({error})") from error
    for name, array in arrays.items():
        if array.dtype != np.float64:
            raise RecordError(f"tensor {name!r}: expected float64, got {array.dtype}")
        if not np.all(np.isfinite(array)):
            raise RecordError(f"tensor {name!r}: expected finite numbers")
    return from_record(record, arrays)


def _record(content: bytes) -> dict[str, Any]:
    """The JSON object in the metadata."""
    if len(content) < 8:
        raise RecordError("expected a safetensors file, got fewer than 8 bytes")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(len(content) - 8, _MOST_HEADER):
        raise RecordError(f"expected a safetensors header, got a claim of {length} bytes")
    header = _strict_json(content[8 : 8 + length], "header")
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or set(metadata) != {_KEY}:
        raise RecordError(f"expected the metadata of a {FORMAT} file, got those of another kind")
    text = metadata[_KEY]
    if not isinstance(text, str):
        raise RecordError("expected text in the metadata")
    return _strict_json(text.encode("utf-8", "surrogatepass"), "metadata")


def _strict_json(content: bytes, what: str) -> dict[str, Any]:
    """JSON without duplicate keys, NaN or infinity."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        if len(set(keys)) != len(keys):
            raise RecordError(f"{what}: a key stands twice")
        return dict(items)

    def constant(name: str) -> Any:
        raise RecordError(f"{what}: {name} is no number")

    try:
        value = json.loads(
            content.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{what}: expected JSON ({type(error).__name__})") from error
    if not isinstance(value, dict):
        raise RecordError(f"{what}: expected a JSON object")
    return value
