"""Whole runs of all points: the states as linear combinations of the start and the outputs.

A run of N calls is a matrix of N + 1 rows over the start and the N outputs: row ``k`` makes the
state at which call ``k`` is made, the last row the final state (:func:`plan_rows`).
Every multistep solver is such a matrix, so one loop tries them all, and a change at step ``k``
costs only the calls from ``k`` on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..solvers.run import combine
from .points import PointModel

#: Elements of a latent that a search looks at, at most; chosen evenly at random.
_MOST_ELEMENTS = 16384


@dataclass(frozen=True)
class Course:
    """A run: its rows (N + 1, N + 1), the sigma the model is told at each call, and its grid."""

    rows: torch.Tensor
    inputs: tuple[float, ...]
    sigmas: tuple[float, ...]

    @property
    def steps(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Trace:
    """What a run came to: the final states, and the outputs on the way, oldest first."""

    final: torch.Tensor
    outputs: tuple[torch.Tensor, ...]


class Sketch:
    """A fixed choice of elements of a latent: enough for a fit, however large the latent is."""

    def __init__(self, elements: int) -> None:
        self._chosen: torch.Tensor | None = None
        if elements > _MOST_ELEMENTS:
            generator = torch.Generator(device="cpu").manual_seed(0)
            chosen = torch.randperm(elements, generator=generator, device="cpu")
            self._chosen = chosen[:_MOST_ELEMENTS]

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """The chosen elements of each point, (points, elements)."""
        flat = states.flatten(1)
        return flat if self._chosen is None else flat[:, self._chosen]


class Runs:
    """Runs the points of ``model`` from ``start``; ``truth`` are the sketched final states."""

    def __init__(
        self, model: PointModel, start: torch.Tensor, truth: torch.Tensor, sketch: Sketch
    ) -> None:
        self.model = model
        self.start = start
        self.truth = truth
        self.sketch = sketch

    def state(self, row: Sequence[float], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """The state that a row makes of the start and the outputs so far."""
        return combine(list(row), (self.start, *outputs))

    def call(self, state: torch.Tensor, sigma: float) -> torch.Tensor:
        batch = torch.full((len(state),), sigma, dtype=state.dtype, device=state.device)
        return self.model(state, batch)

    def run(self, course: Course, known: Sequence[torch.Tensor] = ()) -> Trace:
        """The run; ``known`` are the outputs of its first calls, which are not made again."""
        outputs = list(known)
        rows = course.rows.tolist()
        for row, sigma in list(zip(rows, course.inputs))[len(outputs) :]:
            outputs.append(self.call(self.state(row, outputs), sigma))
        return Trace(self.state(rows[-1], outputs), tuple(outputs))

    def residual(self, trace: Trace) -> torch.Tensor:
        """The distance of the final states to the truth, sketched, (points, elements)."""
        return (self.sketch(trace.final) - self.truth).double()


class Loss:
    """The generalised mean over the points of error over the plain solver's, with exponent ``q``.

    ``q = 0`` is the geometric mean, ``q = 1`` the plain one, which a point that gets worse costs
    more than another's gain can make up for.
    """

    def __init__(self, plain: torch.Tensor, q: float) -> None:
        squares = plain.double().square().mean(dim=1)
        self._plain = squares + 1e-3 * squares.mean() + 1e-30
        self._q = q

    def __call__(self, residual: torch.Tensor) -> float:
        share = (residual.double().square().mean(dim=1) / self._plain).clamp_min(1e-12)
        if self._q == 0.0:
            return _worst_if_nan(float(share.log().mean().exp()))
        return _worst_if_nan(float(share.pow(self._q).mean() ** (1.0 / self._q)))

    def weights(self, residual: torch.Tensor) -> torch.Tensor:
        """Those of the points with which least squares bring the loss down, (points, 1)."""
        squares = residual.double().square().mean(dim=1)
        floored = squares + 1e-3 * squares.mean() + 1e-30
        return (self._plain**-self._q * floored ** (self._q - 1.0)).sqrt()[:, None]


def log_error(residual: torch.Tensor) -> float:
    """The mean over the points of the log of their mean square: what a search brings down.

    A point whose trajectory ends in another mode, with an error a hundred times the others', counts
    no more than each of them.  A run that ends in NaN has an infinite error, so that it is never
    the best.
    """
    return _worst_if_nan(float(residual.square().mean(dim=1).clamp_min(1e-30).log().mean()))


def _worst_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


def point_weights(residual: torch.Tensor) -> torch.Tensor:
    """One over each point's root mean square, so that least squares follow :func:`log_error`."""
    squares = residual.double().square().mean(dim=1)
    return (squares + 1e-3 * squares.mean() + 1e-30).rsqrt()
