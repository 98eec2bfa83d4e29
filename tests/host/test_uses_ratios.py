"""Every use of a sampler, its ratios: carried over by position; their file or folder missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy_server import ComfyServer
from dc_solver import ratios
from dc_solver.ratios.matching import carry_over
from dc_solver.ratios.prior import prior
from graphs import CALIBRATION, batch_points, inputs
from uses import (
    CFG,
    KINDS,
    bench,
    called_once_a_step,
    distance,
    grid,
    load,
    original,
    same,
    twin_of,
)


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
