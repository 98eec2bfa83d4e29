"""The embedded models: class-conditional emoji generators, in eps and flow.

Models of the same form from other files serve as well, and may predict v.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ..solvers import FlowSchedule, Schedule, VPSchedule, discrete_time
from .network import CHANNELS, CONDITION, MMDiT

DATA = Path(__file__).parent / "data"
CODEC = DATA / "emoji_codec.safetensors"
#: What the embedded models predict; `read` knows "v" too.
KINDS = ("eps", "flow")
LATENT = (CHANNELS, 8, 8)
SUBCATEGORY_AT = 16
_SHIFT = 3.0


@dataclass(frozen=True)
class Emoji:
    """A model that predicts eps, v or flow, with its schedule and training sigmas (ascending)."""

    kind: str
    network: nn.Module
    sigmas: torch.Tensor

    @cached_property
    def schedule(self) -> Schedule:
        if self.kind == "flow":
            return FlowSchedule()
        return VPSchedule(discrete_time(self.sigmas.tolist()))

    def start(self, noise: torch.Tensor, sigma: float) -> torch.Tensor:
        """The state that a host starts from at the schedule's largest sigma."""
        if self.kind == "flow":
            return noise * sigma
        return noise * (1.0 + sigma * sigma) ** 0.5

    def denoiser(self, cfg: float) -> Denoiser:
        """The guided model, called as ``model(x, sigma, condition=(B, 128))``."""
        return Denoiser(self, cfg)


class Denoiser:
    """Classifier-free guidance over a model; counts its calls."""

    def __init__(self, emoji: Emoji, cfg: float) -> None:
        self.emoji = emoji
        self.cfg = cfg
        self.calls = 0

    @torch.no_grad()
    def __call__(
        self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        self.calls += 1
        both = torch.cat([condition, torch.zeros_like(condition)])
        conditional, unconditional = self._predict(
            torch.cat([x, x]).float(), torch.cat([sigma, sigma]).float(), both
        ).chunk(2)
        return (unconditional + self.cfg * (conditional - unconditional)).to(x.dtype)

    def _predict(
        self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        shaped = sigma.view(-1, 1, 1, 1)
        if self.emoji.kind == "flow":
            return x - shaped * self.emoji.network(x, 1000.0 * sigma, condition)
        table = self.emoji.sigmas.log()
        t = (sigma.log()[:, None] - table).abs().argmin(dim=1)
        norm = (1.0 + shaped * shaped).sqrt()  # of noisy data of unit variance
        predicted = self.emoji.network(x / norm, t, condition)
        if self.emoji.kind == "v":
            return (x / norm - shaped * predicted) / norm
        return x - shaped * predicted


def load(kind: str = "eps") -> Emoji:
    """The embedded model of this kind, "eps" or "flow", in float32 on the CPU."""
    if kind not in KINDS:
        raise ValueError(f"model: expected one of {', '.join(KINDS)}, got {kind!r}.")
    return read(DATA / f"emoji_{kind}.safetensors", kind)


def read(path: Path, kind: str) -> Emoji:
    """The model of a file of weights, which predicts eps, v or flow, in float32 on the CPU."""
    weights = load_file(path)
    depth = len({name.split(".")[1] for name in weights if name.startswith("joint_blocks.")})
    network = MMDiT(depth)
    network.load_state_dict(weights)
    network.eval().requires_grad_(False)
    return Emoji(kind, network, flow_sigmas() if kind == "flow" else eps_sigmas())


def eps_sigmas() -> torch.Tensor:
    """Stable Diffusion's 1000 sigmas: betas whose roots run evenly from 0.00085 to 0.012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1.0 - betas, dim=0)
    return ((1.0 - kept) / kept).sqrt().float()


def flow_sigmas() -> torch.Tensor:
    t = torch.arange(1, 1001) / 1000
    return _SHIFT * t / (1.0 + (_SHIFT - 1.0) * t)


class Conditions:
    """The condition vectors of the emoji, or other images, that models were trained on."""

    def __init__(self, path: Path = DATA / "emoji_conditions.json") -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        self._categories: dict[str, int] = {n: i for i, n in enumerate(content["categories"])}
        self._subcategories: dict[str, int] = {n: i for i, n in enumerate(content["subcategories"])}
        self.emoji: list[dict[str, str]] = content["emoji"]

    def vector(self, category: str, subcategory: str | None = None) -> torch.Tensor:
        """The condition (128,) of a category and, where given, a subcategory."""
        vector = torch.zeros(CONDITION)
        vector[self._categories[category]] = 1.0
        if subcategory is not None:
            vector[SUBCATEGORY_AT + self._subcategories[subcategory]] = 1.0
        return vector

    def of(self, indices: Sequence[int]) -> torch.Tensor:
        """The conditions (B, 128) of these emoji."""
        rows = (self.emoji[i % len(self.emoji)] for i in indices)
        return torch.stack([self.vector(row["category"], row.get("subcategory")) for row in rows])


@dataclass(frozen=True)
class Points:
    """Noise (B, 16, 8, 8) and conditions (B, 128), one of each a seed."""

    noise: torch.Tensor
    conditions: torch.Tensor


def points(seeds: Sequence[int], conditions: Conditions | None = None) -> Points:
    """A data point for each seed: its noise, and an emoji drawn with the same seed."""
    conditions = conditions or Conditions()
    noise, indices = [], []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        noise.append(torch.randn(1, *LATENT, generator=generator))
        draw = torch.randint(len(conditions.emoji), (1,), generator=generator)
        indices.append(int(draw))
    return Points(torch.cat(noise), conditions.of(indices))


def decode(latents: torch.Tensor, path: Path = CODEC) -> torch.Tensor:
    """Latents (B, 16, 8, 8) as images (B, 32, 32, 3) in [0, 1], by the linear codec."""
    codec = load_file(path)
    z = latents.detach().cpu().float().flatten(2).transpose(1, 2)
    patches = (z * codec["scale"]) @ codec["basis"] + codec["mean"]
    images = torch.nn.functional.fold(patches.transpose(1, 2), (32, 32), 4, stride=4)
    return images.permute(0, 2, 3, 1).add(1.0).div(2.0).clamp(0.0, 1.0)
