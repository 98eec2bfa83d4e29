"""The recipe of the small models, the embedded ones and those of the benchmarks.

The emoji are those of an npm package: ``npm pack emoji-datasource-google@16.0.0`` (or
``-twitter``), unpack it, and then, for each kind, eps, v and flow:
``python -m dc_solver.demo.train FOLDER --data google --kind eps --output OUT``
The digits are scikit-learn's own and take no folder.  The embedded models are of the default depth
and take less than an hour each on one core; those of the benchmarks have depth 2.  ``--compile``
needs a C++ compiler and takes about a third of the time off.  Reading the emoji needs Pillow.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F
from tqdm.auto import trange

from .datasets import SETS, Codec, Images, read_images
from .emoji import SUBCATEGORY_AT, eps_sigmas
from .network import CONDITION, MMDiT

#: What a network can be trained to predict; "v" is neither embedded nor offered by the demo.
KINDS = ("eps", "v", "flow")

_BATCH = 64
_PEAK = 1.2e-3
_WARMUP = 200
_WEIGHT_DECAY = 0.01
_CLIP = 1.0
_EMA = 0.9995
_DROP_ALL = 0.1
_DROP_SUBCATEGORY = 0.15

_Network = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Training:
    """One run: what the model is to predict, how long, and the seed of all that is drawn."""

    kind: str
    steps: int
    seed: int
    depth: int = 3
    compiled: bool = False

    def run(self, latents: torch.Tensor, conditions: torch.Tensor) -> tuple[MMDiT, list[float]]:
        """The averaged network, and the loss of every step."""
        generator = torch.Generator().manual_seed(self.seed)
        network = _new_network(self.depth, generator)
        predict: _Network = torch.compile(network) if self.compiled else network
        average = copy.deepcopy(network).requires_grad_(False)
        optimizer = torch.optim.AdamW(network.parameters(), _PEAK, weight_decay=_WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        losses = []
        progress = trange(self.steps, desc=self.kind)
        for step in progress:
            drawn = torch.randint(len(latents), (_BATCH,), generator=generator)
            condition = _dropped(conditions[drawn], generator)
            loss = self._loss(predict, latents[drawn], condition, generator)
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
        network: _Network,
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
        alpha = (1.0 + ratio * ratio).rsqrt()
        predicted = network(alpha * (data + ratio * noise), t, condition)
        if self.kind == "v":
            return F.mse_loss(predicted, alpha * (noise - ratio * data))
        return F.mse_loss(predicted, noise)


def _new_network(depth: int, generator: torch.Generator) -> MMDiT:
    """A network that starts by predicting zero, every block of it an identity."""
    network = MMDiT(depth)
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        if "adaLN_modulation" in name or name == "final_layer.linear":
            nn.init.zeros_(module.weight)
        else:
            weight = module.weight.data.flatten(1)  # Xavier's; torch 2.1's takes no generator
            bound = math.sqrt(3.0) * math.sqrt(2.0 / sum(weight.shape))
            weight.uniform_(-bound, bound, generator=generator)
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


def save_all(
    output: Path, data: str, kind: str, network: MMDiT, codec: Codec, images: Images
) -> None:
    """Write the three files of a model, named as those in the package's data folder."""
    name = SETS[data]
    weights = {name: tensor.half() for name, tensor in network.state_dict().items()}
    conditions = {
        "categories": images.categories,
        "subcategories": images.subcategories,
        "emoji": images.listed(),
    }
    output.mkdir(parents=True, exist_ok=True)
    _write(output / f"{name}_codec.safetensors", _tensors(vars(codec)))
    text = json.dumps(conditions, separators=(",", ":"))
    _write(output / f"{name}_conditions.json", text.encode("utf-8"))
    _write(output / f"{name}_{kind}.safetensors", _tensors(weights))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train one of the small models.")
    parser.add_argument("folder", type=Path, nargs="?", help="the unpacked npm package")
    parser.add_argument("--data", choices=tuple(SETS), default="google")
    parser.add_argument("--kind", choices=KINDS, default="eps")
    parser.add_argument("--depth", type=int, default=3, help="blocks, each 64 wide (default: 3)")
    parser.add_argument("--steps", type=int, default=5500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--compile", action="store_true", help="train through torch.compile")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    options = parser.parse_args(arguments)
    if min(options.steps, options.threads, options.depth) < 1:
        parser.error("--steps, --threads and --depth: expected 1 or more.")
    if (options.folder is None) != (options.data == "digits"):
        parser.error("folder: expected the unpacked npm package for emoji, and none for digits.")
    torch.set_num_threads(options.threads)
    try:
        images = read_images(options.data, options.folder)
    except FileNotFoundError as error:
        parser.error(f"folder: no {error.filename}; expected the unpacked npm package.")
    codec = Codec.fit(images.pixels)
    training = Training(
        options.kind, options.steps, options.seed, options.depth, compiled=options.compile
    )
    network, losses = training.run(codec.encode(images.pixels), images.conditions())
    save_all(options.output, options.data, options.kind, network, codec, images)
    print(f"{len(images.rows)} images, loss {losses[0]:.4f} to {_recent(losses):.4f}")


if __name__ == "__main__":
    main()
