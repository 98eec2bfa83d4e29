"""One grid at one guidance scale: what a search has to work with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch

from ..solvers import LearnedSteps
from ..solvers.calls import Model
from ..solvers.grid import Grid
from ..solvers.step import Settings
from .points import PointModel, Tally
from .runs import Runs
from .task import Task
from .trajectory import Trajectory
from .warp import Warp


@dataclass(frozen=True)
class Found:
    """What a search came to: ratios for a solver, on steps of its own or on the given grid.

    ``losses`` are those of the greedy search, where there was one, and ``errors`` its final ones.
    """

    settings: Settings
    ratios: tuple[float, ...]
    learned: LearnedSteps | None = None
    losses: tuple[float, ...] = ()
    losses_plain: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    warp: Warp | None = None


@dataclass
class Cell:
    """The model, the grid and the reference of one calibration, and the calls it made."""

    task: Task
    model: Model
    grid: Grid
    trajectory: Trajectory
    tally: Tally
    _models: list[PointModel] = field(default_factory=list)

    @property
    def plain(self) -> Settings:
        """The settings of the uncompensated solver."""
        return replace(self.task.settings, dc_order=None)

    @property
    def work(self) -> int:
        """Calls x points that the search has cost so far."""
        return sum(model.calls * len(model.points) for model in self._models)

    def point_model(self, points: range) -> PointModel:
        """The model over some of the search points, its calls counted as the search's."""
        model = self.task.point_model(self.model, points, self.tally)
        self._models.append(model)
        return model

    def runs(self, points: range | None = None) -> Runs:
        """Whole runs of some of the search points (None: all)."""
        points = range(self.task.points) if points is None else points
        at = slice(points.start, points.stop)
        truth = self.trajectory.state(self.grid.sigmas[-1])[at]
        return Runs(self.point_model(points), self.task.start[at], truth, self.trajectory.sketch)

    def states(self, sigma: float) -> torch.Tensor:
        """The reference of the search points at a sigma, sketched."""
        return self.trajectory.state(sigma)[: self.task.points]

    def other_grids(self) -> dict[str, tuple[float, ...]]:
        """The stock grids that can take the place of the given one."""
        return self.task.other_grids(self.grid)
