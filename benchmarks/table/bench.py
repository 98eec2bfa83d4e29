"""A model at a guidance scale, with the points that errors are measured on and their truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from dc_solver.demo.emoji import Points
from dc_solver.demo.experiment import TRUTH_STEPS

from . import sampling
from .axes import Seeds
from .comfy import Host
from .task import Subject


@dataclass(frozen=True)
class Bench:
    """``host`` is a ComfyUI that has loaded the model and the points, or None."""

    subject: Subject
    cfg: float
    seeds: Seeds
    host: Host | None = None

    @cached_property
    def points(self) -> Points:
        """Those held out, and after them those of the rival: one batch."""
        return self.subject.points(self.seeds.all)

    @cached_property
    def held_out(self) -> Points:
        return self.first(self.seeds.held_out)

    def first(self, count: int) -> Points:
        """The first so many points."""
        return Points(self.points.noise[:count], self.points.conditions[:count])

    @cached_property
    def truth(self) -> torch.Tensor:
        return sampling.truth(self.subject.model, self.cfg, self.points, TRUTH_STEPS)

    def errors(self, latents: torch.Tensor) -> torch.Tensor:
        """Those of the first points, as many as there are latents."""
        return sampling.errors(latents, self.truth[: len(latents)])
