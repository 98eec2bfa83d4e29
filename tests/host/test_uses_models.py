"""Every use of a sampler, on models and patches without a twin in Python.

The truth is the host's own ``heun`` on a fine grid, an integrator of the same equation that shares
nothing with ours; and for each feature the distance that leaving it out makes, which must be far
larger.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy_server import ComfyServer, PromptError
from dc_solver import ratios
from dc_solver.demo import emoji
from graphs import CALIBRATION, Bench, Result, batch_points, inputs, model_graph
from uses import distance

STEPS = 40
FINE = 100
CLOSE = 0.01


def has(comfy: ComfyServer, node: str) -> bool:
    return bool(comfy.get(f"/object_info/{node}"))


class Compared:
    """Our sampler and the fine reference, with and without a feature, in one graph."""

    def __init__(self, comfy: ComfyServer, b: Bench, scheduler: str = "simple") -> None:
        self.b = b
        self._scheduler = scheduler
        self._keys: list[str] = []

    def add(self, key: str, model: Any = None, **settings: Any) -> None:
        """Run both with these settings of the stock KSampler."""
        self._keys.append(key)
        settings = {"scheduler": self._scheduler, "seed": 5, **settings}
        self.b.ksampler(key, model=model, **settings | {"steps": STEPS})
        fine = {"steps": FINE, "sampler_name": "heun"}
        self.b.ksampler(f"{key}_fine", model=model, **settings | fine)
        self.b.ksampler(f"{key}_few", model=model, **settings | {"steps": 5})
        own = {**inputs(), "cfg": 3.0, "denoise": 1.0, **settings, "steps": 5}
        own["model"] = self.b.counted(f"{key}_own", model)
        self.b.result(f"{key}_own", self.b.add(f"{key}_own", "DCSolverKSampler", **own))

    def check(
        self, what: str, *, shape: tuple[int, ...] | None = None, close: float = CLOSE
    ) -> dict[str, Result]:
        """Each is near its own reference, the first is far from the others, our node is the same
        as the stock one."""
        found = self.b.run()
        first, *others = self._keys
        for key in self._keys:
            ours, fine = found[key], found[f"{key}_fine"]
            few, own = found[f"{key}_few"], found[f"{key}_own"]
            assert ours.calls == STEPS and few.calls == own.calls == 5
            assert all(torch.equal(a, b) for a, b in zip(few.parts, own.parts))
            assert shape is None or ours.raw.shape == shape
            for mine, exact in zip(ours.parts, fine.parts):
                assert torch.isfinite(mine).all()
                apart = distance(mine, exact)
                print(f"{what}, {key}: {apart:.3%} from the fine run")
                assert apart < close
        for key in others:
            left_out = distance(found[f"{first}_fine"].raw, found[f"{key}_fine"].raw)
            print(f"{what}: {left_out:.1%} is what leaving out {key} makes")
            assert left_out > 5.0 * close
        return found


def emoji_bench(comfy: ComfyServer, kind: str, seed: int = 5) -> Bench:
    points = batch_points(seed, 1)
    return Bench(comfy, model_graph(kind, points.conditions, comfy.inputs))


def small(comfy: ComfyServer, kind: str, tokens: int, width: int, pooled: int) -> Bench:
    """A graph of a small random model with two prompts: nodes model, prompts, negative."""
    b = Bench(comfy, {})
    b.add("model", "UsesSmallModel", kind=kind)
    sizes = {"tokens": tokens, "width": width, "pooled": pooled}
    b.add("positive", "UsesConditioning", seed=1, **sizes)
    b.add("negative", "UsesConditioning", seed=2, **sizes)
    return b


PROMPTS = {"positive": ["positive", 0], "negative": ["negative", 0]}


def test_5d_video_latents(comfy: ComfyServer) -> None:
    """A small Wan through the stock loader: 5-D, with and without its prompt."""
    b = small(comfy, "wan", 4, 4096, 32)
    b.add("latent", "EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1)
    c = Compared(comfy, b)
    c.add("prompt", cfg=4.0, **PROMPTS)
    c.add("no prompt", cfg=4.0, positive=["negative", 0], negative=["positive", 0])
    c.check("video", shape=(1, 16, 3, 8, 8), close=0.03)


def test_a_mask_on_a_video(comfy: ComfyServer) -> None:
    b = small(comfy, "wan", 4, 4096, 32)
    b.add("latent", "EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1)
    first = b.ksampler("first", seed=1, steps=5, cfg=1.0, **PROMPTS)
    left = b.add("left", "SolidMask", value=0.0, width=8, height=8)
    right = b.add("right", "SolidMask", value=1.0, width=4, height=8)
    mask = b.add("mask", "MaskComposite", destination=left, source=right, x=4, y=0,
                 operation="add")  # fmt: skip
    hole = b.add("hole", "SetLatentNoiseMask", samples=first, mask=mask)
    b.ksampler("second", seed=2, steps=5, cfg=1.0, latent_image=hole, **PROMPTS)
    found = b.run()
    before, after = found["first"].raw, found["second"].raw
    assert found["second"].calls == 5
    assert (after - before)[..., :4].abs().max() < 1e-6
    assert distance(after[..., 4:], before[..., 4:]) > 0.1


def test_1d_audio_latents(comfy: ComfyServer) -> None:
    """The host's Stable Audio class, small: 3-D, v-prediction up to sigma 500."""
    b = small(comfy, "audio", 3, 768, 32)
    b.add("latent", "EmptyLatentAudio", seconds=1.0, batch_size=2)
    c = Compared(comfy, b, "karras")
    c.add("prompt", cfg=4.0, **PROMPTS)
    c.add("no prompt", cfg=4.0, positive=["negative", 0], negative=["positive", 0])
    found = c.check("audio", close=0.05)
    assert found["prompt"].raw.shape[:2] == (2, 64) and found["prompt"].raw.ndim == 3


def packed(comfy: ComfyServer) -> Bench:
    if not has(comfy, "LTXVConcatAVLatent"):
        pytest.skip("this ComfyUI has no packed latents")
    b = small(comfy, "av", 4, 64, 32)
    video = b.add("video", "EmptyLTXVLatentVideo", width=64, height=64, length=9, batch_size=1)
    audio = b.add("audio", "UsesEmptyLatent", shape="1, 8, 4, 16")
    b.add("latent", "LTXVConcatAVLatent", video_latent=video, audio_latent=audio)
    return b


def test_packed_latents(comfy: ComfyServer) -> None:
    """Video and audio sampled as one packed latent (B, 1, N)."""
    b = packed(comfy)
    c = Compared(comfy, b)
    c.add("prompt", cfg=3.0, **PROMPTS)
    c.add("no prompt", cfg=3.0, positive=["negative", 0], negative=["positive", 0])
    parts = c.check("packed", close=0.05)["prompt"].parts
    assert [part.ndim for part in parts] == [5, 4]
    assert parts[0].shape[1:3] == (128, 2) and parts[1].shape == (1, 8, 4, 16)


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_other_latents_calibrate(comfy: ComfyServer, kind: str) -> None:
    """Ratios are found on them, and sampling runs them."""
    if kind == "video":
        b = small(comfy, "wan", 4, 4096, 32)
        b.add("latent", "EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1)
    else:
        b = small(comfy, "audio", 3, 768, 32)
        b.add("latent", "EmptyLatentAudio", seconds=1.0, batch_size=1)
    run = {**inputs(), **PROMPTS, "steps": 6, "cfg": 4.0, "scheduler": "karras"}
    few = {**CALIBRATION, "seeds": 3, "check_seeds": 0, "reference_steps": 24, "batch_size": 2}
    found = b.add("cal", "DCSolverCalibrate", **run, **few)
    b.add("keep", "DCSolverSaveRatios", ratios=found, name="other", overwrite=True)
    for key, extra in (("with", {"ratios": found}), ("plain", {})):
        own = run | {"model": b.counted(key), "seed": 5, "denoise": 1.0}
        b.result(key, b.add(key, "DCSolverKSampler", **own, **extra))
    b.ksampler("fine", seed=5, steps=FINE, sampler_name="heun", scheduler="karras", cfg=4.0,
               **PROMPTS)  # fmt: skip
    results = b.run()
    known = ratios.load(comfy.library / "other.safetensors")
    assert isinstance(known, ratios.RatioSchedule) and known.active
    assert known.identity.latent_shape == tuple(results["with"].raw.shape[1:])
    exact = results["fine"].raw
    with_ratios, without = (distance(results[key].raw, exact) for key in ("with", "plain"))
    print(f"{kind}, 6 steps: {with_ratios:.1%} from the fine run, {without:.1%} without ratios")
    assert results["with"].calls == results["plain"].calls == 6
    assert with_ratios < 1.1 * without


def test_packed_latents_say_that_they_cannot_be_calibrated(comfy: ComfyServer) -> None:
    b = packed(comfy)
    run = {**inputs(), **PROMPTS, "steps": 5, "cfg": 3.0, "scheduler": "simple"}
    few = {**CALIBRATION, "seeds": 1, "check_seeds": 0, "reference_steps": 24}
    b.add("plot", "DCSolverPlotRatios", ratios=b.add("cal", "DCSolverCalibrate", **run, **few))
    with pytest.raises(PromptError, match="latent_image: expected one latent"):
        b.run()


def test_flux_guidance(comfy: ComfyServer) -> None:
    """The host's Flux class, small: guidance goes in with the prompt, CFG stays 1."""
    b = small(comfy, "flux", 4, 32, 32)
    b.add("latent", "EmptySD3LatentImage", width=64, height=64, batch_size=1)
    c = Compared(comfy, b)
    for key, guidance in (("3.5", 3.5), ("30", 30.0)):
        prompt = b.add(f"guidance {key}", "FluxGuidance", conditioning=["positive", 0],
                       guidance=guidance)  # fmt: skip
        c.add(key, cfg=1.0, positive=prompt, negative=["negative", 0])
    c.check("Flux guidance")


def unet(comfy: ComfyServer) -> Bench:
    b = small(comfy, "unet", 4, 32, 32)
    b.add("latent", "EmptyLatentImage", width=64, height=64, batch_size=1)
    return b


def test_perturbed_attention_guidance(comfy: ComfyServer) -> None:
    """The host's UNet class, small: PAG calls the model once more inside each guided call."""
    b = unet(comfy)
    c = Compared(comfy, b, "karras")
    pag = b.add("pag_node", "PerturbedAttentionGuidance", model=["model", 0], scale=3.0)
    c.add("with PAG", model=pag, cfg=4.0, **PROMPTS)
    c.add("PAG", cfg=4.0, **PROMPTS)
    c.check("PAG", close=0.001)


def test_a_controlnet_in_a_unet(comfy: ComfyServer) -> None:
    b = unet(comfy)
    c = Compared(comfy, b, "karras")
    control = b.add("control_node", "UsesControl", conditioning=["positive", 0],
                    shape="1, 64, 4, 4", strength=1.0, start=0.0, end=1.0)  # fmt: skip
    c.add("with control", cfg=4.0, **PROMPTS | {"positive": control})
    c.add("control", cfg=4.0, **PROMPTS)
    c.check("ControlNet, UNet", close=0.001)


@pytest.mark.parametrize("kind", emoji.KINDS)
def test_a_controlnet_in_a_transformer(comfy: ComfyServer, kind: str) -> None:
    b = emoji_bench(comfy, kind)
    c = Compared(comfy, b, "sgm_uniform")
    control = b.add("control_node", "UsesControl", conditioning=["prompts", 0], shape="1, 16, 192",
                    strength=0.5, start=0.0, end=1.0)  # fmt: skip
    c.add("with control", cfg=2.0, positive=control)
    c.add("control", cfg=2.0)
    c.check(f"ControlNet, {kind}", close=0.06)


@pytest.mark.parametrize("kind", emoji.KINDS)
def test_skip_layer_guidance(comfy: ComfyServer, kind: str) -> None:
    b = emoji_bench(comfy, kind)
    c = Compared(comfy, b, "sgm_uniform")
    skip = b.add("skip_node", "SkipLayerGuidanceDiT", model=["model", 0], double_layers="1",
                 single_layers="", scale=1.5, start_percent=0.0, end_percent=1.0,
                 rescaling_scale=0.0)  # fmt: skip
    c.add("with skipping", model=skip, cfg=2.0)
    c.add("skipping", cfg=2.0)
    c.check(f"skipped layer, {kind}", close=0.06)


@pytest.mark.parametrize("kind", emoji.KINDS)
def test_prompts_of_areas(comfy: ComfyServer, kind: str) -> None:
    """ConditioningSetAreaPercentage: the host runs the model on a part of the latent."""
    b = emoji_bench(comfy, kind)
    other = batch_points(900, 1)
    b.graph["other"] = model_graph(kind, other.conditions, b._comfy.inputs)["prompts"]
    area = b.add("area_node", "ConditioningSetAreaPercentage", conditioning=["other", 0],
                 width=1.0, height=0.5, x=0.0, y=0.5, strength=1.0)  # fmt: skip
    both = b.add("both_node", "ConditioningCombine", conditioning_1=["prompts", 0],
                 conditioning_2=area)  # fmt: skip
    c = Compared(comfy, b, "sgm_uniform")
    c.add("with an area", cfg=2.0, positive=both)
    c.add("the area", cfg=2.0)
    c.check(f"area, {kind}", close=0.06)
