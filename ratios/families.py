"""Families of runs: from a few numbers to the rows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from ..solvers import LearnedSteps, Schedule
from ..solvers.grid import falls_strictly, make_grid
from ..solvers.learned import plan_rows
from ..solvers.plan import make_plan
from ..solvers.step import Settings
from .runs import Course
from .warp import Warp, warped


class Family(Protocol):
    """Runs told apart by a vector of numbers, which is 0 for the run it starts from.

    ``scale`` is how far each number may be expected to go; ``first_call`` the first call that it
    changes (the number of steps where it changes the final state alone).
    """

    @property
    def scale(self) -> np.ndarray: ...
    @property
    def first_call(self) -> Sequence[int]: ...
    def course(self, values: np.ndarray) -> Course | None: ...


def plain_course(
    sigmas: Sequence[float],
    schedule: Schedule,
    settings: Settings,
    ratios: Sequence[float] | None = None,
) -> Course:
    """The run of a solver over a grid, up to the first sigma 0."""
    if ratios is None:
        settings = replace(settings, dc_order=None)
    grid = make_grid(sigmas, schedule)
    end = grid.steps_to_end
    plan = make_plan(grid, schedule, settings, ratios)[:end]
    return Course(plan_rows(plan, end), grid.sigmas[:end], grid.sigmas[: end + 1])


class RatioFamily:
    """The ratios of a solver on a grid; values are ratios less those it starts from."""

    def __init__(
        self,
        sigmas: Sequence[float],
        schedule: Schedule,
        settings: Settings,
        ratios: Sequence[float],
    ) -> None:
        plan = make_plan(make_grid(sigmas, schedule), schedule, settings, ratios)
        self._sigmas = sigmas
        self._schedule = schedule
        self._settings = settings
        self._ratios = np.array(ratios, dtype=np.float64)
        self._free = [i for i, step in enumerate(plan) if step.nodes]

    @property
    def scale(self) -> np.ndarray:
        return np.full(len(self._free), 0.3)

    @property
    def first_call(self) -> list[int]:
        return [i + 1 for i in self._free]

    def ratios(self, values: np.ndarray) -> tuple[float, ...]:
        found = self._ratios.copy()
        found[self._free] += values
        return tuple(found.tolist())

    def course(self, values: np.ndarray) -> Course:
        return plain_course(self._sigmas, self._schedule, self._settings, self.ratios(values))


class WarpFamily:
    """Warps of a grid (:mod:`ratios.warp`); values are the logs of their powers over those of the
    warp it starts from."""

    first_call = (1, 1)

    def __init__(
        self, sigmas: Sequence[float], schedule: Schedule, settings: Settings, start: Warp
    ) -> None:
        self._sigmas = tuple(sigmas)
        self._schedule = schedule
        self._settings = settings
        self._start = start

    @property
    def scale(self) -> np.ndarray:
        return np.full(2, 0.3)

    def warp(self, values: np.ndarray) -> Warp:
        """Raises ValueError beyond what a warp can be."""
        a, b = np.exp(values).tolist()
        return Warp(self._start.a * a, self._start.b * b)

    def course(self, values: np.ndarray) -> Course | None:
        try:
            warp = self.warp(values)
        except ValueError:
            return None
        grid = warped(self._sigmas, self._schedule, warp)
        return None if grid is None else plain_course(grid, self._schedule, self._settings)


@dataclass(frozen=True)
class _Number:
    """One number of a :class:`StepFamily`: what it does, at which call or row, to which output."""

    kind: str
    at: int
    output: int = 0


_SCALES = {"place": 0.3, "told": 0.2, "change": 0.3}


class StepFamily:
    """All that a step can be, with one model call: where it stands, what the model is told, and
    how the outputs so far are weighed.

    Places and told sigmas count in half-logSNR from those of ``sigmas``.  A change takes from the
    newest output what it gives to one of the ``history`` before it, so that a constant output stays
    one, whatever the numbers.  The told sigma apart from the place is the decoupled input time of
    LD3 (2405.15506), the weights are those of S4S (2502.17423).
    """

    def __init__(
        self, sigmas: Sequence[float], schedule: Schedule, settings: Settings, history: int
    ) -> None:
        self.sigmas = tuple(sigmas)
        self._schedule = schedule
        self._settings = replace(settings, dc_order=None)
        steps = len(sigmas) - 1
        inner = range(1, steps)
        self._lams = [schedule.half_logsnr(sigma) for sigma in sigmas]
        self._numbers = [
            *(_Number("place", i) for i in inner),
            *(_Number("told", i) for i in inner),
            *(
                _Number("change", row, output)
                for row in range(2, steps + 1)
                for output in range(max(row - 1 - history, 0), row - 1)
            ),
        ]
        self._index = {number: k for k, number in enumerate(self._numbers)}

    @property
    def size(self) -> int:
        return len(self._numbers)

    @property
    def scale(self) -> np.ndarray:
        return np.array([_SCALES[number.kind] for number in self._numbers])

    @property
    def first_call(self) -> list[int]:
        return [number.at for number in self._numbers]

    def changed_outputs(self, row: int) -> list[tuple[int, int]]:
        """The outputs that a row may weigh anew, each with its place among the values."""
        return [
            (number.output, k)
            for k, number in enumerate(self._numbers)
            if number.kind == "change" and number.at == row
        ]

    def course(self, values: np.ndarray) -> Course | None:
        """The run; None where two of its sigmas would meet."""
        sigmas, inputs = self._placed(values)
        if not falls_strictly(sigmas):
            return None
        base = plain_course(sigmas, self._schedule, self._settings)
        rows = base.rows.clone()
        rows[1:, 1:] += self._changes(values)
        return Course(rows, inputs, sigmas)

    def learned(self, values: np.ndarray) -> LearnedSteps:
        """The numbers as they are kept and run."""
        sigmas, inputs = self._placed(values)
        changes = tuple(map(tuple, self._changes(values).tolist()))
        return LearnedSteps(sigmas, inputs, changes)

    def _placed(self, values: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
        inner = range(1, len(self.sigmas) - 1)
        lams = [self._lams[i] + values[self._index[_Number("place", i)]] for i in inner]
        told = [lam + values[self._index[_Number("told", i)]] for i, lam in zip(inner, lams)]
        at = self._schedule.sigma_at
        first, last = self.sigmas[0], self.sigmas[-1]
        sigmas = (first, *(float(at(lam)) for lam in lams), last)
        return sigmas, (first, *(min(float(at(lam)), first) for lam in told))

    def _changes(self, values: np.ndarray) -> torch.Tensor:
        steps = len(self.sigmas) - 1
        changes = torch.zeros((steps, steps), dtype=torch.float64, device="cpu")
        for number, value in zip(self._numbers, values):
            if number.kind == "change":
                changes[number.at - 1, number.output] += float(value)
                changes[number.at - 1, number.at - 1] -= float(value)
        return changes
