"""How far from the true trajectory each solver ends, on seeds that no calibration has seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..ratios import RatioSchedule, calibrate_grid
from ..ratios.reference import reference_sigmas
from ..solvers import sample
from .emoji import Denoiser, Emoji, Points, points
from .grids import SCHEDULERS, make_sigmas

CALIBRATION_SEEDS = range(1000, 1010)
CHECK_SEEDS = range(1010, 1016)
HELD_OUT_FROM = 50_000
#: Steps of the reference that all errors are measured against; calibration uses far fewer.
TRUTH_STEPS = 200

Progress = Callable[[int, int], None]
Tick = Callable[[int], object]


@dataclass(frozen=True)
class Row:
    """The errors of one solver at one step count, an image each, and the model calls it took."""

    solver: str
    steps: int
    errors: torch.Tensor
    calls: int
    latents: torch.Tensor


@dataclass(frozen=True)
class Figures:
    """Errors against those of a baseline on the same sigmas, which are 1."""

    geometric_mean: float
    mean: float
    median: float
    share_worse: float


def compare(errors: torch.Tensor, base: torch.Tensor) -> Figures:
    """Geometric mean and median of the ratios image by image, and the ratio of the means."""
    ratio = errors / base
    return Figures(
        geometric_mean=float(ratio.log().mean().exp()),
        mean=float(errors.mean() / base.mean()),
        median=float(ratio.median()),
        share_worse=float((ratio > 1.0).float().mean()),
    )


@dataclass(frozen=True)
class Experiment:
    """A model at a guidance scale on a scheduler's grids."""

    model: Emoji
    cfg: float
    scheduler: str

    def sigmas(self, steps: int, scheduler: str | None = None) -> torch.Tensor:
        flow = self.model.kind == "flow"
        return make_sigmas(scheduler or self.scheduler, self.model.sigmas, steps, flow=flow)

    def calibrate(
        self,
        steps: Sequence[int],
        cfgs: Sequence[float],
        progress: Progress | None = None,
        solver: str = "dc_solver",
        quality: str = "paper",
    ) -> list[RatioSchedule]:
        """Ten seeds to search on, six to check with, for every step count and scale.

        ``quality`` is one of :data:`ratios.QUALITIES`; all schedulers are there to choose from.
        """
        data = points([*CALIBRATION_SEEDS, *CHECK_SEEDS])
        grids = [self.sigmas(count) for count in steps]
        return calibrate_grid(
            self.model.denoiser,
            self.model.start(data.noise, float(grids[0][0])),
            schedule=self.model.schedule,
            grids=grids,
            cfgs=cfgs,
            check=len(CHECK_SEEDS),
            extra_args=lambda at: {"condition": data.conditions[at]},
            scheduler=self.scheduler,
            seeds=tuple(CALIBRATION_SEEDS),
            model_class=f"emoji_{self.model.kind}",
            prediction=self.model.kind,
            solver=solver,
            guard="all",
            quality=quality,
            stock=lambda count: {name: self.sigmas(count, name) for name in SCHEDULERS},
            progress=progress,
        )

    def truth(self, data: Points, tick: Tick) -> torch.Tensor:
        """The final latents of the trajectory in many small steps."""
        latents, _ = self._sample(
            data, self.truth_sigmas(), tick, solver="unipc", order=3, lower_order="final"
        )
        return latents

    def truth_sigmas(self) -> torch.Tensor:
        ends = [float(self.model.sigmas[-1]), 0.0]
        fine, _ = reference_sigmas(ends, self.model.schedule, TRUTH_STEPS)
        return torch.tensor(fine)

    def row(
        self,
        label: str,
        steps: int,
        data: Points,
        truth: torch.Tensor,
        tick: Tick,
        **options: Any,
    ) -> Row:
        """Sample with these options and measure the distance to the truth."""
        latents, calls = self._sample(data, self.sigmas(steps), tick, **options)
        errors = (latents - truth).square().flatten(1).mean(dim=1)
        return Row(label, steps, errors, calls, latents)

    def _sample(
        self, data: Points, sigmas: torch.Tensor, tick: Tick, **options: Any
    ) -> tuple[torch.Tensor, int]:
        model: Denoiser = self.model.denoiser(self.cfg)

        def count(_: dict[str, Any]) -> None:
            tick(1)

        latents = sample(
            model,
            self.model.start(data.noise, float(sigmas[0])),
            sigmas,
            schedule=self.model.schedule,
            extra_args={"condition": data.conditions},
            callback=count,
            disable=True,
            **options,
        )
        return latents, model.calls
