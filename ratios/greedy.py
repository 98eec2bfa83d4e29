"""The greedy search over the steps (DC-Solver, 2409.03755, algorithm 1), without gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from ..solvers.compensation import interpolation_weights
from ..solvers.grid import Grid
from ..solvers.run import advanced, combine, converted
from ..solvers.step import Step
from .points import PointModel
from .runs import Sketch, log_error
from .search import BOUNDS, SMALL_GAIN, VectorSearch, closed_form

#: How much a point's own distance without compensation takes from its weight: the power of its root
#: mean square that its residual is divided by.
LOSSES = {"balanced": 0.5, "relative": 1.0, "mean": 0.0}
#: What is left of a ratio that ten points ask for, 1 not excepted: on others it would go too far.
HELD_BACK = 0.95
#: The last ratio is held back while this much is added to the mean log error of the points at most.
_NEXT_TO_NOTHING = 0.005


@dataclass(frozen=True)
class Found:
    """The ratios, and after each step the mean square distance to the reference.

    ``losses_plain`` is that distance with a ratio of 1 at the step itself, ``errors`` the final
    mean square distance of each point.
    """

    ratios: tuple[float, ...]
    losses: tuple[float, ...]
    losses_plain: tuple[float, ...]
    errors: tuple[float, ...]


def greedy_search(
    model: PointModel,
    x: torch.Tensor,
    truth: Sequence[torch.Tensor],
    grid: Grid,
    plan: Sequence[Step],
    loss: str,
    sketch: Sketch | None = None,
    held_back: float = 1.0,
) -> Found:
    """Search the ratio of each step in turn, and step on with the best.

    ``x`` are the starting states, ``truth`` the reference states at each sigma of the grid (or
    their ``sketch``), ``loss`` and ``held_back`` as in :func:`ratios.calibrate`.

    The last ratio acts on the image itself, so it is not held back blindly
    (:func:`_last_ratio`).
    """
    if sketch is None:
        sketch = Sketch(x[0].numel())
        truth = [sketch(state) for state in truth]
    ratios: list[float] = []
    losses: list[float] = []
    plain: list[float] = []
    state = x
    buffer: list[torch.Tensor] = []
    output: torch.Tensor | None = None
    denoised: torch.Tensor | None = None
    for i, step in enumerate(plan):
        if step.calls_model:
            if output is None:
                denoised = model(state, _batch(state, step.sigma))
                output = converted(step.convert, state, denoised)
            if step.replaces_newest:
                del buffer[0]
            buffer.insert(0, output)
        after = plan[i + 1] if i + 1 < len(plan) else None
        attempt = _Attempt(model, step, after, state, denoised, buffer, truth[i + 1], loss, sketch)
        ratio = _best_ratio(attempt)
        if not attempt.idle:
            last = step.correct is None and not any(later.calls_model for later in plan[i + 1 :])
            ratio = _last_ratio(attempt, ratio, held_back) if last else held_back * ratio
        if not math.isfinite(attempt.losses[1.0]):
            raise ValueError(
                f"model: expected finite outputs, got NaN or infinity in step {i + 1} of "
                f"{grid.steps}, at sigma {grid.sigmas[i]:.6g}; check the model and its precision."
            )
        taken, buffer = attempt.accepted(ratio)
        ratios.append(ratio)
        losses.append(attempt.losses[ratio])
        plain.append(attempt.losses[1.0])
        state, denoised, output = taken.state, taken.denoised, taken.output
        del buffer[step.keep :]
    errors = (sketch(state) - truth[-1]).double().square().mean(dim=1).tolist()
    return Found(tuple(ratios), tuple(losses), tuple(plain), tuple(errors))


def _best_ratio(attempt: _Attempt) -> float:
    """Search where compensation can act; else try 1 alone."""
    step = attempt.step
    first = attempt.residual(1.0)
    if attempt.idle:
        return 1.0
    if step.correct is None:
        best, _ = closed_form(len(step.nodes) - 1, attempt.residual)
        return best
    search = VectorSearch()
    search.add(1.0, first)
    while (ratio := search.propose()) is not None:
        search.add(ratio, attempt.residual(ratio))
    return search.chosen


def _last_ratio(attempt: _Attempt, best: float, held_back: float) -> float:
    """Held back as far as the geometric mean of the points' errors rises by next to nothing.

    After the last step the errors are the image's, and none of its ratios costs a call; where their
    mean is least may be beyond ``best``, by as much as holding back would take from it.
    """
    from scipy.optimize import brentq, minimize_scalar  # a tenth of a second that a search needs

    held, beyond = (
        min(max(end, BOUNDS[0]), BOUNDS[1]) for end in (held_back * best, best / held_back)
    )
    least = minimize_scalar(attempt.log_error, bounds=sorted((held, beyond)), method="bounded")
    allowed = float(least.fun) + _NEXT_TO_NOTHING

    def rise(ratio: float) -> float:
        return attempt.log_error(ratio) - allowed

    return held if not rise(held) > 0.0 else float(brentq(rise, held, float(least.x), xtol=1e-4))


@dataclass
class _Outcome:
    """The state after a step, the x0 and the output at it where the model was called there, and
    the compensated newest output where it was."""

    state: torch.Tensor
    denoised: torch.Tensor | None
    output: torch.Tensor | None
    newest: torch.Tensor | None


class _Attempt:
    """One step tried with several ratios, 1 first; remembers the outcome of the best alone."""

    def __init__(
        self,
        model: PointModel,
        step: Step,
        after: Step | None,
        state: torch.Tensor,
        denoised: torch.Tensor | None,
        buffer: Sequence[torch.Tensor],
        truth: torch.Tensor,
        loss: str,
        sketch: Sketch,
    ) -> None:
        self.step = step
        #: The mean square distance to the reference, by ratio.
        self.losses: dict[float, float] = {}
        self._model = model
        self._after = after
        self._state = state
        self._denoised = denoised
        self._buffer = buffer
        self._truth = truth
        self._sketch = sketch
        self._power = LOSSES[loss]
        self._weights: torch.Tensor | None = None
        self._worth = 0.0
        self._best: tuple[float, float, _Outcome] | None = None

    def residual(self, ratio: float) -> torch.Tensor:
        """The weighted distance of the corrected state after the step with this ratio."""
        outcome = self._run(ratio)
        residual = self._sketch(outcome.state) - self._truth
        self.losses[ratio] = float(residual.double().square().mean())
        if self._weights is None:
            self._weights = _point_weights(residual, self._power)
        residual = residual * self._weights
        loss = float(residual.double().square().mean())
        if self._best is None:
            self._worth = (1.0 - SMALL_GAIN) * loss
            self._best = (ratio, loss, outcome)
        elif loss < min(self._best[1], self._worth):
            self._best = (ratio, loss, outcome)
        return residual

    def log_error(self, ratio: float) -> float:
        """Mean log error of the points after the step."""
        return log_error(self._sketch(self._run(ratio).state).double() - self._truth.double())

    @cached_property
    def idle(self) -> bool:
        """Whether there is nothing to compensate, or a ratio of 1, which must have been tried,
        already hits the reference to the rounding of 32-bit floats."""
        if not self.step.nodes:
            return True
        return self.losses[1.0] <= 1e-12 * float(self._truth.double().square().mean())

    def accepted(self, ratio: float) -> tuple[_Outcome, list[torch.Tensor]]:
        """What the step with this ratio led to, and the buffer after it."""
        kept = self._best
        if kept is not None and kept[0] == ratio:
            outcome = kept[2]
        else:
            outcome = self._run(ratio)
            residual = self._sketch(outcome.state) - self._truth
            self.losses[ratio] = float(residual.double().square().mean())
        buffer = list(self._buffer)
        if outcome.newest is not None:
            buffer[0] = outcome.newest
        return outcome, buffer

    def _run(self, ratio: float) -> _Outcome:
        step = self.step
        buffer = list(self._buffer)
        newest = None
        if step.nodes and ratio != 1.0:
            newest = combine(interpolation_weights(step.nodes, ratio), buffer)
            buffer[0] = newest
        state = advanced(step, self._state, self._denoised, buffer)
        if step.correct is None or self._after is None:
            return _Outcome(state, None, None, newest)
        denoised = self._model(state, _batch(state, step.sigma_next))
        output = converted(self._after.convert, state, denoised)
        corrected = combine((1.0, *step.correct), (state, output, *buffer))
        return _Outcome(corrected, denoised, output, newest)


def _point_weights(residual: torch.Tensor, power: float) -> torch.Tensor:
    """One over a power of each point's root mean square, (points, 1)."""
    squares = residual.double().square().mean(dim=1)
    floor = 1e-6 * squares.mean() + 1e-30
    return (squares + floor).pow(-0.5 * power).to(residual.dtype)[:, None]


def _batch(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.full((x.shape[0],), sigma, dtype=x.dtype, device=x.device)
