"""Graphs of the emoji models in ComfyUI's API format."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from comfy_server import ComfyServer
from dc_solver.demo import emoji
from safetensors.torch import load_file, save_file

Graph = dict[str, dict[str, Any]]

CALIBRATION = {
    "first_seed": 1000, "seeds": 10, "check_seeds": 6, "batch_size": 16, "reference_steps": 0,
    "dc_order": 2, "variable": "t", "order": 2, "variant": "bh2", "lower_order": "automatic",
}  # fmt: skip


def node(kind: str, /, **inputs: Any) -> dict[str, Any]:
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


@dataclass(frozen=True)
class Result:
    """What a sampler gave out: its latents as the host hands them on, and its calls' sigmas."""

    parts: tuple[torch.Tensor, ...]
    called_at: tuple[float, ...]

    @property
    def raw(self) -> torch.Tensor:
        return self.parts[0]

    @property
    def latent(self) -> torch.Tensor:
        """In the scaling of SD3's model."""
        return (self.raw - 0.0609) * 1.5305

    @property
    def calls(self) -> int:
        return len(self.called_at)


class Bench:
    """A graph of samplers whose latents and model calls are read back."""

    def __init__(self, comfy: ComfyServer, graph: Graph) -> None:
        self._comfy = comfy
        self.graph = graph
        self._names: dict[str, str] = {}
        self.shown: dict[str, Any] = {}

    def add(self, key: str, kind: str, /, **settings: Any) -> list[Any]:
        """A node; the link to its first output."""
        self.graph[key] = node(kind, **settings)
        return [key, 0]

    def counted(self, key: str, model: Any = None) -> list[Any]:
        """A model whose calls :meth:`result` of the same key shows."""
        self._names[key] = f"{key} {uuid.uuid4().hex}"
        source = model or ["model", 0]
        return self.add(f"{key}_model", "UsesCount", model=source, name=self._names[key])

    def result(self, key: str, latent: Any) -> None:
        name = self._names.get(key, uuid.uuid4().hex)
        self.add(f"{key}_result", "UsesResult", samples=latent, name=name)

    def ksampler(
        self, key: str, model: Any = None, counted: bool = True, **settings: Any
    ) -> list[Any]:
        """The stock KSampler; the link to its latent."""
        usual = {
            **inputs(), "seed": 0, "steps": 6, "cfg": 3.0, "sampler_name": "dc_solver",
            "scheduler": "simple", "denoise": 1.0,
        }  # fmt: skip
        source = self.counted(key, model) if counted else model or ["model", 0]
        link = self.add(key, "KSampler", **usual | settings | {"model": source})
        self.result(key, link)
        return link

    def advanced(
        self, key: str, model: Any = None, counted: bool = True, **settings: Any
    ) -> list[Any]:
        """The stock KSampler (Advanced)."""
        usual = {
            **inputs(), "add_noise": "enable", "noise_seed": 0, "steps": 10, "cfg": 3.0,
            "sampler_name": "dc_solver", "scheduler": "simple", "start_at_step": 0,
            "end_at_step": 10000, "return_with_leftover_noise": "disable",
        }  # fmt: skip
        source = self.counted(key, model) if counted else model or ["model", 0]
        link = self.add(key, "KSamplerAdvanced", **usual | settings | {"model": source})
        self.result(key, link)
        return link

    def custom(self, key: str, sigmas: Any, model: Any = None, **settings: Any) -> list[Any]:
        """SamplerCustom with our sampler node, or the one given."""
        if "sampler" not in settings:
            usual = {"order": 2, "variant": "bh2", "lower_order": "automatic"}
            settings["sampler"] = self.add(f"{key}_sampler", "DCSolverSampler", **usual)
        usual = {**inputs(), "add_noise": True, "noise_seed": 0, "cfg": 3.0, "sigmas": sigmas}
        link = self.add(
            key, "SamplerCustom", **usual | settings | {"model": self.counted(key, model)}
        )
        self.result(key, link)
        return link

    def guided(self, key: str, guider: Any, sigmas: Any, **settings: Any) -> list[Any]:
        """SamplerCustomAdvanced; count with :meth:`counted` in the guider's model."""
        usual = {
            "noise": self.add(f"{key}_noise", "RandomNoise", noise_seed=0),
            "sampler": self.add(f"{key}_sampler", "KSamplerSelect", sampler_name="dc_solver"),
            "latent_image": ["latent", 0],
        }
        link = self.add(
            key, "SamplerCustomAdvanced", **usual | settings | {"guider": guider, "sigmas": sigmas}
        )
        self.result(key, link)
        return link

    def run(self) -> dict[str, Result]:
        return self.read(self._comfy.run(self.graph))

    def read(self, shown: dict[str, Any]) -> dict[str, Result]:
        """The results in what the output nodes of this graph showed."""
        self.shown = shown
        found = {}
        for key, shown in self.shown.items():
            if key.endswith("_result"):
                tensors = load_file(self._comfy.folder / "output" / shown["file"][0])
                parts = tuple(tensors[name].float() for name in sorted(tensors))
                found[key.removesuffix("_result")] = Result(parts, tuple(shown["sigmas"]))
        return found


def save_input_latent(comfy: ComfyServer, name: str, latent: torch.Tensor) -> str:
    """A latent (as the host hands it on) for LoadLatent; its file name."""
    tensors = {"latent_tensor": latent.contiguous(), "latent_format_version_0": torch.zeros(0)}
    save_file(tensors, comfy.inputs / f"{name}.latent")
    return f"{name}.latent"
