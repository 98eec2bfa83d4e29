"""The recipe of the small models, what each kind predicts, and the models of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path

import models
import numpy as np
import pytest
import torch
from dc_solver.demo import datasets, emoji, grids, train
from dc_solver.demo.network import CONDITION
from dc_solver.solvers import sample
from PIL import Image
from torch import nn

MEAN, SPREAD = 0.7, 1.3


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Exact(nn.Module):
    """Predicts exactly what a model of this kind should of normally distributed data."""

    def __init__(self, kind: str, spread: float) -> None:
        super().__init__()
        self.kind, self.spread = kind, spread

    def denoised(self, x: torch.Tensor, signal: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The mean of the data, given ``x = signal * data + noise * normal``."""
        variance = self.spread**2
        gain = signal * variance / (signal**2 * variance + noise**2)
        return MEAN + gain * (x - signal * MEAN)

    def forward(self, x: torch.Tensor, t: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        if self.kind == "flow":
            sigma = t.view(-1, 1, 1, 1).double() / 1000.0
            return (x - self.denoised(x, 1.0 - sigma, sigma)) / sigma
        sigma = emoji.eps_sigmas().double()[t].view(-1, 1, 1, 1)
        alpha = (1.0 + sigma**2).rsqrt()
        data = self.denoised(x, alpha, alpha * sigma)
        normal = (x - alpha * data) / (alpha * sigma)
        return alpha * normal - alpha * sigma * data if self.kind == "v" else normal


def exact_model(kind: str, spread: float = SPREAD) -> emoji.Emoji:
    table = emoji.flow_sigmas() if kind == "flow" else emoji.eps_sigmas()
    return emoji.Emoji(kind, Exact(kind, spread), table)


@pytest.mark.parametrize("kind", train.KINDS)
def test_an_exact_network_denoises_exactly(kind: str) -> None:
    model = exact_model(kind)
    sigma = model.sigmas[[5, 100, 400, 700, 950]]
    shaped = sigma.view(-1, 1, 1, 1).double()
    signal = 1.0 - shaped if kind == "flow" else torch.ones_like(shaped)
    x = 3.0 * shaped * torch.randn(5, *emoji.LATENT, generator=seeded(3))
    expected = Exact(kind, SPREAD).denoised(x, signal, shaped)
    denoised = model.denoiser(1.0)(x, sigma, torch.zeros(5, CONDITION))
    torch.testing.assert_close(denoised, expected, rtol=1e-4, atol=2e-4)


def test_v_is_turned_as_comfyui_turns_it() -> None:
    """ComfyUI's V_PREDICTION, in its own terms."""
    model = exact_model("v")
    t = torch.tensor([3, 300, 900])
    x = torch.randn(3, *emoji.LATENT, generator=seeded(4)) * 5.0
    sigma = model.sigmas[t].view(-1, 1, 1, 1)
    v = model.network((x / (sigma**2 + 1.0) ** 0.5), t, torch.zeros(3, CONDITION))
    expected = x / (sigma**2 + 1.0) - v * sigma / (sigma**2 + 1.0) ** 0.5
    denoised = model.denoiser(1.0)(x, model.sigmas[t], torch.zeros(3, CONDITION))
    torch.testing.assert_close(denoised, expected.float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", train.KINDS)
def test_training_asks_for_what_the_model_is_read_as(kind: str) -> None:
    """Of a single image everything is known, so that a perfect network has no loss."""
    training = train.Training(kind, steps=1, seed=0)
    perfect = Exact(kind, spread=0.0)
    data, none = torch.full((64, *emoji.LATENT), MEAN), torch.zeros(64, CONDITION)
    generator = seeded(6)
    loss = training._loss(lambda x, t, c: perfect(x.double(), t, c), data, none, generator)
    assert float(loss) < 1e-6


def package(folder: Path, maker: str) -> Path:
    """A package of four emoji, laid out as the npm packages are; one is not of this maker."""
    sheets = folder / "img" / maker / "sheets"
    sheets.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (68, 68, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(sheets / "32.png")
    entries = [
        {
            "short_name": f"name {i}", "category": "AB"[i % 2], "subcategory": f"sub {i}",
            "sheet_x": i // 2, "sheet_y": i % 2, f"has_img_{maker}": i < 3,
        }
        for i in range(4)
    ]  # fmt: skip
    (folder / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    return folder


def test_a_few_steps_write_a_model_that_can_be_read(tmp_path: Path) -> None:
    folder, out = package(tmp_path / "package", "twitter"), tmp_path / "out"
    arguments = ["--data", "twitter", "--kind", "v", "--depth", "2", "--steps", "3"]
    train.main([str(folder), *arguments, "--output", str(out)])
    model = emoji.read(out / "twemoji_v.safetensors", "v")
    conditions = emoji.Conditions(out / "twemoji_conditions.json")
    assert [row["name"] for row in conditions.emoji] == ["name 0", "name 1", "name 2"]
    data = emoji.points(range(4), conditions)
    assert set(data.conditions.nonzero()[:, 1].tolist()) <= {0, 1, 16, 17, 18}
    denoised = model.denoiser(2.0)(3.0 * data.noise, torch.full((4,), 3.0), data.conditions)
    assert bool(denoised.isfinite().all())
    assert emoji.decode(denoised, out / "twemoji_codec.safetensors").shape == (4, 32, 32, 3)


def test_training_is_the_same_for_the_same_seed() -> None:
    latents = torch.randn(6, *emoji.LATENT, generator=seeded(8))
    runs = [train.Training("v", 2, seed, 1).run(latents, torch.zeros(6, CONDITION))[1]
            for seed in (0, 0, 1)]  # fmt: skip
    assert runs[0] == runs[1] != runs[2]


def test_training_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", str(tmp_path)]
    for arguments, message in (
        (["--data", "twitter"], "expected the unpacked npm package for emoji"),
        ([str(tmp_path), "--data", "digits"], "none for digits"),
        ([str(tmp_path / "none")], "expected the unpacked npm package."),
        ([str(tmp_path), "--depth", "0"], "expected 1 or more"),
    ):
        with pytest.raises(SystemExit):
            train.main([*arguments, *output])
        assert message in capsys.readouterr().err


def test_the_digits_are_images_with_a_full_set_of_latents() -> None:
    pytest.importorskip("sklearn")
    images = datasets.read_images("digits", None)
    assert images.pixels.shape == (1797, 3, 32, 32) and float(images.pixels.abs().max()) <= 1.0
    assert images.categories == [row["name"] for row in images.listed()] == list("0123456789")
    assert torch.equal(images.conditions().sum(dim=1), torch.ones(1797))
    codec = datasets.Codec.fit(images.pixels)
    latents = codec.encode(images.pixels)
    spread = latents.std(dim=(0, 2, 3))
    torch.testing.assert_close(spread, torch.ones(16), rtol=1e-2, atol=0.0)
    _, losses = train.Training("flow", 2, 0, 1).run(latents, images.conditions())
    assert all(0.1 < loss < 10.0 for loss in losses)


@pytest.mark.parametrize("name", models.NAMES)
def test_a_model_predicts_what_it_was_trained_to(name: str) -> None:
    """The denoised latent is nearer to the clean one than the noisy one, scaled, is."""
    model = models.load(name)
    data = models.points(name, range(8))
    flow = model.kind == "flow"
    sigmas = grids.make_sigmas("beta", model.sigmas, 30, flow=flow)
    clean = sample(
        model.denoiser(2.0), model.start(data.noise, float(sigmas[0])), sigmas,
        schedule=model.schedule, extra_args={"condition": data.conditions}, disable=True,
    )  # fmt: skip
    errors = []
    for sigma in (0.15, 0.6):
        signal = 1.0 - sigma if flow else 1.0
        noisy = signal * clean + sigma * torch.randn(clean.shape, generator=seeded(5))
        denoised = model.denoiser(1.0)(noisy, torch.full((8,), sigma), data.conditions)
        errors.append(float((denoised - clean).square().mean() / (sigma / signal) ** 2))
    assert max(errors) < 0.75
    images = models.decode(name, clean)
    assert images.shape == (8, 32, 32, 3) and float(images.std()) > 0.1


def test_an_unknown_model_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"expected one of emoji_eps, .*, got 'emoji'"):
        models.load("emoji")


def test_a_model_that_cannot_be_compiled_is_used_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.warns(UserWarning, match="not compiled, and slower: no compiler"):
        model = models.load("emoji_v", fast=True)
    plain = models.load("emoji_v")
    assert model.network.state_dict().keys() == plain.network.state_dict().keys()
