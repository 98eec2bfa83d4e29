"""What a calibration is given: a model at a guidance scale, a schedule, points to search on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import models
import torch
from dc_solver.demo.emoji import Denoiser, Emoji, Points
from dc_solver.demo.experiment import CALIBRATION_SEEDS, CHECK_SEEDS

from . import sampling


@dataclass(frozen=True)
class Subject:
    """A model by its name; ``model`` may be compiled, ``eager`` never is."""

    name: str
    fast: bool = True

    @cached_property
    def model(self) -> Emoji:
        return models.load(self.name, fast=True) if self.fast else self.eager

    @cached_property
    def eager(self) -> Emoji:
        return models.load(self.name)

    def points(self, seeds: Sequence[int]) -> Points:
        return models.points(self.name, seeds)


@dataclass
class Tally:
    """Model calls, and calls times the points in them."""

    calls: int = 0
    work: int = 0


@dataclass(frozen=True)
class Task:
    """One calibration: its points are the ``search`` first of ``data``, the rest check."""

    subject: Subject
    cfg: float
    steps: int
    scheduler: str
    data: Points
    search: int = len(CALIBRATION_SEEDS)
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def make(cls, subject: Subject, cfg: float, steps: int, scheduler: str) -> Task:
        """With the ten seeds of the search and the six of the check."""
        data = subject.points([*CALIBRATION_SEEDS, *CHECK_SEEDS])
        return cls(subject, cfg, steps, scheduler, data)

    @property
    def model(self) -> Emoji:
        return self.subject.model

    @property
    def check(self) -> int:
        """How many points, the last, are not to be searched on."""
        return len(self.data.noise) - self.search

    @cached_property
    def sigmas(self) -> torch.Tensor:
        return self.grid(self.scheduler)

    def grid(self, scheduler: str) -> torch.Tensor:
        """The sigmas of any stock schedule at this number of steps."""
        return sampling.grid(self.model, scheduler, self.steps)

    @cached_property
    def start(self) -> torch.Tensor:
        """The states of all points at the first sigma."""
        return sampling.start(self.model, self.data.noise, float(self.sigmas[0]))

    def denoiser(self, cfg: float | None = None) -> CountedModel:
        """The guided model, called as ``model(x, sigma, condition=...)``; its calls are counted."""
        return CountedModel(self.model.denoiser(self.cfg if cfg is None else cfg), self.tally)

    def extra_args(self, at: slice) -> dict[str, torch.Tensor]:
        """The arguments of a model call for these points."""
        return {"condition": self.data.conditions[at]}

    def sample(
        self, data: Points, sigmas: torch.Tensor | None = None, **options: Any
    ) -> torch.Tensor:
        """The final latents of any points, on the task's grid or another."""
        grid = self.sigmas if sigmas is None else sigmas
        return sampling.run(self.model, self.denoiser(), data, grid, **options)


class CountedModel:
    """A denoiser whose calls go into a tally."""

    def __init__(self, denoiser: Denoiser, tally: Tally) -> None:
        self._denoiser = denoiser
        self._tally = tally

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: Any) -> torch.Tensor:
        self._tally.calls += 1
        self._tally.work += len(x)
        return self._denoiser(x, sigma, condition)
