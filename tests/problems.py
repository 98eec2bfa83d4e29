"""Problems with exact solutions: data whose denoiser, and for Gaussians whose flow, is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from dc_solver.ratios.points import Chunk, PointModel, Tally
from dc_solver.solvers import FlowSchedule, Schedule, VPSchedule
from dc_solver.solvers.calls import state_dtype


def schedule_of(kind: str) -> Schedule:
    """ "vp" with a smooth model time, or "flow"."""
    return FlowSchedule() if kind == "flow" else VPSchedule(math.atan)


@dataclass
class Gaussian:
    """Data N(mean, variance) in every element; records the sigmas it is called at."""

    kind: str = "vp"
    mean: float = 0.7
    variance: float = 0.3

    def __post_init__(self) -> None:
        self.called_at: list[float] = []

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.called_at.append(float(sigma[0]))
        s = sigma.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        a = 1.0 - s if self.kind == "flow" else torch.ones_like(s)
        gain = a * self.variance / (a * a * self.variance + s * s)
        return self.mean + gain * (x - a * self.mean)

    def exact(self, x: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
        """The solution at ``target`` of the ODE that passes through ``x`` at ``sigma``."""
        a, b = (1.0 - sigma, 1.0 - target) if self.kind == "flow" else (1.0, 1.0)
        before = a * a * self.variance + sigma * sigma
        after = b * b * self.variance + target * target
        return b * self.mean + (x - a * self.mean) * math.sqrt(after / before)


@dataclass
class Mixture:
    """Two Gaussians of one variance in every element: no closed trajectory, an exact denoiser."""

    kind: str = "vp"
    means: tuple[float, float] = (-1.0, 1.0)
    variance: float = 0.1

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        s = sigma.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
        a = 1.0 - s if self.kind == "flow" else torch.ones_like(s)
        spread = a * a * self.variance + s * s
        means = torch.tensor(self.means, dtype=x.dtype)
        logits = torch.stack([-((x - a * m) ** 2) / (2 * spread) for m in means])
        weights = torch.softmax(logits, dim=0, dtype=state_dtype(x.dtype)).to(x.dtype)
        posterior = torch.stack([m + a * self.variance / spread * (x - a * m) for m in means])
        return (weights * posterior).sum(dim=0)


class Counted:
    """Counts the calls and the points of another model."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.calls = 0
        self.points = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, **extra: Any) -> torch.Tensor:
        self.calls += 1
        self.points += len(x)
        return torch.as_tensor(self.model(x, sigma, **extra))


def point_model(model: Any, count: int) -> PointModel:
    """The model over so many points in one batch, its calls counted nowhere else."""
    return PointModel(
        model, extra_args=None, device=torch.device("cpu"), dtype=torch.float64,
        points=range(count), chunk=Chunk(count), tally=Tally(None, None, 0),
    )  # fmt: skip
