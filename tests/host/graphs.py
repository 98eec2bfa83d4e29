"""Graphs of the emoji models in ComfyUI's API format."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from dc_solver.demo import emoji
from safetensors.torch import load_file, save_file

Graph = dict[str, dict[str, Any]]

CALIBRATION = {
    "first_seed": 1000, "seeds": 10, "check_seeds": 6, "batch_size": 16, "reference_steps": 64,
    "dc_order": 2, "variable": "t", "order": 2, "variant": "bh2", "lower_order": "automatic",
}  # fmt: skip


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def model_graph(kind: str, conditions: torch.Tensor, inputs_folder: Path, batch: int = 1) -> Graph:
    """Nodes ``model``, ``prompts`` (0 positive, 1 negative) and ``latent``.

    ``kind`` is "eps", "flow", or "v" (the eps weights read as v: nonsense, but a v model).
    """
    digest = hashlib.sha256(conditions.numpy().tobytes()).hexdigest()[:8]
    file = inputs_folder / f"conditions_{digest}.safetensors"
    save_file({"conditions": conditions.contiguous()}, file)
    weights = "emoji_flow" if kind == "flow" else "emoji_eps"
    graph = {
        "load": node("UNETLoader", unet_name=f"{weights}.safetensors", weight_dtype="default"),
        "prompts": node("EmojiConditions", file=file.name),
        "latent": node("EmptySD3LatentImage", width=64, height=64, batch_size=batch),
    }
    if kind == "flow":
        graph["model"] = node("ModelSamplingSD3", model=["load", 0], shift=3.0)
    else:
        sampling = {"eps": "eps", "v": "v_prediction"}[kind]
        graph["model"] = node(
            "ModelSamplingDiscrete", model=["load", 0], sampling=sampling, zsnr=False
        )
    return graph


def inputs() -> dict[str, Any]:
    """The links that every sampling or calibrating node takes."""
    return {
        "model": ["model", 0],
        "positive": ["prompts", 0],
        "negative": ["prompts", 1],
        "latent_image": ["latent", 0],
    }


def saved_latent(folder: Path, shown: dict[str, Any]) -> torch.Tensor:
    """The latent that a SaveLatent node wrote, in the model's own scaling."""
    entry = shown["latents"][0]
    path = folder / "output" / entry["subfolder"] / entry["filename"]
    latent = load_file(path)["latent_tensor"].float()
    return (latent - 0.0609) * 1.5305


def batch_points(seed: int, count: int) -> emoji.Points:
    """What the stock KSampler draws for a batch of one seed, with conditions for it."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, *emoji.LATENT, generator=generator)
    return emoji.Points(noise, emoji.points(range(seed, seed + count)).conditions)
