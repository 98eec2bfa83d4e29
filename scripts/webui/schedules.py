"""The grids of the papers among the WebUI's schedule types, for any sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from modules import sd_schedulers

from ...solvers import make_sigmas
from . import models

#: By the names that :func:`solvers.make_sigmas` knows.
LABELS = {
    "time_uniform": "Even in time (DC-Solver)",
    "logsnr": "Even in log-SNR (DC-Solver)",
    "time_quadratic": "Quadratic in time (DC-Solver)",
    "authors": "As the authors (DC-Solver)",
}


def register() -> None:
    """Add them to the host's, once in its life."""
    for spacing, label in LABELS.items():
        name = f"dc_{spacing}"
        if name in sd_schedulers.schedulers_map:
            continue  # after Reload UI
        made = sd_schedulers.Scheduler(name, label, _function(spacing), need_inner_model=True)
        sd_schedulers.schedulers.append(made)
        sd_schedulers.schedulers_map[name] = sd_schedulers.schedulers_map[label] = made


def _function(spacing: str) -> Callable[..., torch.Tensor]:
    def sigmas(
        n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any
    ) -> torch.Tensor:
        """The model's own table decides the ends, as it does for the host's Simple."""
        table = inner_model.sigmas.tolist()
        grid = make_sigmas(spacing, n, table, models.schedule_of(inner_model))
        return torch.tensor(grid).to(device)

    return sigmas
