"""Every use of a sampler, on the emoji models: each graph against the same run in Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy_server import ComfyServer
from dc_solver import ratios
from dc_solver.demo import emoji, grids
from dc_solver.ratios.matching import carry_over
from dc_solver.ratios.prior import prior
from graphs import (
    CALIBRATION,
    Bench,
    Result,
    batch_points,
    inputs,
    model_graph,
    save_input_latent,
)
from safetensors.torch import save_file
from twins import Twin, into_model, masked, out_of_model, zero_snr

KINDS = ("eps", "flow")
CFG = 3.0


def twin_of(kind: str) -> Twin:
    if kind == "flow":
        return Twin("flow", emoji.flow_sigmas())
    return Twin("eps")


def bench(comfy: ComfyServer, kind: str, conditions: torch.Tensor, batch: int = 1) -> Bench:
    return Bench(comfy, model_graph(kind, conditions, comfy.inputs, batch))


def grid(twin: Twin, steps: int, scheduler: str = "simple") -> list[float]:
    return grids.make_sigmas(scheduler, twin.table, steps, flow=twin.flow).tolist()


def tail(twin: Twin, steps: int, denoise: float, scheduler: str = "simple") -> list[float]:
    """The sigmas of the stock KSampler at this denoise."""
    return grid(twin, int(steps / denoise), scheduler)[-(steps + 1) :]


def same(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert torch.isfinite(expected).all()
    size = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) < tolerance * size


def called_once_a_step(result: Result, sigmas: Sequence[float]) -> None:
    """One model call a step, each at the sigma that the step starts from."""
    assert result.called_at == pytest.approx(sigmas[:-1], rel=1e-4, abs=1e-6)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """How far ``a`` is from ``b``, relative to ``b``."""
    return float((a - b).norm() / b.norm())


def original(kind: str, seed: int = 77) -> torch.Tensor:
    """A finished latent to start from, in the model's scaling."""
    twin, points = twin_of(kind), batch_points(seed, 1)
    return twin.run(grid(twin, 12), points.noise, points.conditions)


def load(b: Bench, comfy: ComfyServer, latent: torch.Tensor) -> list[Any]:
    """A LoadLatent node for a latent in the model's scaling."""
    name = save_input_latent(comfy, "original", out_of_model(latent))
    return b.add("original", "LoadLatent", latent=name)


# Whole runs


@pytest.mark.parametrize("kind", KINDS)
def test_txt2img_at_1_to_50_steps(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(3, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    counts = (1, 2, 3, 4, 5, 7, 10, 20, 50)
    for steps in counts:
        b.ksampler(f"s{steps}", seed=3, steps=steps)
    for key, found in b.run().items():
        sigmas = grid(twin, int(key[1:]))
        called_once_a_step(found, sigmas)
        same(found.latent, twin.run(sigmas, points.noise, points.conditions))


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_1_and_others(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(4, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    scales = {"c0": 0.0, "c1": 1.0, "c2": 1.5, "c7": 7.5}
    for key, cfg in scales.items():
        b.ksampler(key, seed=4, cfg=cfg)
    found = b.run()
    sigmas = grid(twin, 6)
    for key, cfg in scales.items():
        called_once_a_step(found[key], sigmas)
        same(found[key].latent, twin.run(sigmas, points.noise, points.conditions, cfg=cfg))


@pytest.mark.parametrize("kind", KINDS)
def test_every_stock_scheduler(comfy: ComfyServer, kind: str) -> None:
    listed = comfy.get("/object_info/KSampler")["KSampler"]["input"]["required"]["scheduler"][0]
    assert set(listed) == set(grids.SCHEDULERS)
    points = batch_points(5, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    for name in listed:
        # Not 7 steps: normal's sigmas would lie half-way between two timesteps of the model.
        b.ksampler(name, seed=5, steps=8, scheduler=name)
    for name, found in b.run().items():
        sigmas = grid(twin, 8, name)
        called_once_a_step(found, sigmas)
        same(found.latent, twin.run(sigmas, points.noise, points.conditions))


SCHEDULER_NODES: dict[str, dict[str, dict[str, Any]]] = {
    "eps": {
        "KarrasScheduler": {"steps": 6, "sigma_max": 14.6, "sigma_min": 0.03, "rho": 7.0},
        "ExponentialScheduler": {"steps": 6, "sigma_max": 14.6, "sigma_min": 0.03},
        "PolyexponentialScheduler": {"steps": 6, "sigma_max": 14.6, "sigma_min": 0.03, "rho": 1.0},
        "LaplaceScheduler": {
            "steps": 6, "sigma_max": 14.6, "sigma_min": 0.03, "mu": 0.0, "beta": 0.5,
        },
        "VPScheduler": {"steps": 6, "beta_d": 19.9, "beta_min": 0.1, "eps_s": 0.001},
        "AlignYourStepsScheduler": {"model_type": "SD1", "steps": 10, "denoise": 1.0},
        "GITSScheduler": {"coeff": 1.2, "steps": 8, "denoise": 1.0},
        "SDTurboScheduler": {"model": ["model", 0], "steps": 3, "denoise": 0.5},
        "BetaSamplingScheduler": {"model": ["model", 0], "steps": 6, "alpha": 0.6, "beta": 0.6},
    },
    "flow": {
        "KarrasScheduler": {"steps": 6, "sigma_max": 1.0, "sigma_min": 0.03, "rho": 7.0},
        "BetaSamplingScheduler": {"model": ["model", 0], "steps": 6, "alpha": 0.6, "beta": 0.6},
        "OptimalStepsScheduler": {"model_type": "FLUX", "steps": 8, "denoise": 1.0},
        "LTXVScheduler": {
            "steps": 6, "max_shift": 2.05, "base_shift": 0.95, "stretch": True, "terminal": 0.1,
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_nodes_that_make_sigmas(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(6, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    made = {name: b.add(name, name, **s) for name, s in SCHEDULER_NODES[kind].items()}
    basic = b.add("basic", "BasicScheduler", model=["model", 0], scheduler="simple", steps=6,
                  denoise=1.0)  # fmt: skip
    made["cut"] = b.add("SplitSigmasDenoise", "SplitSigmasDenoise", sigmas=basic, denoise=0.6)
    made["longer"] = b.add("ExtendIntermediateSigmas", "ExtendIntermediateSigmas", sigmas=basic,
                           steps=2, start_at_sigma=-1.0, end_at_sigma=0.0,
                           spacing="linear")  # fmt: skip
    for name, sigmas in made.items():
        latent = b.custom(f"{name}_run", sigmas, noise_seed=6)
        b.add(f"{name}_shown", "UsesSigmas", sigmas=sigmas, after=latent)
    found = b.run()
    for name in made:
        sigmas = b.shown[f"{name}_shown"]["sigmas"]
        assert len(sigmas) > 2, name
        called_once_a_step(found[f"{name}_run"], sigmas)
        expected = twin.run(sigmas, points.noise, points.conditions)
        same(found[f"{name}_run"].latent, expected)


def test_one_sigmas_output_feeds_many_samplers_and_stays_as_it_is(comfy: ComfyServer) -> None:
    points = batch_points(8, 1)
    b, twin = bench(comfy, "eps", points.conditions), twin_of("eps")
    sigmas = b.add("sigmas", "BasicScheduler", model=["model", 0], scheduler="karras", steps=6,
                   denoise=1.0)  # fmt: skip
    first = b.custom("first", sigmas, noise_seed=8)
    b.custom("second", sigmas, noise_seed=8, latent_image=first)
    b.add("shown", "UsesSigmas", sigmas=sigmas, after=["second", 0])
    found = b.run()
    expected = grid(twin, 6, "karras")
    assert b.shown["shown"]["sigmas"] == pytest.approx(expected, rel=2e-5)
    again = twin.run(expected, points.noise, points.conditions, latent=found["first"].latent)
    same(found["second"].latent, again)


# Parts of a run


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


def half_mask(b: Bench, soft: float = 0.0) -> list[Any]:
    """A mask of 8 x 8 that is 1 on the right half and ``soft`` on the left."""
    left = b.add("mask_left", "SolidMask", value=soft, width=8, height=8)
    right = b.add("mask_right", "SolidMask", value=1.0, width=4, height=8)
    return b.add("mask", "MaskComposite", destination=left, source=right, x=4, y=0,
                 operation="add")  # fmt: skip


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


def test_ratios_are_carried_over_by_position(comfy: ComfyServer) -> None:
    """Of ten ratios, a run over the later half gets those of its own steps; written out here."""
    ten = (1.0, 1.0, 1.2, 0.8, 1.25, 0.75, 1.3, 0.7, 1.4, 0.6)
    for kind in KINDS:
        points = batch_points(14, 1)
        b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
        start, sigmas = original(kind), grid(twin, 10)
        known = ratios.RatioSchedule(ten, sigmas=tuple(sigmas))
        ratios.save(known, comfy.library / f"{kind} ten.safetensors")
        file = b.add("file", "DCSolverLoadRatios", file=f"{kind} ten.safetensors")
        image = load(b, comfy, start)
        b.add("half", "DCSolverKSampler", model=b.counted("half"), positive=["prompts", 0],
              negative=["prompts", 1], latent_image=image, seed=14, steps=5, cfg=CFG,
              scheduler="simple", denoise=0.5, ratios=file)  # fmt: skip
        b.result("half", ["half", 0])
        sampler = b.add("sampler", "DCSolverSampler", order=2, variant="bh2",
                        lower_order="automatic", ratios=file)  # fmt: skip
        whole = b.add("sigmas", "BasicScheduler", model=["model", 0], scheduler="simple", steps=10,
                      denoise=1.0)  # fmt: skip
        tenth = b.add("tail", "BasicScheduler", model=["model", 0], scheduler="simple", steps=6,
                      denoise=0.6)  # fmt: skip
        b.add("split", "SplitSigmas", sigmas=whole, step=4)
        b.custom("all", whole, sampler=sampler, noise_seed=14)
        b.custom("high", ["split", 0], sampler=sampler, noise_seed=14)
        b.custom("low", ["split", 1], sampler=sampler, noise_seed=14, add_noise=False,
                 latent_image=["high", 0])  # fmt: skip
        b.custom("six", tenth, sampler=sampler, noise_seed=14, latent_image=image)
        found = b.run()

        none = torch.zeros_like(points.noise)
        high = found["high"].latent
        by_hand: dict[str, tuple[list[float], tuple[float, ...], torch.Tensor, Any]] = {
            "half": (sigmas[5:], (1.0, 1.0, 0.7, 1.4, 0.6), points.noise, start),
            "all": (sigmas, ten, points.noise, None),
            "high": (sigmas[:5], (1.0, 1.0, 1.2, 0.8), points.noise, None),
            "low": (sigmas[4:], (1.0, 1.0, 1.3, 0.7, 1.4, 0.6), none, high),
            "six": (sigmas[4:], (1.0, 1.0, 1.3, 0.7, 1.4, 0.6), points.noise, start),
        }
        for key, (own, expected, noise, latent) in by_hand.items():
            called_once_a_step(found[key], own)
            run = (own, noise, points.conditions)
            dc = {"solver": "dc_solver", "latent": latent}
            same(found[key].latent, twin.run(*run, **dc, ratios=expected))
            carried = carry_over(known, own, twin.schedule)
            same(found[key].latent, twin.run(*run, **dc, ratios=carried))
            assert distance(found[key].latent, twin.run(*run, latent=latent)) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_librarys_ratios_are_carried_over_by_position(comfy: ComfyServer, kind: str) -> None:
    """The stock KSampler, whole and img2img, and KSampler (Advanced) in parts."""
    ten = (1.0, 1.0, 1.2, 0.8, 1.25, 0.75, 1.3, 0.7, 1.4, 0.6)
    points = batch_points(27, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    few = {**CALIBRATION, "seeds": 1, "check_seeds": 0, "reference_steps": 24}
    made = b.add("cal", "DCSolverCalibrate", **inputs(), **few, steps=10, cfg=CFG,
                 scheduler="simple")  # fmt: skip
    b.add("keep", "DCSolverSaveRatios", ratios=made, name="own", overwrite=True)
    b.run()
    found = ratios.load(comfy.library / "own.safetensors")
    assert isinstance(found, ratios.RatioSchedule)
    ratios.save(replace(found, ratios=ten), comfy.library / "own.safetensors")

    b, start, sigmas = bench(comfy, kind, points.conditions), original(kind), grid(twin, 10)
    image = load(b, comfy, start)
    plain: dict[str, Any] = {"counted": False}
    more = {"noise_seed": 27, "return_with_leftover_noise": "enable", **plain}
    late = {"noise_seed": 27, "add_noise": "disable", **plain}
    b.ksampler("whole", seed=27, steps=10, **plain)
    b.ksampler("half", seed=27, steps=5, denoise=0.5, latent_image=image, **plain)
    b.ksampler("other_cfg", seed=27, steps=10, cfg=5.0, **plain)
    link = b.advanced("high", end_at_step=4, **more)
    b.advanced("low", latent_image=link, start_at_step=4, **late)
    results = b.run()
    none, high = torch.zeros_like(points.noise), results["high"].latent
    by_hand: dict[str, tuple[list[float], tuple[float, ...], torch.Tensor, Any]] = {
        "whole": (sigmas, ten, points.noise, None),
        "half": (sigmas[5:], (1.0, 1.0, 0.7, 1.4, 0.6), points.noise, start),
        "high": (sigmas[:5], (1.0, 1.0, 1.2, 0.8), points.noise, None),
        "low": (sigmas[4:], (1.0, 1.0, 1.3, 0.7, 1.4, 0.6), none, high),
    }
    for key, (own, expected, noise, latent) in by_hand.items():
        run = (own, noise, points.conditions)
        dc = {"solver": "dc_solver", "latent": latent}
        same(results[key].latent, twin.run(*run, **dc, ratios=expected))
    run = (sigmas, points.noise, points.conditions)
    guess = prior(sigmas, 5.0, twin.schedule, ratios.settings_of(ratios.RatioSchedule(())))
    assert guess is not None
    same(results["other_cfg"].latent, twin.run(*run, cfg=5.0, solver="dc_solver", ratios=guess))


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


# Guiders


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


# What the model predicts


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


# Conditionings


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


# Batches, detailers, tiles


@pytest.mark.parametrize("kind", KINDS)
def test_batches_keep_the_noise_of_each_item(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(22, 6)
    b, twin = bench(comfy, kind, points.conditions, 6), twin_of(kind)
    one = model_graph(kind, points.conditions[2:4], comfy.inputs)["prompts"]
    b.graph["some_prompts"] = one
    some = b.add("some", "LatentFromBatch", samples=["latent", 0], batch_index=2, length=2)
    twice = b.add("twice", "RepeatLatentBatch", samples=some, amount=2)
    b.ksampler("all", seed=22)
    b.ksampler("some_run", seed=22, positive=["some_prompts", 0], latent_image=some)
    b.ksampler("twice_run", seed=22, positive=["some_prompts", 0], latent_image=twice)
    b.add("node", "DCSolverKSampler", model=["model", 0], positive=["some_prompts", 0],
          negative=["prompts", 1], latent_image=some, seed=22, steps=6, cfg=CFG,
          scheduler="simple", denoise=1.0, find_ratios=False)  # fmt: skip
    b.result("node", ["node", 0])
    found = b.run()
    sigmas = grid(twin, 6)
    expected = twin.run(sigmas, points.noise, points.conditions)
    for key in ("all", "some_run", "twice_run"):
        called_once_a_step(found[key], sigmas)
    same(found["all"].latent, expected)
    same(found["some_run"].latent, expected[2:4])
    same(found["node"].latent, expected[2:4])
    # Repeated items go on counting: 2, 3 become 2, 3, 4, 5.
    twice_prompts = points.conditions[2:4].repeat(2, 1)
    same(found["twice_run"].latent, twin.run(sigmas, points.noise[2:6], twice_prompts))


@pytest.mark.parametrize("kind", KINDS)
def test_a_detailer_samples_many_sizes_in_one_prompt(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(23, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    sizes = [(8, 8), (8, 4), (4, 8), (6, 4), (4, 4), (8, 6), (6, 6), (8, 8)]
    for k, (height, width) in enumerate(sizes):
        latent = b.add(f"latent{k}", "EmptySD3LatentImage", width=8 * width, height=8 * height,
                       batch_size=1)  # fmt: skip
        b.ksampler(f"size{k}", seed=100 + k, steps=3 + k % 3, latent_image=latent)
        # The detail pass: more steps over what the first pass made.
        b.ksampler(f"detail{k}", seed=200 + k, steps=2, denoise=0.4, latent_image=[f"size{k}", 0])
    found = b.run()
    for k, (height, width) in enumerate(sizes):
        noise = torch.randn(1, 16, height, width, generator=torch.Generator().manual_seed(100 + k))
        sigmas = grid(twin, 3 + k % 3)
        called_once_a_step(found[f"size{k}"], sigmas)
        first = twin.run(sigmas, noise, points.conditions)
        same(found[f"size{k}"].latent, first)
        noise = torch.randn(1, 16, height, width, generator=torch.Generator().manual_seed(200 + k))
        sigmas = tail(twin, 2, 0.4)
        called_once_a_step(found[f"detail{k}"], sigmas)
        detail = twin.run(sigmas, noise, points.conditions, latent=found[f"size{k}"].latent)
        same(found[f"detail{k}"].latent, detail)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiled_upscaler(comfy: ComfyServer, kind: str) -> None:
    """An enlarged latent, sampled again in overlapping tiles that are put together."""
    points = batch_points(24, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    start = original(kind)
    large = b.add("large", "LatentUpscale", samples=load(b, comfy, start),
                  upscale_method="nearest-exact", width=128, height=96,
                  crop="disabled")  # fmt: skip
    canvas = large
    places = [(x, y) for y in (0, 32) for x in (0, 32, 64)]
    for k, (x, y) in enumerate(places):
        tile = b.add(f"tile{k}", "LatentCrop", samples=canvas, width=64, height=64, x=x, y=y)
        made = b.ksampler(f"run{k}", seed=24 + k, steps=3, denoise=0.5, latent_image=tile)
        canvas = b.add(f"canvas{k}", "LatentComposite", samples_to=canvas, samples_from=made, x=x,
                       y=y, feather=0)  # fmt: skip
    b.result("whole", canvas)
    found = b.run()

    picture = out_of_model(start).repeat_interleave(2, -1)
    picture = torch.nn.functional.interpolate(picture, size=(12, 16), mode="nearest-exact")
    sigmas = tail(twin, 3, 0.5)
    for k, (x, y) in enumerate(places):
        rows, columns = slice(y // 8, y // 8 + 8), slice(x // 8, x // 8 + 8)
        noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(24 + k))
        tile = into_model(picture[..., rows, columns])
        result = twin.run(sigmas, noise, points.conditions, latent=tile)
        called_once_a_step(found[f"run{k}"], sigmas)
        picture[..., rows, columns] = out_of_model(result)
    same(found["whole"].raw, picture, 3e-4)


# The library


def test_the_librarys_folder_may_be_gone(comfy: ComfyServer) -> None:
    points = batch_points(26, 1)
    b, twin = bench(comfy, "eps", points.conditions), twin_of("eps")
    comfy.clear_library()
    b.ksampler("run", seed=26)
    same(b.run()["run"].latent, twin.run(grid(twin, 6), points.noise, points.conditions))


def test_a_workflow_whose_ratio_file_is_missing_says_so_and_runs(comfy: ComfyServer) -> None:
    points = batch_points(25, 1)
    b, twin = bench(comfy, "eps", points.conditions), twin_of("eps")
    file = b.add("file", "DCSolverLoadRatios", file="someone else's.safetensors")
    b.add("run", "DCSolverKSampler", model=b.counted("run"), positive=["prompts", 0],
          negative=["prompts", 1], latent_image=["latent", 0], seed=25, steps=5, cfg=CFG,
          scheduler="simple", denoise=1.0, ratios=file)  # fmt: skip
    b.result("run", ["run", 0])
    found = b.run()["run"]
    sigmas = grid(twin, 5)
    called_once_a_step(found, sigmas)
    same(found.latent, twin.run(sigmas, points.noise, points.conditions))
    assert "someone else's" in "".join(b.shown["run"]["text"]), "the node says which file it lacks"


def test_a_missing_cpr_is_told_by_what_follows_and_stops_nothing(comfy: ComfyServer) -> None:
    points = batch_points(26, 1)
    b, twin = bench(comfy, "eps", points.conditions), twin_of("eps")
    b.add("file", "DCSolverLoadRatios", file="folder/someone else's")
    b.add("predict", "DCSolverPredictRatios", cpr=["file", 1], steps=5, cfg=CFG)
    b.add("run", "DCSolverKSampler", model=b.counted("run"), positive=["prompts", 0],
          negative=["prompts", 1], latent_image=["latent", 0], seed=26, steps=5, cfg=CFG,
          scheduler="simple", denoise=1.0, ratios=["predict", 0])  # fmt: skip
    b.result("run", ["run", 0])
    found = b.run()["run"]
    same(found.latent, twin.run(grid(twin, 5), points.noise, points.conditions))
    assert "plain UniPC" in b.shown["run"]["text"][0]
    assert "someone else's is not in this library" in b.shown["run"]["text"][0]
