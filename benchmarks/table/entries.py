"""The lines of the table: solvers without calibration, ComfyUI's samplers, ways to calibrate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from dc_solver.demo.grids import SCHEDULERS

from . import sampling
from .bench import Bench
from .modes import MODES, Mode
from .task import Subject, Task

STOCK = tuple(SCHEDULERS)


@dataclass(frozen=True)
class Outcome:
    """Final latents of the held-out points, perhaps followed by those of the rival; the model calls
    an image took, and those a point of the calibration before."""

    latents: torch.Tensor
    calls: int
    cost: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plain:
    """One of the pack's solvers, as it comes."""

    name: str
    options: Mapping[str, Any]
    version: str = "1"
    schedulers: tuple[str, ...] = STOCK

    def applies(self, cfg: float, steps: int) -> bool:
        return True

    def work(self, subject: Subject, steps: int, scheduler: str, images: tuple[int, int]) -> float:
        """Model calls times the points in them, about."""
        return steps * sum(images)

    def run(self, bench: Bench, steps: int, scheduler: str) -> Outcome:
        task = Task(bench.subject, bench.cfg, steps, scheduler, bench.points)
        latents = task.sample(bench.points, **self.options)
        return Outcome(latents, task.tally.calls)


@dataclass(frozen=True)
class Comfy:
    """One of ComfyUI's own samplers, as its KSampler runs it."""

    sampler: str
    version: str = "1"
    schedulers: tuple[str, ...] = STOCK

    @property
    def name(self) -> str:
        return f"comfyui_{self.sampler}"

    def applies(self, cfg: float, steps: int) -> bool:
        return True

    def work(self, subject: Subject, steps: int, scheduler: str, images: tuple[int, int]) -> float:
        return steps * sum(images)

    def run(self, bench: Bench, steps: int, scheduler: str) -> Outcome:
        assert bench.host is not None
        return Outcome(*bench.host.sample(self.sampler, scheduler, steps, bench.cfg))


@dataclass(frozen=True)
class Calibration:
    """A way to calibrate, and then as many held-out images as anything else gets."""

    mode: Mode

    @property
    def name(self) -> str:
        return self.mode.name

    @property
    def version(self) -> str:
        return self.mode.version

    @property
    def schedulers(self) -> tuple[str, ...]:
        return self.mode.schedulers

    def applies(self, cfg: float, steps: int) -> bool:
        return self.mode.where(cfg, steps)

    def work(self, subject: Subject, steps: int, scheduler: str, images: tuple[int, int]) -> float:
        return self.mode.expected(steps) * 10.0 + steps * images[0]

    def run(self, bench: Bench, steps: int, scheduler: str) -> Outcome:
        """Raises ValueError where the mode took more calls than it says, or an image takes more
        than one a step."""
        task = Task.make(bench.subject, bench.cfg, steps, scheduler)
        calibrated = self.mode(task)
        counted = task.tally.work / task.search
        if counted > calibrated.calls + 0.5:
            raise ValueError(
                f"{self.name}: expected at most the {calibrated.calls:g} calls a point that it "
                f"reports, counted {counted:g}."
            )
        before = task.tally.calls
        latents = calibrated.run(bench.held_out)
        calls = task.tally.calls - before
        if calls > steps:
            raise ValueError(f"{self.name}: expected {steps} model calls an image, got {calls}.")
        return Outcome(latents, calls, calibrated.calls, calibrated.notes)


Entry = Plain | Comfy | Calibration

#: Of order 2 where the pack's default applies; iPNDM of order 3 is the better at low guidance.
PLAIN = (
    Plain("ddim", {"solver": "ddim"}),
    Plain("dpmpp_2m", {"solver": "dpmpp_2m"}),
    Plain("dpmpp_3m", {"solver": "dpmpp_3m"}),
    Plain("deis", {"solver": "deis_tab"}),
    Plain("ipndm", {"solver": "ipndm"}),
    Plain("ipndm_3", {"solver": "ipndm", "order": 3}),
    Plain("unipc_2", {"solver": "unipc", "order": 2}),
    Plain("unipc_3", {"solver": "unipc", "order": 3}),
)
#: The uncalibrated sampler that calibrated ones are compared with on their own schedule.
SAME = "unipc_2"
COMFY = tuple(
    Comfy(sampler)
    for sampler in (
        "euler", "uni_pc", "uni_pc_bh2", "dpmpp_2m", "deis", "res_multistep", "sa_solver",
    )
)  # fmt: skip


def entries() -> dict[str, Entry]:
    """All, by name."""
    found: tuple[Entry, ...] = (*PLAIN, *COMFY, *(Calibration(mode) for mode in MODES.values()))
    return {entry.name: entry for entry in found}


def check_host(bench: Bench) -> float:
    """How far the host's ``euler`` ends from the pack's DDIM on the same sigmas, at most.

    Raises ValueError where that is more than rounding: then the two do not sample one model.
    """
    assert bench.host is not None
    theirs, _ = bench.host.sample("euler", "simple", 5, bench.cfg)
    ours = Plain("ddim", {"solver": "ddim"}).run(bench, 5, "simple").latents
    found = float((theirs - ours).abs().max())
    if found > 1e-3 * float(ours.abs().max()):
        raise ValueError(f"ComfyUI's euler: expected our DDIM's latents, got {found:g} off.")
    return found


def truth_moves(bench: Bench, steps: int, images: int = 8) -> torch.Tensor:
    """The errors of a few images whose reference took so many steps in place of its own."""
    few = bench.first(images)
    finer = sampling.truth(bench.subject.model, bench.cfg, few, steps)
    return sampling.errors(finer, bench.truth[:images])
