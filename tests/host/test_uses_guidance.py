"""Every use of a sampler, its guidance: guiders, guidance beyond CFG, and many prompts."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from comfy_server import ComfyServer
from graphs import batch_points, model_graph
from uses import CFG, KINDS, bench, called_once_a_step, distance, grid, half_mask, same, twin_of


@pytest.mark.parametrize("kind", KINDS)
def test_guiders(comfy: ComfyServer, kind: str) -> None:
    points, other = batch_points(16, 1), batch_points(500, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    extra = model_graph(kind, other.conditions, comfy.inputs)["prompts"]
    b.graph["other"] = extra
    sigmas = b.add("sigmas", "BasicScheduler", model=["model", 0], scheduler="simple", steps=6,
                   denoise=1.0)  # fmt: skip
    b.add("split", "SplitSigmas", sigmas=sigmas, step=4)
    noise = b.add("noise", "RandomNoise", noise_seed=16)
    prompts = {"positive": ["prompts", 0], "negative": ["prompts", 1]}
    guider = b.add("cfg_guider", "CFGGuider", model=b.counted("cfg"), **prompts, cfg=CFG)
    b.guided("cfg", guider, sigmas, noise=noise)
    guider = b.add("cut_guider", "CFGGuider", model=b.counted("cut"), **prompts, cfg=CFG)
    b.guided("cut", guider, ["split", 0], noise=noise)
    b.result("denoised", ["cut", 1])
    guider = b.add("basic_guider", "BasicGuider", model=b.counted("basic"),
                   conditioning=["prompts", 0])  # fmt: skip
    b.guided("basic", guider, sigmas, noise=noise)
    for style in ("regular", "nested"):
        guider = b.add(f"{style}_guider", "DualCFGGuider", model=b.counted(style),
                       cond1=["prompts", 0], cond2=["other", 0], negative=["prompts", 1],
                       cfg_conds=2.5, cfg_cond2_negative=1.7, style=style)  # fmt: skip
        b.guided(style, guider, sigmas, noise=noise)
    found = b.run()

    own = grid(twin, 6)
    run = (points.noise, points.conditions)
    first, second, none = (points.conditions, other.conditions, torch.zeros(1, 128))

    def dual(style: str) -> Callable[..., torch.Tensor]:
        def model(x: torch.Tensor, s: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            one, two, empty = (twin.denoised(x, s, c) for c in (first, second, none))
            if style == "nested":
                text = two + 2.5 * (one - two)
                return empty + 1.7 * (text - empty)
            return empty + 1.7 * (two - empty) + 2.5 * (one - two)

        return model

    for key in ("cfg", "basic", "regular", "nested"):
        called_once_a_step(found[key], own)
    same(found["cfg"].latent, twin.run(own, *run))
    same(found["basic"].latent, twin.run(own, *run, cfg=1.0))
    same(found["regular"].latent, twin.run(own, *run, model=dual("regular")))
    same(found["nested"].latent, twin.run(own, *run, model=dual("nested")))

    seen: list[torch.Tensor] = []
    expected = twin.run(own[:5], *run, callback=lambda at: seen.append(at["denoised"].clone()))
    called_once_a_step(found["cut"], own[:5])
    same(found["cut"].latent, expected)
    same(found["denoised"].latent, seen[-1])


def test_guidance_beyond_cfg(comfy: ComfyServer) -> None:
    """RescaleCFG, and a guidance scale that changes over the steps."""
    points = batch_points(17, 1)
    b, twin = bench(comfy, "eps", points.conditions), twin_of("eps")
    rescaled = b.add("rescale", "RescaleCFG", model=["model", 0], multiplier=0.7)
    falling = b.add("fall", "UsesCfgOverSteps", model=["model", 0], low=1.5, high=6.0, at=5.0)
    b.ksampler("rescaled", model=rescaled, seed=17, cfg=6.0)
    b.ksampler("falling", model=falling, seed=17, cfg=6.0)
    found = b.run()
    sigmas, run = grid(twin, 6), (points.noise, points.conditions)

    def rescale(x: torch.Tensor, s: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """The guided v, brought part of the way to the spread of the v of the prompt alone."""
        sigma = float(s[0])
        scale = sigma / math.sqrt(1.0 + sigma * sigma)
        shrunk = x / (sigma * sigma + 1.0)
        with_prompt, empty = (
            (shrunk - twin.denoised(x, s, c)) / scale
            for c in (condition, torch.zeros_like(condition))
        )
        guided = empty + 6.0 * (with_prompt - empty)
        spread = with_prompt.std() / guided.std()
        return shrunk - scale * guided * (0.7 * spread + 0.3)

    for key in ("rescaled", "falling"):
        called_once_a_step(found[key], sigmas)
    same(found["rescaled"].latent, twin.run(sigmas, *run, model=rescale))
    expected = twin.run(sigmas, *run, cfg=lambda s: 1.5 + 4.5 * min(s / 5.0, 1.0))
    same(found["falling"].latent, expected)
    assert distance(found["rescaled"].latent, found["falling"].latent) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_regional_anded_and_timed_prompts(comfy: ComfyServer, kind: str) -> None:
    points, other = batch_points(21, 1), batch_points(600, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    b.graph["other"] = model_graph(kind, other.conditions, comfy.inputs)["prompts"]
    both = b.add("both", "ConditioningCombine", conditioning_1=["prompts", 0],
                 conditioning_2=["other", 0])  # fmt: skip
    right = half_mask(b)
    left = b.add("left", "InvertMask", mask=right)
    masks = {"set_cond_area": "default"}
    one = b.add("one", "ConditioningSetMask", conditioning=["prompts", 0], mask=left, strength=1.0,
                **masks)  # fmt: skip
    two = b.add("two", "ConditioningSetMask", conditioning=["other", 0], mask=right, strength=0.5,
                **masks)  # fmt: skip
    regions = b.add("regions", "ConditioningCombine", conditioning_1=one, conditioning_2=two)
    everywhere = b.add("everywhere", "ConditioningCombine", conditioning_1=["prompts", 0],
                       conditioning_2=two)  # fmt: skip
    early = b.add("early", "ConditioningSetTimestepRange", conditioning=["prompts", 0], start=0.0,
                  end=0.4)  # fmt: skip
    late = b.add("late", "ConditioningSetTimestepRange", conditioning=["other", 0], start=0.4,
                 end=1.0)  # fmt: skip
    timed = b.add("timed", "ConditioningCombine", conditioning_1=early, conditioning_2=late)
    prompts = {"both": both, "regions": regions, "everywhere": everywhere, "timed": timed}
    for key, positive in prompts.items():
        b.ksampler(f"{key}_run", seed=21, positive=positive)
    found = b.run()

    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1.0
    if twin.flow:
        switch = 3.0 * 0.6 / (1.0 + 2.0 * 0.6)
    else:
        logs = twin.table.log()
        switch = float((0.6 * logs[599] + 0.4 * logs[600]).exp())

    def guided(key: str) -> Callable[..., torch.Tensor]:
        def model(x: torch.Tensor, s: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            first, second, empty = (
                twin.denoised(x, s, c)
                for c in (points.conditions, other.conditions, torch.zeros(1, 128))
            )
            mixed = {
                "both": (first + second) / 2.0,
                "regions": first * (1.0 - mask) + second * mask,
                "everywhere": (first + 0.5 * mask * second) / (1.0 + 0.5 * mask),
                "timed": first if float(s[0]) > switch else second,
            }[key]
            return empty + CFG * (mixed - empty)

        return model

    sigmas, run = grid(twin, 6), (points.noise, points.conditions)
    plain = twin.run(sigmas, *run)
    for key in prompts:
        called_once_a_step(found[f"{key}_run"], sigmas)
        same(found[f"{key}_run"].latent, twin.run(sigmas, *run, model=guided(key)))
        assert distance(found[f"{key}_run"].latent, plain) > 0.02
