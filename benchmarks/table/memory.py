"""The peak memory of a calibration, against that of plain sampling of the same points."""

from __future__ import annotations

import json
import os
from pathlib import Path

from live_bytes import LiveBytes

from .modes import MODES
from .task import Subject, Task

CFG, STEPS = 3.0, 5


def measure_memory(folder: Path, model: str) -> None:
    """Measure the modes whose version is not in the folder's file yet, and write it.

    All tensors count, those kept on the CPU for a model on another device as well.
    """
    path = folder / "memory.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    subject = Subject(model, fast=False)
    for name, mode in MODES.items():
        if known.get(name, {}).get("version") == mode.version:
            continue
        task = Task.make(subject, CFG, STEPS, mode.schedulers[0])
        task.sample(task.data)  # the first loads the model
        with LiveBytes() as plain:
            task.sample(task.data)
        with LiveBytes() as live:
            mode(task)
        known[name] = {"version": mode.version, "peak": round(live.peak / plain.peak, 4)}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_memory(folder: Path) -> dict[str, float]:
    """The peaks by mode, of the versions that there are."""
    path = folder / "memory.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    return {
        name: float(entry["peak"])
        for name, entry in known.items()
        if name in MODES and entry["version"] == MODES[name].version
    }
