"""Every use of a sampler, parts of a run: img2img, masks, runs in parts, and flipped sigmas."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from comfy_server import ComfyServer
from dc_solver import ratios
from graphs import batch_points
from twins import masked, out_of_model
from uses import (
    CFG,
    KINDS,
    bench,
    called_once_a_step,
    distance,
    grid,
    half_mask,
    load,
    original,
    same,
    tail,
    twin_of,
)


@pytest.mark.parametrize("kind", KINDS)
def test_img2img(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(9, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    start = original(kind)
    image = load(b, comfy, start)
    amounts = {f"d{tenth}": tenth / 10 for tenth in range(1, 11)}
    for key, denoise in amounts.items():
        b.ksampler(key, seed=9, steps=5, denoise=denoise, latent_image=image)
        b.add(f"node_{key}", "DCSolverKSampler", model=["model", 0], positive=["prompts", 0],
              negative=["prompts", 1], latent_image=image, seed=9, steps=5, cfg=CFG,
              scheduler="simple", denoise=denoise, find_ratios=False)  # fmt: skip
        b.result(f"node_{key}", [f"node_{key}", 0])
    b.ksampler("d0", seed=9, steps=5, denoise=0.0, latent_image=image)
    found = b.run()
    for key, denoise in amounts.items():
        sigmas = tail(twin, 5, denoise)
        called_once_a_step(found[key], sigmas)
        expected = twin.run(sigmas, points.noise, points.conditions, latent=start)
        same(found[key].latent, expected)
        same(found[f"node_{key}"].latent, expected)
    same(found["d0"].latent, start, 1e-6)
    apart = [distance(found[key].latent, start) for key in amounts]
    print(f"{kind}: from the original at denoise 0.1 to 1:", *(f"{d:.0%}" for d in apart))
    assert apart[0] < 0.5 * apart[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_inpainting(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(10, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    start = original(kind)
    image = load(b, comfy, start)
    hole = b.add("hole", "SetLatentNoiseMask", samples=image, mask=half_mask(b))
    known = ratios.RatioSchedule((1.0, 1.0, 1.15, 0.85, 1.1), sigmas=tuple(grid(twin, 5)))
    ratios.save(known, comfy.library / "mask.safetensors")
    file = b.add("file", "DCSolverLoadRatios", file="mask.safetensors")
    b.ksampler("whole", seed=10, steps=5, latent_image=hole)
    b.ksampler("part", seed=10, steps=5, denoise=0.6, latent_image=hole)
    b.ksampler("one", seed=10, steps=1, latent_image=hole)
    b.add("ratios", "DCSolverKSampler", model=b.counted("ratios"), positive=["prompts", 0],
          negative=["prompts", 1], latent_image=hole, seed=10, steps=5, cfg=CFG,
          scheduler="simple", denoise=1.0, ratios=file)  # fmt: skip
    b.result("ratios", ["ratios", 0])
    found = b.run()

    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1.0
    inside = masked(twin, twin.guided(CFG), mask, points.noise, start)
    runs = {
        "whole": (grid(twin, 5), {}),
        "part": (tail(twin, 5, 0.6), {}),
        "one": (grid(twin, 1), {}),
        "ratios": (grid(twin, 5), {"solver": "dc_solver", "ratios": known}),
    }
    before = out_of_model(start)
    for key, (sigmas, options) in runs.items():
        called_once_a_step(found[key], sigmas)
        outside = (found[key].raw - before)[..., :4].abs().max()
        assert outside < 1e-6, (key, outside)
        assert distance(found[key].raw[..., 4:], before[..., 4:]) > 0.1
        expected = twin.run(
            sigmas, points.noise, points.conditions, latent=start, model=inside, **options
        )
        same(found[key].latent, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_mask(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(11, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    start = original(kind)
    hole = b.add("hole", "SetLatentNoiseMask", samples=load(b, comfy, start),
                 mask=half_mask(b, soft=0.4))  # fmt: skip
    b.ksampler("soft", seed=11, steps=6, latent_image=hole)
    found = b.run()["soft"]
    mask = torch.full((1, 1, 8, 8), 0.4)
    mask[..., 4:] = 1.0
    model = masked(twin, twin.guided(CFG), mask, points.noise, start)
    sigmas = grid(twin, 6)
    called_once_a_step(found, sigmas)
    expected = twin.run(sigmas, points.noise, points.conditions, latent=start, model=model)
    same(found.latent, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_ksampler_advanced_in_parts(comfy: ComfyServer, kind: str) -> None:
    """Three parts in a chain, a part cut off without leftover noise, and a late start."""
    points = batch_points(12, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    start = original(kind)
    image = load(b, comfy, start)
    more = {"noise_seed": 12, "return_with_leftover_noise": "enable"}
    late = {"noise_seed": 12, "add_noise": "disable"}
    link = b.advanced("first", end_at_step=3, **more)
    link = b.advanced("second", latent_image=link, start_at_step=3, end_at_step=7, **more | late)
    b.advanced("third", latent_image=link, start_at_step=7, **late)
    b.advanced("short", noise_seed=12, end_at_step=4)
    b.advanced("late", noise_seed=12, start_at_step=6, latent_image=image)
    b.advanced("never", noise_seed=12, start_at_step=10, latent_image=image)
    b.advanced("last", noise_seed=12, start_at_step=9, latent_image=image)
    found = b.run()

    sigmas, none = grid(twin, 10), torch.zeros_like(points.noise)
    parts = {
        "first": (sigmas[:4], points.noise, None),
        "second": (sigmas[3:8], none, found["first"].latent),
        "third": (sigmas[7:], none, found["second"].latent),
        "short": ([*sigmas[:4], 0.0], points.noise, None),
        "late": (sigmas[6:], points.noise, start),
        "last": (sigmas[9:], points.noise, start),
    }
    for key, (own, noise, latent) in parts.items():
        called_once_a_step(found[key], own)
        same(found[key].latent, twin.run(own, noise, points.conditions, latent=latent))
    assert found["never"].calls == 0
    same(found["never"].latent, start, 1e-6)
    whole = twin.run(sigmas, points.noise, points.conditions)
    assert distance(found["third"].latent, whole) < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_two_parts_against_one_whole_run(comfy: ComfyServer, kind: str) -> None:
    """A sampler that remembers outputs starts anew at the seam: how far that leads, measured."""
    points = batch_points(13, 8)
    b, twin = bench(comfy, kind, points.conditions, 8), twin_of(kind)
    counts = (5, 8, 10, 20)
    for steps in counts:
        middle = steps // 2
        seed: dict[str, Any] = {"noise_seed": 13, "steps": steps}
        b.advanced(f"whole{steps}", **seed)
        link = b.advanced(f"first{steps}", **seed, end_at_step=middle,
                          return_with_leftover_noise="enable")  # fmt: skip
        b.advanced(f"second{steps}", **seed, add_noise="disable", start_at_step=middle,
                   latent_image=link)  # fmt: skip
    found = b.run()
    truth = twin.run(grid(twin, 200), points.noise, points.conditions, order=3)
    before = math.inf
    for steps in counts:
        whole, parts = found[f"whole{steps}"], found[f"second{steps}"]
        assert whole.calls == found[f"first{steps}"].calls + parts.calls == steps
        apart = distance(parts.latent, whole.latent)
        print(
            f"{kind}, {steps} steps: two parts are {apart:.2%} from one run; from the exact "
            f"solution {distance(whole.latent, truth):.2%} in one, "
            f"{distance(parts.latent, truth):.2%} in two"
        )
        assert 1e-6 < apart < before, "the seam costs less the finer the steps"
        before = apart


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_sigmas(comfy: ComfyServer, kind: str) -> None:
    """From the image back to noise, and from there to the image again, no worse than euler."""
    points = batch_points(15, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    start = original(kind)
    image = load(b, comfy, start)
    quiet = {"add_noise": False, "cfg": 1.0}
    euler = b.add("euler", "KSamplerSelect", sampler_name="euler")
    for steps in (10, 20, 300):
        falling = b.add(f"falling{steps}", "BasicScheduler", model=["model", 0],
                        scheduler="simple", steps=steps, denoise=0.8)  # fmt: skip
        rising = b.add(f"rising{steps}", "FlipSigmas", sigmas=falling)
        for name, sampler in (("ours", {}), ("euler", {"sampler": euler})):
            up = b.custom(f"{name}_up{steps}", rising, latent_image=image, **sampler, **quiet)
            b.custom(f"{name}_down{steps}", falling, latent_image=up, **sampler, **quiet)
    found = b.run()
    none = torch.zeros_like(points.noise)
    exact = found["euler_up300"].latent
    print(f"{kind}: the noise has size {exact.std():.2f}")
    for steps in (10, 20):
        down = tail(twin, steps, 0.8)
        up = [1e-4, *down[::-1][1:]]
        called_once_a_step(found[f"ours_up{steps}"], up)
        called_once_a_step(found[f"ours_down{steps}"], down)
        noise = found[f"ours_up{steps}"].latent
        # At sigma 1e-4 the direction is a difference of nearly equal numbers: three digits less.
        same(noise, twin.run(up, none, points.conditions, cfg=1.0, latent=start), 1e-3)
        back, to_noise = {}, {}
        for name in ("ours", "euler"):
            back[name] = distance(found[f"{name}_down{steps}"].latent, start)
            to_noise[name] = distance(found[f"{name}_up{steps}"].latent, exact)
        print(
            f"{kind}, {steps} steps up: {to_noise['ours']:.1%} from the exact noise, euler "
            f"{to_noise['euler']:.1%}; and down again: {back['ours']:.1%} from the image, euler "
            f"{back['euler']:.1%}"
        )
        assert to_noise["ours"] < 1.2 * to_noise["euler"]
        assert back["ours"] < 1.2 * back["euler"]
