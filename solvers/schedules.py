"""Noise schedules: from a host's sigma to half-logSNR and model time.

A host writes a noisy latent as ``x = signal * x0 + sigma * noise``.  Two families cover the
hosts' models:

* variance preserving (and exploding) models in k-diffusion's scaling: ``signal = 1``,
* rectified flow: ``signal = 1 - sigma``.

In either scaling the half-logSNR is ``ln(signal / sigma)``, and every solver of this package is
written in those three quantities alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence


class Schedule(ABC):
    """Maps one sigma (a Python float, in the host's scaling) to what a solver needs."""

    def __init__(self, sigma_to_t: Callable[[float], float] | None = None) -> None:
        self._sigma_to_t = sigma_to_t

    @abstractmethod
    def signal(self, sigma: float) -> float:
        """The factor of x0 in the host's scaling, ``x = signal * x0 + sigma * noise``."""

    @abstractmethod
    def alpha(self, sigma: float) -> float:
        """The factor of x0 in the papers' scaling, ``alpha_t`` of DPM-Solver (2206.00927)."""

    @abstractmethod
    def sigma_at(self, half_logsnr: float) -> float:
        """The sigma with this half-logSNR, the inverse of :meth:`half_logsnr`."""

    def half_logsnr(self, sigma: float) -> float:
        """``ln(signal / sigma)``; +inf at sigma 0, -inf where the signal is 0 (flow at 1)."""
        if sigma == 0.0:
            return math.inf
        signal = self.signal(sigma)
        return math.log(signal) - math.log(sigma) if signal > 0.0 else -math.inf

    def check(self, sigma: float) -> None:
        """Raise ValueError where this schedule has no such sigma."""
        if not math.isfinite(sigma) or sigma < 0.0:
            raise ValueError(
                f"sigmas: expected finite numbers of 0 or more, got {sigma!r}; "
                "check the scheduler that made them."
            )

    @property
    def has_model_time(self) -> bool:
        """Whether :meth:`model_time` is known."""
        return self._sigma_to_t is not None

    def model_time(self, sigma: float) -> float:
        """The time the model is conditioned on, in any affine unit.

        Raises ValueError where the schedule was made without a map from sigma to time.
        """
        if self._sigma_to_t is None:
            raise ValueError(
                'variable="t": expected a schedule with a model time, got one without; pass '
                'VPSchedule(sigma_to_t=...) or compensate in half-logSNR with variable="lambda".'
            )
        return float(self._sigma_to_t(sigma))


class VPSchedule(Schedule):
    """eps-, v- and x0-prediction and EDM models in k-diffusion's scaling, ``x = x0 + sigma * n``.

    ``sigma_to_t`` is a continuous, strictly monotonic map from sigma to the model's time, for
    compensation in ``t``; :func:`discrete_time` makes one from a table of training sigmas.
    """

    def signal(self, sigma: float) -> float:
        return 1.0

    def alpha(self, sigma: float) -> float:
        return 1.0 / math.sqrt(1.0 + sigma * sigma)

    def sigma_at(self, half_logsnr: float) -> float:
        return math.exp(-half_logsnr)


#: How far above 1 a flow sigma may lie by rounding of 32-bit floats and still mean pure noise.
_FLOW_ROUNDING = 1e-5


class FlowSchedule(Schedule):
    """Rectified flow, ``x = (1 - s) * x0 + s * n`` with sigma = s in [0, 1].

    The model's time is s itself (any shift is already in the sigmas) unless ``sigma_to_t`` says
    otherwise.
    """

    def __init__(self, sigma_to_t: Callable[[float], float] | None = None) -> None:
        super().__init__(sigma_to_t or float)

    def signal(self, sigma: float) -> float:
        return max(0.0, 1.0 - sigma)

    def alpha(self, sigma: float) -> float:
        return self.signal(sigma)

    def sigma_at(self, half_logsnr: float) -> float:
        return 1.0 / (1.0 + math.exp(half_logsnr)) if half_logsnr < 700.0 else 0.0

    def check(self, sigma: float) -> None:
        super().check(sigma)
        if sigma > 1.0 + _FLOW_ROUNDING:
            raise ValueError(
                f"sigmas: expected numbers from 0 to 1 for a flow model, got {sigma!r}; "
                "use VPSchedule for eps- and v-prediction models, or another scheduler."
            )


def discrete_time(sigmas: Sequence[float]) -> Callable[[float], float]:
    """A continuous time for a model trained at discrete sigmas (ascending, one a timestep).

    The index into the table, interpolated linearly in log sigma and continued in a straight line
    past both ends, so that different sigmas never share a time (the host's own map rounds to the
    nearest index).

    Raises ValueError unless the table holds two or more positive, strictly ascending sigmas.
    """
    table = [float(sigma) for sigma in sigmas]
    if len(table) < 2 or table[0] <= 0.0 or not all(a < b for a, b in zip(table, table[1:])):
        raise ValueError(
            "discrete_time: expected two or more positive sigmas in strictly ascending order, "
            f"got {len(table)} from {table[:1]} to {table[-1:]}; pass the model's training sigmas."
        )
    logs = [math.log(sigma) for sigma in table]

    def sigma_to_t(sigma: float) -> float:
        if sigma <= 0.0:
            return -math.inf
        position = math.log(sigma)
        low = min(max(bisect_right(logs, position) - 1, 0), len(logs) - 2)
        return low + (position - logs[low]) / (logs[low + 1] - logs[low])

    return sigma_to_t
