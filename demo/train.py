"""The recipe of the embedded emoji models.

``npm pack emoji-datasource-google@16.0.0``, unpack it, and then, for each kind, eps and flow:
``python -m dc_solver.demo.train FOLDER --kind eps --output OUT``
Each takes less than an hour on one core.  Needs Pillow to read the package's sheet.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional as F
from tqdm.auto import trange

from .emoji import DATA, KINDS, LATENT, SUBCATEGORY_AT, eps_sigmas
from .network import CHANNELS, CONDITION, MMDiT

_SIDE = 32
_BORDER = 1
_PATCH = 4

_BATCH = 64
_PEAK = 1.2e-3
_WARMUP = 200
_WEIGHT_DECAY = 0.01
_CLIP = 1.0
_EMA = 0.9995
_DROP_ALL = 0.1
_DROP_SUBCATEGORY = 0.15


@dataclass(frozen=True)
class Images:
    """Images (N, 3, 32, 32) in [-1, 1], and what each shows."""

    pixels: torch.Tensor
    rows: list[dict[str, str]]

    @property
    def categories(self) -> list[str]:
        return sorted({row["category"] for row in self.rows})

    @property
    def subcategories(self) -> list[str]:
        return sorted({row["subcategory"] for row in self.rows})

    def conditions(self) -> torch.Tensor:
        """The condition vectors (N, 128), as `emoji.Conditions` makes them."""
        conditions = torch.zeros(len(self.rows), CONDITION)
        for condition, row in zip(conditions, self.rows):
            condition[self.categories.index(row["category"])] = 1.0
            at = self.subcategories.index(row["subcategory"])
            condition[SUBCATEGORY_AT + at] = 1.0
        return conditions


def read_images(folder: Path) -> Images:
    """Every emoji of the package, and the lightest skin tone of those that have skin tones."""
    sheet = _on_white(folder / "img" / "google" / "sheets" / f"{_SIDE}.png")
    content = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    cells, rows = [], []
    for entry in content:
        first_tone = list(entry.get("skin_variations", {}).values())[:1]
        for variant in [entry, *first_tone]:
            if not variant["has_img_google"]:
                continue
            cells.append(_cell(sheet, variant))
            rows.append(
                {
                    "name": entry["short_name"],
                    "category": entry["category"],
                    "subcategory": entry["subcategory"],
                }
            )
    pixels = torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2).float()
    return Images(pixels / 255.0 * 2.0 - 1.0, rows)


def _on_white(path: Path) -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(path) as file:
        drawn = file.convert("RGBA")
    white = Image.new("RGBA", drawn.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, drawn).convert("RGB"))


def _cell(sheet: np.ndarray[Any, Any], entry: dict[str, Any]) -> np.ndarray[Any, Any]:
    pitch = _SIDE + 2 * _BORDER
    left = entry["sheet_x"] * pitch + _BORDER
    top = entry["sheet_y"] * pitch + _BORDER
    return sheet[top : top + _SIDE, left : left + _SIDE]


@dataclass(frozen=True)
class Codec:
    """A linear codec of patches: ``patch = (z * scale) @ basis + mean``."""

    basis: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def fit(cls, pixels: torch.Tensor) -> Codec:
        """The patches' principal components, each latent channel scaled to unit variance.

        A component's sign is arbitrary: it follows the embedded codec, which `emoji.decode` uses.
        """
        patches = _patches(pixels).flatten(0, 1).double()
        variances, vectors = torch.linalg.eigh(torch.cov(patches.T))
        basis = vectors.T.flip(0)[:CHANNELS]
        embedded = load_file(DATA / "emoji_codec.safetensors")["basis"].double()
        agrees = (basis * embedded).sum(dim=1, keepdim=True) >= 0.0
        basis = torch.where(agrees, basis, -basis)
        scale = variances.flip(0)[:CHANNELS].sqrt()
        return cls(basis.float(), patches.mean(dim=0).float(), scale.float())

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, 32, 32) in [-1, 1] as latents (N, 16, 8, 8)."""
        z = (_patches(pixels) - self.mean) @ self.basis.T / self.scale
        return z.transpose(1, 2).reshape(-1, *LATENT)


def _patches(pixels: torch.Tensor) -> torch.Tensor:
    """The images' patches, (N, 64, 48)."""
    return F.unfold(pixels, _PATCH, stride=_PATCH).transpose(1, 2)


@dataclass(frozen=True)
class Training:
    """One run: what the model is to predict, how long, and the seed of all that is drawn."""

    kind: str
    steps: int
    seed: int

    def run(self, latents: torch.Tensor, conditions: torch.Tensor) -> tuple[MMDiT, list[float]]:
        """The averaged network, and the loss of every step."""
        generator = torch.Generator().manual_seed(self.seed)
        network = _new_network(generator)
        average = copy.deepcopy(network).requires_grad_(False)
        optimizer = torch.optim.AdamW(network.parameters(), _PEAK, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        losses = []
        progress = trange(self.steps, desc=self.kind)
        for step in progress:
            drawn = torch.randint(len(latents), (_BATCH,), generator=generator)
            loss = self._loss(
                network, latents[drawn], _dropped(conditions[drawn], generator), generator
            )
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimizer.step()
            schedule.step()
            _update(average, network, step)
            losses.append(loss.item())
            if step % 10 == 9:
                progress.set_postfix(loss=f"{_recent(losses):.4f}")
        return average, losses

    def _rate(self, step: int) -> float:
        """A short linear warm-up, then a cosine to zero; as a part of the peak."""
        warmup = min(_WARMUP, self.steps // 10)
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / max(self.steps - warmup, 1))

    def _loss(
        self,
        network: MMDiT,
        data: torch.Tensor,
        condition: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        noise = torch.randn(data.shape, generator=generator)
        if self.kind == "flow":
            sigma = torch.rand(len(data), generator=generator)
            mix = sigma.view(-1, 1, 1, 1)
            velocity = network((1.0 - mix) * data + mix * noise, 1000.0 * sigma, condition)
            return F.mse_loss(velocity, noise - data)
        table = eps_sigmas()
        t = torch.randint(len(table), (len(data),), generator=generator)
        ratio = table[t].view(-1, 1, 1, 1)
        noisy = (data + ratio * noise) / (1.0 + ratio * ratio).sqrt()
        return F.mse_loss(network(noisy, t, condition), noise)


def _new_network(generator: torch.Generator) -> MMDiT:
    """A network that starts by predicting zero, every block of it an identity."""
    network = MMDiT()
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        if "adaLN_modulation" in name or name == "final_layer.linear":
            nn.init.zeros_(module.weight)
        else:
            nn.init.xavier_uniform_(module.weight.data.flatten(1), generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return network


def _dropped(conditions: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The conditions, some of them without the subcategory and some of them all zeros."""
    draw = torch.rand(len(conditions), 1, generator=generator)
    subcategory = torch.arange(CONDITION) >= SUBCATEGORY_AT
    lost = (draw < _DROP_ALL) | ((draw < _DROP_ALL + _DROP_SUBCATEGORY) & subcategory)
    return conditions.masked_fill(lost, 0.0)


@torch.no_grad()
def _update(average: MMDiT, network: MMDiT, step: int) -> None:
    """Move the average on; its decay rises to `_EMA`, so that the start is soon forgotten."""
    decay = min(_EMA, (1 + step) / (10 + step))
    for averaged, parameter in zip(average.parameters(), network.parameters()):
        averaged.lerp_(parameter, 1.0 - decay)


def _recent(losses: Sequence[float]) -> float:
    return sum(losses[-100:]) / len(losses[-100:])


def _tensors(tensors: dict[str, torch.Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def _write(target: Path, content: bytes) -> None:
    """Write beside the target, then take its place."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def save_all(output: Path, kind: str, network: MMDiT, codec: Codec, images: Images) -> None:
    """Write the three files of a model, as they are in the package's data folder."""
    weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    conditions = {
        "categories": images.categories,
        "subcategories": images.subcategories,
        "emoji": images.rows,
    }
    output.mkdir(parents=True, exist_ok=True)
    _write(output / "emoji_codec.safetensors", _tensors(vars(codec)))
    text = json.dumps(conditions, separators=(",", ":"))
    _write(output / "emoji_conditions.json", text.encode("utf-8"))
    _write(output / f"emoji_{kind}.safetensors", _tensors(weights))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train one of the demo's emoji models.")
    parser.add_argument("folder", type=Path, help="the unpacked emoji-datasource-google 16.0.0")
    parser.add_argument("--kind", choices=KINDS, default="eps")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.threads < 1:
        parser.error("--steps and --threads: expected 1 or more.")
    torch.set_num_threads(options.threads)
    try:
        images = read_images(options.folder)
    except FileNotFoundError as error:
        parser.error(f"folder: no {error.filename}; expected the unpacked npm package.")
    codec = Codec.fit(images.pixels)
    training = Training(options.kind, options.steps, options.seed)
    network, losses = training.run(codec.encode(images.pixels), images.conditions())
    save_all(options.output, options.kind, network, codec, images)
    print(f"{len(images.rows)} emoji, loss {losses[0]:.4f} to {_recent(losses):.4f}")


if __name__ == "__main__":
    main()
