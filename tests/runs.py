"""Runs of ``sample`` on problems with exact solutions: their grids, starts, ratios and solvers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dc_solver.solvers import SOLVERS, sample
from problems import schedule_of

GRIDS = {
    "vp": [12.0, 6.0, 3.1, 1.4, 0.6, 0.2, 0.0],
    "flow": [0.97, 0.9, 0.78, 0.6, 0.4, 0.15, 0.0],
}
RATIOS = [1.0, 1.3, 0.8, 1.2, 0.9, 1.4]
KINDS = ("vp", "flow")
#: The adaptive ones have tests of their own.
FIXED = [entry.name for entry in SOLVERS.values() if entry.kind != "adaptive"]
MULTISTEP = [entry.name for entry in SOLVERS.values() if entry.kind == "multistep"]


def start(
    kind: str, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*(shape or (3, 8)), generator=generator, dtype=torch.float64)
    return (noise * (1.0 if kind == "flow" else 12.0)).to(dtype)


def even_grid(kind: str, first: float, last: float, steps: int) -> list[float]:
    """Sigmas even in half-logSNR."""
    schedule = schedule_of(kind)
    return [schedule.sigma_at(first + (last - first) * k / steps) for k in range(steps + 1)]


def run(kind: str, model: Callable[..., torch.Tensor], x: torch.Tensor, sigmas: Any, **how: Any):
    return sample(model, x, sigmas, schedule=schedule_of(kind), disable=True, **how)


def with_ratios(name: str, steps: int) -> list[float] | None:
    return RATIOS[:steps] if SOLVERS[name].compensates else None
