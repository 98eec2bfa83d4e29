"""The trained models that solvers are measured on: the embedded two and those of ``models/``.

    python benchmarks/models.py FOLDER [NAME ...]

writes ``FOLDER/NAME.png`` for each model: 16 points at CFG 1, 3 and 6, a row each, in 20 steps of
UniPC-2; and prints how long a call of 64 points with guidance takes on one thread.
"""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import load_pack  # noqa: F401
import torch
from dc_solver.demo import emoji
from dc_solver.demo.experiment import Experiment
from dc_solver.demo.network import CONDITION
from dc_solver.solvers import sample
from PIL import Image

FOLDER = Path(__file__).resolve().parent / "models"
#: Each model by its name: its data, and what it predicts.
NAMES = (
    "emoji_eps",
    "emoji_flow",
    "emoji_v",
    "twemoji_eps",
    "twemoji_flow",
    "digits_eps",
    "digits_flow",
)
_CALL = 64


def load(name: str, fast: bool = False) -> emoji.Emoji:
    """The model of this name.

    ``fast`` compiles it, which takes a minute or two the first time and some 20 s in every process
    after it; where there is no working compiler it warns and returns the model as it is.  A call
    then takes two thirds of the time, and its results differ in float32's last digits.
    """
    data, kind = _parts(name)
    embedded = data == "emoji" and kind in emoji.KINDS
    model = emoji.read((emoji.DATA if embedded else FOLDER) / f"{name}.safetensors", kind)
    return _compiled(model) if fast else model


def points(name: str, seeds: Sequence[int]) -> emoji.Points:
    """A data point for each seed: its noise, and a condition of the model's data."""
    data, _ = _parts(name)
    if data == "digits":
        return emoji.points(seeds, emoji.Conditions(FOLDER / "digits_conditions.json"))
    return emoji.points(seeds)  # both sets of emoji draw the same list


def decode(name: str, latents: torch.Tensor) -> torch.Tensor:
    """Latents (B, 16, 8, 8) as images (B, 32, 32, 3) in [0, 1]."""
    data, _ = _parts(name)
    embedded = data == "emoji"
    return emoji.decode(latents, emoji.CODEC if embedded else FOLDER / f"{data}_codec.safetensors")


def _parts(name: str) -> tuple[str, str]:
    if name not in NAMES:
        raise ValueError(f"model: expected one of {', '.join(NAMES)}, got {name!r}.")
    data, kind = name.split("_")
    return data, kind


def _compiled(model: emoji.Emoji) -> emoji.Emoji:
    """The model with its network compiled for any number of points, the weights as constants."""
    noise, condition = torch.zeros(2, *emoji.LATENT), torch.zeros(2, CONDITION)
    try:
        network = torch.compile(model.network, dynamic=True, options={"freezing": True})
        compiled = dataclasses.replace(model, network=network)
        compiled.denoiser(1.0)(noise, torch.ones(2), condition)
    except Exception as error:  # whatever a compiler may fail with
        warnings.warn(f"the model is not compiled, and slower: {error}", stacklevel=3)
        return model
    return compiled


def draw(name: str, model: emoji.Emoji, cfgs: Sequence[float]) -> Image.Image:
    """16 points in a row, a row for each guidance scale."""
    data = points(name, range(16))
    rows = []
    for cfg in cfgs:
        sigmas = Experiment(model, cfg, "simple").sigmas(20)
        latents = sample(
            model.denoiser(cfg), model.start(data.noise, float(sigmas[0])), sigmas,
            solver="unipc", schedule=model.schedule,
            extra_args={"condition": data.conditions}, disable=True,
        )  # fmt: skip
        rows.append(torch.cat(list(decode(name, latents)), dim=1))
    pixels = torch.cat(rows).mul(255.0).round().byte().numpy()
    image = Image.fromarray(pixels)
    return image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST)


def seconds_a_call(name: str, model: emoji.Emoji) -> float:
    """The shortest of five calls of 64 points with guidance; processor time, not the clock's."""
    data, denoiser, times = points(name, range(_CALL)), model.denoiser(3.0), []
    sigma = torch.full((_CALL,), float(model.sigmas[-1]))
    for _ in range(6):
        before = time.process_time()
        denoiser(model.start(data.noise, float(sigma[0])), sigma, data.conditions)
        times.append(time.process_time() - before)
    return min(times[1:])


def main() -> None:
    torch.set_num_threads(1)
    folder, names = Path(sys.argv[1]), sys.argv[2:] or NAMES
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        model = load(name)
        draw(name, model, (1.0, 3.0, 6.0)).save(folder / f"{name}.png")
        print(
            f"{name:13}  {seconds_a_call(name, model):.3f} s a call of {_CALL} points", flush=True
        )


if __name__ == "__main__":
    main()
