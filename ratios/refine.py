"""Gauss-Newton on the final error, without gradients: a Jacobian by differences of runs.

Each number is moved by a little and the run repeated from the first call that it changes.  What
is brought down is a mean over the points (:class:`ratios.runs.Loss`); a ridge holds
the numbers near the run they start from, in units of the family's scale.  The residual of ten
points holds thousands of elements, so some dozens of numbers do not fit them by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .families import Family
from .runs import Course, Loss, Runs, Trace

#: The difference that a derivative is taken over.
_DIFFERENCE = 0.05
_RIDGE = 0.03
#: How much stronger the ridge on a step becomes where the step before did not help.
_DAMPING = (1.0, 8.0, 64.0)


@dataclass(frozen=True)
class Refined:
    """The numbers found, the run they make, and its loss."""

    values: np.ndarray
    course: Course
    trace: Trace
    loss: float


def jacobian_calls(family: Family, steps: int) -> int:
    """Model calls that one Jacobian costs."""
    return sum(steps - first for first in family.first_call)


def refine(runs: Runs, family: Family, start: np.ndarray, rounds: int, loss: Loss) -> Refined:
    """Up to ``rounds`` Gauss-Newton steps from ``start``; the best run seen, at least the first."""
    course = family.course(start)
    assert course is not None
    trace = runs.run(course)
    here = Refined(start, course, trace, loss(runs.residual(trace)))
    for _ in range(rounds):
        if not np.isfinite(here.loss):
            break
        better = _step(runs, family, here, loss)
        if better is None:
            break
        here = better
    return here


def _step(runs: Runs, family: Family, here: Refined, loss: Loss) -> Refined | None:
    """One step that lowers the error, shorter where the first did not; None where none does."""
    residual = runs.residual(here.trace)
    weights = loss.weights(residual)
    gram, slope, total = _normal_equations(
        _derivatives(runs, family, here, residual), residual, weights
    )
    if not np.all(np.isfinite(gram)) or total == 0.0:  # nothing is left to bring down
        return None
    ridge = _RIDGE * total / family.scale**2
    for damping in _DAMPING:
        step = -np.linalg.solve(gram + np.diag(damping * ridge), slope + ridge * here.values)
        values = here.values + step
        course = family.course(values)
        if course is None:
            continue
        trace = runs.run(course)
        error = loss(runs.residual(trace))
        if error < here.loss:
            return Refined(values, course, trace, error)
    return None


def _derivatives(
    runs: Runs, family: Family, here: Refined, residual: torch.Tensor
) -> list[torch.Tensor]:
    found = []
    for k, first in enumerate(family.first_call):
        for sign in (1.0, -1.0):
            values = here.values.copy()
            values[k] += sign * _DIFFERENCE
            course = family.course(values)
            if course is not None:
                break
        if course is None:  # hemmed in from both sides: the number stays
            found.append(torch.zeros_like(residual))
            continue
        moved = runs.residual(runs.run(course, here.trace.outputs[:first]))
        found.append((moved - residual) / (sign * _DIFFERENCE))
    return found


def _normal_equations(
    derivatives: Sequence[torch.Tensor], residual: torch.Tensor, weights: torch.Tensor
) -> tuple[np.ndarray, np.ndarray, float]:
    """``J^T W J``, ``J^T W r`` and ``r^T W r``."""
    target = (residual * weights).flatten()
    columns = [(column * weights).flatten() for column in derivatives]
    matrix = torch.stack(columns, dim=1)
    gram = (matrix.T @ matrix).numpy()
    return gram, (matrix.T @ target).numpy(), float(target.square().sum())
