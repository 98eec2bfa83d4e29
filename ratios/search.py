"""The search for one ratio, without gradients.

The loss of a ratio is the mean square of a residual vector, the state after the step less the
reference.  Where a step calls no model that vector is a polynomial of degree K in the ratio, known
exactly from ``K + 1`` values.  Elsewhere it is smooth but unknown, each value costing a model
call.  Interpolating the *vector* through the ratios tried, in place of its scalar loss, turns two
values into a Gauss-Newton step and three into one of higher order: three or four calls are
enough where a search on the loss takes seven.  All that is stored is the vectors and their Gram
matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

#: Ratios are sought in this interval; optima beyond 1.6 occur, mostly at the last step.
BOUNDS = (-1.0, 4.0)
#: Values of the loss in one search at most, the one at ratio 1 included.
MOST_TRIES = 6
_SECOND_TRY = 0.75
_MOST_NODES = 4
_LONGEST_MOVE = 1.0
_CLOSE = 0.02
#: A gain smaller than this share of the loss is not worth a ratio other than 1.
SMALL_GAIN = 1e-3


class VectorSearch:
    """Ratios tried and the residuals they gave; proposes the next ratio to try."""

    def __init__(self) -> None:
        self.ratios: list[float] = []
        self.losses: list[float] = []
        self._residuals: list[torch.Tensor] = []
        self._gram = np.zeros((0, 0))

    def add(self, ratio: float, residual: torch.Tensor) -> float:
        """Store the residual (any shape) at this ratio; returns its loss, the mean square."""
        flat = residual.detach().flatten().to("cpu")
        products = [_mean_product(flat, other) for other in (*self._residuals, flat)]
        size = len(self.ratios)
        gram = np.empty((size + 1, size + 1))
        gram[:size, :size] = self._gram
        gram[size, :] = gram[:, size] = products
        self._gram = gram
        self._residuals.append(flat)
        self.ratios.append(float(ratio))
        self.losses.append(products[-1])
        return products[-1]

    @property
    def best(self) -> int:
        """The index of the ratio with the lowest loss; the earliest where they tie."""
        finite = [loss if np.isfinite(loss) else np.inf for loss in self.losses]
        return int(np.argmin(finite))

    @property
    def chosen(self) -> float:
        """The best ratio where it gains something worth having on 1, which was tried first."""
        least = self.losses[self.best]
        worth = least < (1.0 - SMALL_GAIN) * self.losses[0]
        return self.ratios[self.best] if worth else self.ratios[0]

    def minimum(self, nodes: int, low: float, high: float) -> tuple[float, float]:
        """The minimum in [low, high] of the loss as interpolated through the best ``nodes``."""
        chosen = self._nearest(nodes)
        polynomial = self._loss_polynomial(chosen)
        slopes = polynomial.deriv().roots()
        real = slopes.real[np.abs(slopes.imag) < 1e-9]
        inside = [float(root) for root in real if low < root < high]
        candidates = np.array([low, high, *inside])
        values = polynomial(candidates)
        at = int(np.argmin(values))
        return float(candidates[at]), float(values[at])

    def propose(self) -> float | None:
        """The next ratio to try, or None once nothing more is to be gained."""
        if not self.ratios:
            return 1.0
        if len(self.ratios) == 1:
            return _SECOND_TRY
        if len(self.ratios) >= MOST_TRIES or not np.all(np.isfinite(self._gram)):
            return None
        best = self.ratios[self.best]
        low = max(BOUNDS[0], best - _LONGEST_MOVE)
        high = min(BOUNDS[1], best + _LONGEST_MOVE)
        ratio, loss = self.minimum(_MOST_NODES, low, high)
        nearest = min(abs(ratio - tried) for tried in self.ratios)
        gain = self.losses[self.best] - loss
        if nearest < _CLOSE or gain < SMALL_GAIN * self.losses[self.best]:
            return None
        return ratio

    def _nearest(self, nodes: int) -> list[int]:
        """The indices of the ratios nearest to the best one."""
        best = self.ratios[self.best]
        order = sorted(range(len(self.ratios)), key=lambda i: abs(self.ratios[i] - best))
        return order[:nodes]

    def _loss_polynomial(self, chosen: list[int]) -> np.polynomial.Polynomial:
        """``w(rho)^T G w(rho)`` with the Lagrange weights w through the chosen ratios."""
        basis = []
        for i in chosen:
            weight = np.polynomial.Polynomial([1.0])
            for j in chosen:
                if j != i:
                    root = np.polynomial.Polynomial([-self.ratios[j], 1.0])
                    weight = weight * root / (self.ratios[i] - self.ratios[j])
            basis.append(weight)
        total = np.polynomial.Polynomial([0.0])
        for a, weight_a in zip(chosen, basis):
            for b, weight_b in zip(chosen, basis):
                total = total + self._gram[a, b] * weight_a * weight_b
        return total


def closed_form(
    degree: int, residual: Callable[[float], torch.Tensor]
) -> tuple[float, VectorSearch]:
    """The best ratio where the residual is a polynomial of this degree in it.

    ``residual`` costs no model call.  Returns the ratio and the search, whose first entry is that
    of ratio 1 and whose last is that of the result.
    """
    search = VectorSearch()
    for k in range(degree + 1):
        ratio = 1.0 - 0.5 * k
        search.add(ratio, residual(ratio))
    if not np.all(np.isfinite(search.losses)):
        return 1.0, search
    ratio, _ = search.minimum(degree + 1, *BOUNDS)
    search.add(ratio, residual(ratio))
    return search.ratios[search.best], search


def _mean_product(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.dot(a.double(), b.double())) / max(a.numel(), 1)
