"""The peak memory of a calibration, against that of plain sampling of the same points."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from live_bytes import LiveBytes

from .modes import MODES
from .task import CountedModel, Subject, Task

CFG, STEPS = 3.0, 5
#: Those that search; a regression is their result.
_SEARCHES = ("paper", "ratios_plus", "tournament", "schedule", "full", "authors")


@dataclass(frozen=True)
class Peak:
    """Over the peak of plain sampling: on the model's device, where a calibration that keeps its
    states in main memory has the points of one call, and of all tensors."""

    device: float
    all: float


@dataclass(frozen=True)
class _Watched(Task):
    """A task that sees what is alive in its model calls."""

    peaks: list[int] = field(default_factory=list)

    def denoiser(self, cfg: float | None = None) -> CountedModel:
        return _WatchedModel(super().denoiser(cfg), self.peaks)


class _WatchedModel(CountedModel):
    def __init__(self, model: CountedModel, peaks: list[int]) -> None:
        self._model = model
        self._peaks = peaks

    def __call__(
        self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        with LiveBytes() as live:
            denoised = self._model(x, sigma, condition)
        given = sum(part.numel() * part.element_size() for part in (x, sigma, condition))
        self._peaks.append(live.peak + given)
        return denoised


def measure_memory(folder: Path, model: str) -> None:
    """Measure the modes whose version is not in the folder's file yet, and write it."""
    path = folder / "memory.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    subject = Subject(model, fast=False)
    for name in _SEARCHES:
        mode = MODES[name]
        if known.get(name, {}).get("version") == mode.version:
            continue
        task = _Watched.make(subject, CFG, STEPS, mode.schedulers[0])
        assert isinstance(task, _Watched)
        task.sample(task.data)  # the first loads the model
        with LiveBytes() as plain:
            task.sample(task.data)
        task.peaks.clear()
        with LiveBytes() as live:
            mode(task)
        device, everything = max(task.peaks) / plain.peak, live.peak / plain.peak
        known[name] = {
            "version": mode.version, "device": round(device, 3), "all": round(everything, 3),
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        temporary.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)


def read_memory(folder: Path) -> dict[str, Peak]:
    """The peaks by mode, of the versions that there are."""
    path = folder / "memory.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    return {
        name: Peak(float(entry["device"]), float(entry["all"]))
        for name, entry in known.items()
        if name in MODES and entry["version"] == MODES[name].version
    }
