"""A use of a sampler on the emoji models: its graph, its twin in Python, and how they compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from comfy_server import ComfyServer
from dc_solver.demo import emoji, grids
from graphs import Bench, Result, batch_points, model_graph, save_input_latent
from twins import Twin, out_of_model

KINDS = ("eps", "flow")
CFG = 3.0


def twin_of(kind: str) -> Twin:
    if kind == "flow":
        return Twin("flow", emoji.flow_sigmas())
    return Twin("eps")


def bench(comfy: ComfyServer, kind: str, conditions: torch.Tensor, batch: int = 1) -> Bench:
    return Bench(comfy, model_graph(kind, conditions, comfy.inputs, batch))


def grid(twin: Twin, steps: int, scheduler: str = "simple") -> list[float]:
    return grids.make_sigmas(scheduler, twin.table, steps, flow=twin.flow).tolist()


def tail(twin: Twin, steps: int, denoise: float, scheduler: str = "simple") -> list[float]:
    """The sigmas of the stock KSampler at this denoise."""
    return grid(twin, int(steps / denoise), scheduler)[-(steps + 1) :]


def same(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert torch.isfinite(expected).all()
    size = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) < tolerance * size


def called_once_a_step(result: Result, sigmas: Sequence[float]) -> None:
    """One model call a step, each at the sigma that the step starts from."""
    assert result.called_at == pytest.approx(sigmas[:-1], rel=1e-4, abs=1e-6)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far ``a`` is from ``b``, relative to ``b``."""
    return float((a - b).norm() / b.norm())


def original(kind: str, seed: int = 77) -> torch.Tensor:
    """A finished latent to start from, in the model's scaling."""
    twin, points = twin_of(kind), batch_points(seed, 1)
    return twin.run(grid(twin, 12), points.noise, points.conditions)


def load(b: Bench, comfy: ComfyServer, latent: torch.Tensor) -> list[Any]:
    """A LoadLatent node for a latent in the model's scaling."""
    name = save_input_latent(comfy, "original", out_of_model(latent))
    return b.add("original", "LoadLatent", latent=name)


def half_mask(b: Bench, soft: float = 0.0) -> list[Any]:
    """A mask of 8 x 8 that is 1 on the right half and ``soft`` on the left."""
    left = b.add("mask_left", "SolidMask", value=soft, width=8, height=8)
    right = b.add("mask_right", "SolidMask", value=1.0, width=4, height=8)
    return b.add("mask", "MaskComposite", destination=left, source=right, x=4, y=0,
                 operation="add")  # fmt: skip
