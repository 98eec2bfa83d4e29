"""Every use of a sampler, whole runs: steps, guidance scales, schedulers and nodes of sigmas."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_server import ComfyServer
from dc_solver.demo import grids
from graphs import batch_points
from uses import KINDS, bench, called_once_a_step, grid, same, twin_of


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
