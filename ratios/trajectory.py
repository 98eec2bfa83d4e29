"""What a reference run leaves behind: a sketch of its states and outputs at every fine step.

The sketch holds some thousands of elements of each latent: enough to measure how far a student is
from the reference at any sigma, to fit the weights of its outputs, and to see how any coarse grid
over those times would fare without a model call.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import torch

from ..solvers import Schedule
from ..solvers.grid import make_grid
from ..solvers.plan import make_plan
from ..solvers.run import run_plan
from ..solvers.step import Settings
from .points import PointModel
from .reference import reference_sigmas
from .runs import Sketch

#: With strong guidance and fewer calls than these order 2 is half as far off as order 3.
_MANY = 40
#: Two sigmas closer than this in half-logSNR are one.
_SAME = 1e-6


class Trajectory:
    """The reference of all points of ``model``, in about ``calls`` calls.

    It runs from ``start`` at ``wanted[0]`` through the ``wanted`` sigmas (falling), at which it is
    exact; between them it is a cubic through the fine steps around.
    """

    def __init__(
        self,
        model: PointModel,
        start: torch.Tensor,
        wanted: Sequence[float],
        schedule: Schedule,
        calls: int,
    ) -> None:
        self.schedule = schedule
        self.sketch = Sketch(start[0].numel())
        self.calls = 0
        self._states: list[torch.Tensor] = []
        self._outputs: list[torch.Tensor] = []
        self._sigmas, _ = reference_sigmas(wanted, schedule, calls)

        def keep(info: dict[str, torch.Tensor]) -> None:
            self._states.append(self.sketch(info["x"]).clone())
            self._outputs.append(self.sketch(info["denoised"]).clone())

        order = 2 if calls < _MANY else 3
        settings = Settings(order=order, lower_order="final")
        plan = make_plan(make_grid(self._sigmas, schedule), schedule, settings)
        #: The whole final states, (points, ...).
        self.final = run_plan(plan, model, start, callback=keep)
        self.calls = len(self._outputs)
        self._states.append(self.sketch(self.final).clone())
        self._lams = [schedule.half_logsnr(sigma) for sigma in self._sigmas]

    @property
    def nbytes(self) -> int:
        """The bytes that it takes."""
        return sum(tensor.nbytes for tensor in self._tensors)

    @property
    def finite(self) -> bool:
        """Whether there is neither NaN nor infinity in it."""
        return all(bool(tensor.isfinite().all()) for tensor in self._tensors)

    @property
    def _tensors(self) -> tuple[torch.Tensor, ...]:
        return (self.final, *self._states, *self._outputs)

    def reaches(self, sigmas: Sequence[float]) -> bool:
        """Whether none of these sigmas lies beyond its fine steps, on the way to an end that is
        infinite in half-logSNR, where nothing tells what its states are."""
        inner = [lam for lam in self._lams if math.isfinite(lam)]
        lams = [lam for lam in map(self.schedule.half_logsnr, sigmas) if math.isfinite(lam)]
        return all(inner[0] - _SAME < lam < inner[-1] + _SAME for lam in lams)

    def state(self, sigma: float) -> torch.Tensor:
        """The sketched states at a sigma of the way, (points, elements)."""
        return self._at(sigma, self._states)

    def output(self, sigma: float) -> torch.Tensor:
        """The sketched outputs at a sigma of the way but its end."""
        return self._at(sigma, self._outputs)

    def _at(self, sigma: float, known: Sequence[torch.Tensor]) -> torch.Tensor:
        lam = self.schedule.half_logsnr(sigma)
        near = bisect_right(self._lams, lam)
        for i in (near - 1, near):
            if 0 <= i < len(known) and (lam == self._lams[i] or abs(lam - self._lams[i]) < _SAME):
                return known[i]
        # Where an end is infinite in half-logSNR no polynomial in it passes through.
        finite = [i for i in range(len(known)) if math.isfinite(self._lams[i])]
        low = max(finite[0], min(near - 2, finite[-1] - 3))
        around = range(low, min(low + 4, finite[-1] + 1))
        total = torch.zeros_like(known[0])
        for i in around:
            weight = math.prod(
                (lam - self._lams[j]) / (self._lams[i] - self._lams[j]) for j in around if j != i
            )
            total += known[i] * weight
        return total
