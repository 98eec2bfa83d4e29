"""Weights of the outputs by least squares, step by step: as many model calls as one run.

After each call the state at the next sigma is a linear function of the weights of the outputs so
far, so the weights that bring it nearest to the reference are a least squares problem with no model
call in it.  A ridge holds them near the solver's own; the points count in their own units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .families import StepFamily
from .runs import Runs, Trace, point_weights

#: Relative to the diagonal of the normal equations.
_RIDGE = 0.1

#: The reference state of the points at a sigma, sketched.
ReferenceAt = Callable[[float], torch.Tensor]


def fit_steps(runs: Runs, family: StepFamily, reference: ReferenceAt) -> tuple[np.ndarray, Trace]:
    """The changes of every row on the family's own grid, and the run with them."""
    values = np.zeros(family.size)
    base = family.course(values)
    assert base is not None
    rows = base.rows.clone()
    outputs: list[torch.Tensor] = []
    for k, (sigma, after) in enumerate(zip(base.inputs, base.sigmas[1:])):
        outputs.append(runs.call(runs.state(rows[k].tolist(), outputs), sigma))
        free = family.changed_outputs(k + 1)
        if not free:
            continue
        plain = runs.sketch(runs.state(rows[k + 1].tolist(), outputs))
        newest = runs.sketch(outputs[k])
        differences = [runs.sketch(outputs[j]) - newest for j, _ in free]
        for (j, place), change in zip(free, fit(reference(after) - plain, differences)):
            values[place] = change
            rows[k + 1, 1 + j] += change
            rows[k + 1, 1 + k] -= change
    final = runs.state(rows[-1].tolist(), outputs)
    return values, Trace(final, tuple(outputs))


def fit(target: torch.Tensor, parts: Sequence[torch.Tensor]) -> list[float]:
    """The weights with which the parts (points, elements) come nearest to the target."""
    weights = point_weights(target)[:, None]
    matrix = torch.stack([(part.double() * weights).flatten() for part in parts], dim=1)
    gram = matrix.T @ matrix
    diagonal = gram.diagonal()
    gram = gram + torch.diag(_RIDGE * diagonal + 1e-12 * diagonal.mean() + 1e-30)
    slope = matrix.T @ (target.double() * weights).flatten()
    return torch.linalg.solve(gram, slope).tolist()
