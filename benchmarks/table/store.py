"""What has been measured: a file for each model and guidance scale, written as it goes."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Errors = npt.NDArray[np.float32]
#: Bits of a float32 below this are dropped: the errors then pack into two thirds, and are still
#: right to 1 in 8,000.
_DROPPED_BITS = 11


class Key(NamedTuple):
    """A line of a file: so many steps of an entry on a schedule."""

    steps: int
    entry: str
    schedule: str


@dataclass(frozen=True)
class Result:
    """Errors of the held-out images, and of the rival's where they were run; the model calls an
    image took, and those a point of the calibration before; ``version`` is the entry's."""

    errors: Errors
    rival: Errors
    calls: int
    version: str
    cost: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether it may be a rival: without calibration, and run on the seeds that choose one."""
        return len(self.rival) > 0


class Results:
    """The file of a model at a guidance scale.

    ``setting`` is what all its lines share: the weights, the seeds, the reference.
    """

    def __init__(self, path: Path, setting: str | None = None) -> None:
        """Raises ValueError where the file holds results of another setting."""
        self.path = path
        self.rows: dict[Key, Result] = {}
        self.setting = setting or ""
        self._read()

    def put(self, key: Key, result: Result) -> None:
        """Add a line, or replace it, and write the file."""
        self._read()
        self.rows[key] = result
        self._write(np.savez)

    def pack(self) -> None:
        """Write the file once more in less space, for which there is no time after every line."""
        self._read()
        if self.rows:
            self._write(np.savez_compressed)

    def _read(self) -> None:
        """Take what the file holds, perhaps from another process."""
        if not self.path.is_file():
            return
        with np.load(self.path, allow_pickle=False) as content:
            head = json.loads(str(content["head"]))
            values = content["errors"]
        if self.setting and head["setting"] != self.setting:
            raise ValueError(
                f"{self.path}: expected results of {self.setting}, got those of "
                f"{head['setting']}; take another --folder, or delete the file."
            )
        self.setting = head["setting"]
        at = 0
        self.rows = {}
        for row in head["rows"]:
            key = Key(*row.pop("key"))
            held_out, rival = row.pop("counts")
            parts = values[at : at + held_out], values[at + held_out : at + held_out + rival]
            at += held_out + rival
            self.rows[key] = Result(*parts, **row)

    def _write(self, save: Callable[..., None]) -> None:
        rows, values = [], []
        for key in sorted(self.rows):
            row = self.rows[key]
            counts = [len(row.errors), len(row.rival)]
            rows.append(
                {
                    "key": list(key),
                    "counts": counts,
                    "calls": row.calls,
                    "version": row.version,
                    "cost": row.cost,
                    "notes": dict(row.notes),
                }
            )
            values += [row.errors, row.rival]
        head = json.dumps({"setting": self.setting, "rows": rows})
        packed = io.BytesIO()
        save(packed, head=np.array(head), errors=rounded(np.concatenate(values)))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        temporary.write_bytes(packed.getvalue())
        temporary.replace(self.path)


def rounded(values: npt.NDArray[Any]) -> Errors:
    """float32 with its last bits rounded off, so that it packs."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    half = 1 << (_DROPPED_BITS - 1)
    kept = (bits + half) >> _DROPPED_BITS << _DROPPED_BITS
    return kept.astype(np.uint32).view(np.float32)


def file_name(model: str, cfg: float) -> str:
    return f"{model}_cfg{cfg:g}.npz"
