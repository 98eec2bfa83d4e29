"""Every use of a sampler, what the model predicts: each sampling, distilled models, a LoRA."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy_server import ComfyServer
from dc_solver.demo import emoji
from graphs import batch_points
from safetensors.torch import save_file
from twins import Twin, zero_snr
from uses import KINDS, bench, called_once_a_step, distance, grid, same, twin_of


def flow_table(shift: float) -> torch.Tensor:
    t = torch.arange(1, 1001) / 1000
    return shift * t / (1.0 + (shift - 1.0) * t)


def flux_table(size: int) -> torch.Tensor:
    """Flux's shift grows with the number of image tokens, (size / 16) ** 2."""
    mu = 0.5 + (1.15 - 0.5) * (size * size / 256 - 256) / (4096 - 256)
    t = torch.arange(1, 10001) / 10000
    return math.exp(mu) / (math.exp(mu) + (1.0 / t - 1.0))


def edm_table(low: float, high: float) -> torch.Tensor:
    return torch.linspace(math.log(low), math.log(high), 1000).exp()


def lcm_table() -> torch.Tensor:
    return emoji.eps_sigmas()[19::20]


def lcm_time(sigma: torch.Tensor) -> torch.Tensor:
    return 20 * (sigma.log()[:, None] - lcm_table().log()).abs().argmin(dim=1) + 19


def quarter_log(sigma: torch.Tensor) -> torch.Tensor:
    return 0.25 * sigma.log()


def angle(sigma: torch.Tensor) -> torch.Tensor:
    return sigma.atan() / math.pi * 2.0


def itself(sigma: torch.Tensor) -> torch.Tensor:
    return sigma


SAMPLINGS: dict[str, tuple[str, dict[str, Any], Callable[[], Twin]]] = {
    "eps": (
        "ModelSamplingDiscrete", {"sampling": "eps", "zsnr": False}, lambda: Twin("eps")),
    "v": (
        "ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": False}, lambda: Twin("v")),
    "x0": (
        "ModelSamplingDiscrete", {"sampling": "x0", "zsnr": False}, lambda: Twin("x0")),
    "lcm": (
        "ModelSamplingDiscrete", {"sampling": "lcm", "zsnr": False},
        lambda: Twin("lcm", lcm_table(), lcm_time)),
    "eps zsnr": (
        "ModelSamplingDiscrete", {"sampling": "eps", "zsnr": True},
        lambda: Twin("eps", zero_snr(emoji.eps_sigmas()))),
    "v zsnr": (
        "ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": True},
        lambda: Twin("v", zero_snr(emoji.eps_sigmas()))),
    "x0 zsnr": (
        "ModelSamplingDiscrete", {"sampling": "x0", "zsnr": True},
        lambda: Twin("x0", zero_snr(emoji.eps_sigmas()))),
    "edm": (
        "ModelSamplingContinuousEDM", {"sampling": "edm", "sigma_max": 80.0, "sigma_min": 0.02},
        lambda: Twin("edm", edm_table(0.02, 80.0), quarter_log, data=0.5)),
    "edm v": (
        "ModelSamplingContinuousEDM",
        {"sampling": "v_prediction", "sigma_max": 120.0, "sigma_min": 0.02},
        lambda: Twin("v", edm_table(0.02, 120.0), quarter_log)),
    "edm eps": (
        "ModelSamplingContinuousEDM", {"sampling": "eps", "sigma_max": 20.0, "sigma_min": 0.02},
        lambda: Twin("eps", edm_table(0.02, 20.0), quarter_log)),
    "cosmos": (
        "ModelSamplingContinuousEDM",
        {"sampling": "cosmos_rflow", "sigma_max": 80.0, "sigma_min": 0.02},
        lambda: Twin("cosmos", edm_table(0.02, 80.0), lambda sigma: sigma / (1.0 + sigma))),
    "continuous v": (
        "ModelSamplingContinuousV",
        {"sampling": "v_prediction", "sigma_max": 500.0, "sigma_min": 0.03},
        lambda: Twin("v", edm_table(0.03, 500.0), angle)),
    "shift 1": ("ModelSamplingSD3", {"shift": 1.0}, lambda: Twin("flow", flow_table(1.0))),
    "shift 6": ("ModelSamplingSD3", {"shift": 6.0}, lambda: Twin("flow", flow_table(6.0))),
    "aura": (
        "ModelSamplingAuraFlow", {"shift": 1.73},
        lambda: Twin("flow", flow_table(1.73), itself)),
    "flux 512": (
        "ModelSamplingFlux",
        {"max_shift": 1.15, "base_shift": 0.5, "width": 512, "height": 512},
        lambda: Twin("flow", flux_table(512), itself)),
    "flux 1024": (
        "ModelSamplingFlux",
        {"max_shift": 1.15, "base_shift": 0.5, "width": 1024, "height": 1024},
        lambda: Twin("flow", flux_table(1024), itself)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_sampling(comfy: ComfyServer, kind: str) -> None:
    """The same weights read as each kind of model: nonsense images, but exact wiring."""
    points = batch_points(18, 1)
    b = bench(comfy, kind, points.conditions)
    twins = {}
    for name, (node, settings, make) in SAMPLINGS.items():
        twin = make()
        if twin.flow == (kind == "flow"):
            twins[name] = twin
            model = b.add(f"{name} sampling", node, model=["load", 0], **settings)
            b.ksampler(name, model=model, seed=18, steps=6)
            b.ksampler(f"{name} part", model=model, seed=18, steps=3, denoise=0.5)
    found = b.run()
    for name, twin in twins.items():
        sigmas = grid(twin, 6)
        run = (points.noise, points.conditions)
        called_once_a_step(found[name], sigmas)
        same(found[name].latent, twin.run(sigmas, *run))
        called_once_a_step(found[f"{name} part"], sigmas[3:])
        same(found[f"{name} part"].latent, twin.run(sigmas[3:], *run))


def test_distilled_models_at_guidance_1(comfy: ComfyServer) -> None:
    """Turbo's own scheduler, LCM, and Lightning's sgm_uniform, at 1 to 4 steps."""
    points = batch_points(19, 1)
    b, twin = bench(comfy, "eps", points.conditions), twin_of("eps")
    lcm = b.add("lcm", "ModelSamplingDiscrete", model=["load", 0], sampling="lcm", zsnr=False)
    for steps in (1, 2, 4):
        turbo = b.add(f"turbo_sigmas{steps}", "SDTurboScheduler", model=["model", 0], steps=steps,
                      denoise=1.0)  # fmt: skip
        b.custom(f"turbo{steps}", turbo, noise_seed=19, cfg=1.0)
        b.ksampler(f"lcm{steps}", model=lcm, seed=19, steps=steps, cfg=1.0,
                   scheduler="sgm_uniform")  # fmt: skip
        b.ksampler(f"lightning{steps}", seed=19, steps=steps, cfg=1.0, scheduler="sgm_uniform")
    found = b.run()
    table = twin.table.tolist()
    lcm_twin = Twin("lcm", lcm_table(), lcm_time)
    run = (points.noise, points.conditions)
    for steps in (1, 2, 4):
        turbo_sigmas = [table[999 - 100 * i] for i in range(steps)] + [0.0]
        called_once_a_step(found[f"turbo{steps}"], turbo_sigmas)
        same(found[f"turbo{steps}"].latent, twin.run(turbo_sigmas, *run, cfg=1.0))
        lightning = grid(twin, steps, "sgm_uniform")
        called_once_a_step(found[f"lightning{steps}"], lightning)
        same(found[f"lightning{steps}"].latent, twin.run(lightning, *run, cfg=1.0))
        own = list(found[f"lcm{steps}"].called_at) + [0.0]
        assert found[f"lcm{steps}"].calls == steps
        same(found[f"lcm{steps}"].latent, lcm_twin.run(own, *run, cfg=1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(20, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    generator = torch.Generator().manual_seed(1)
    changed, file = {}, {}
    for name in ("joint_blocks.0.x_block.mlp.fc1", "joint_blocks.1.x_block.attn.qkv",
                 "final_layer.linear"):  # fmt: skip
        weight = twin.network.state_dict()[f"{name}.weight"]
        up = torch.randn(weight.shape[0], 2, generator=generator) * 0.1
        down = torch.randn(2, weight.shape[1], generator=generator) * 0.1
        changed[f"{name}.weight"] = 0.8 * up @ down
        file[f"diffusion_model.{name}.lora_up.weight"] = up
        file[f"diffusion_model.{name}.lora_down.weight"] = down
    folder = comfy.folder / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(file, folder / f"{kind}.safetensors")
    lora = b.add("lora", "LoraLoaderModelOnly", model=["model", 0],
                 lora_name=f"{kind}.safetensors", strength_model=0.8)  # fmt: skip
    b.ksampler("with", model=lora, seed=20)
    b.ksampler("without", seed=20)
    found = b.run()
    sigmas, run = grid(twin, 6), (points.noise, points.conditions)
    patched = Twin(twin.prediction, twin.table, lora=changed)
    for key, model in (("with", patched), ("without", twin)):
        called_once_a_step(found[key], sigmas)
        same(found[key].latent, model.run(sigmas, *run))
    assert distance(found["with"].latent, found["without"].latent) > 0.01
