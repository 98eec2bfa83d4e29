"""Thousands of samplings and hundreds of calibrations in one process: nothing may grow or stay.

    python tests/reliability/soak.py [--samplings 2000] [--calibrations 200]

Prints the most memory of the first half, once it has settled, and of the second, the threads that
are left, and what of the process's state has changed: global random numbers, gradient mode, default
type, threads, handlers, the import path.  Ends with status 1 where memory grew by more than 24 MB,
threads were left, or any state changed.
"""

from __future__ import annotations

import argparse
import gc
import logging
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bootstrap  # noqa: F401
import numpy as np
import torch
from dc_solver.demo import emoji, grids
from dc_solver.ratios import QUALITIES, calibrate, fit_cpr, load, save
from dc_solver.solvers import SOLVERS, sample

#: Megabytes that an allocator may keep more of than at the first look.
_SLACK = 24.0


@dataclass(frozen=True)
class State:
    """What a host would notice if it changed."""

    torch_random: bytes
    python_random: int
    numpy_random: int
    gradients: bool
    inference: bool
    dtype: torch.dtype
    torch_threads: int
    handlers: int
    filters: int
    interrupt: Any
    path: tuple[str, ...]

    @classmethod
    def now(cls) -> State:
        return cls(
            torch.get_rng_state().numpy().tobytes(), hash(random.getstate()),
            hash(np.random.get_state()[1].tobytes()), torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(), torch.get_default_dtype(), torch.get_num_threads(),
            len(logging.getLogger().handlers), len(warnings.filters),
            signal.getsignal(signal.SIGINT), tuple(sys.path),
        )  # fmt: skip

    def changes(self, later: State) -> list[str]:
        return [name for name in vars(self) if getattr(self, name) != getattr(later, name)]


def resident() -> float:
    """Megabytes of this process in memory, after what is free was given back."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


@dataclass
class Soak:
    """The work: one sampling or one calibration after the other, each of other settings."""

    folder: Path

    def __post_init__(self) -> None:
        self.models = {kind: emoji.load(kind) for kind in emoji.KINDS}
        self.data = emoji.points(range(8))

    def sampling(self, k: int) -> None:
        kind = emoji.KINDS[k % len(emoji.KINDS)]
        model = self.models[kind]
        names = list(SOLVERS)
        sigmas = grids.make_sigmas("simple", model.sigmas, 3 + k % 4, flow=kind == "flow")
        noise, condition = self.data.noise[:1], self.data.conditions[:1]
        image = sample(
            model.denoiser(3.0), model.start(noise, float(sigmas[0])), sigmas,
            schedule=model.schedule, solver=names[k % len(names)],
            extra_args={"condition": condition}, disable=True,
        )  # fmt: skip
        assert bool(torch.isfinite(image).all())

    def calibration(self, k: int) -> None:
        kind = emoji.KINDS[k % len(emoji.KINDS)]
        model = self.models[kind]
        sigmas = grids.make_sigmas("simple", model.sigmas, 4, flow=kind == "flow")
        found = calibrate(
            model.denoiser(3.0), model.start(self.data.noise[:3], float(sigmas[0])), sigmas,
            schedule=model.schedule, check=1, cfg=3.0, quality=QUALITIES[k % len(QUALITIES)],
            extra_args=lambda at: {"condition": self.data.conditions[at]}, reference_calls=24,
        )  # fmt: skip
        kept = load(save(found, self.folder / "soak.safetensors"))
        assert kept == found
        if found.learned is None:
            fit_cpr([found]).predict(5, 4.0)


def repeat(what: str, times: int, work: Callable[[int], None]) -> bool:
    """Whether memory and threads stay."""
    looks: list[float] = []
    threads = threading.active_count()
    for k in range(times):
        work(k)
        if (k + 1) % max(times // 20, 1) == 0:
            looks.append(resident())
    settled = looks[len(looks) // 10 : len(looks) // 2]
    first, last = max(settled or looks), max(looks[len(looks) // 2 :])
    left = threading.active_count() - threads
    print(
        f"{times} {what}: {first:.0f} MB in the first half, {last:.0f} MB in the second, "
        f"{left} threads left",
        flush=True,
    )
    return last <= first + _SLACK and left == 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Sample and calibrate, again and again.")
    parser.add_argument("--samplings", type=int, default=2000)
    parser.add_argument("--calibrations", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder))
        soak.sampling(0)
        soak.calibration(0)
        before = State.now()
        good = repeat("samplings", options.samplings, soak.sampling)
        good &= repeat("calibrations", options.calibrations, soak.calibration)
        changed = before.changes(State.now())
    print(f"state that changed: {', '.join(changed) or 'none'}")
    return 0 if good and not changed else 1


if __name__ == "__main__":
    sys.exit(main())
