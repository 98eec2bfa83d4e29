"""Every solver of the pack in a real ComfyUI, and against ComfyUI's own samplers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy_server import ComfyServer, PromptError
from dc_solver import ratios
from dc_solver.demo import emoji, grids
from dc_solver.solvers import SOLVERS, SPACINGS, Langevin, make_sigmas
from graphs import CALIBRATION, Bench, batch_points, inputs, model_graph, node
from uses import bench, called_once_a_step, grid, same, twin_of

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("eps", "flow")
STEPS = 7


@pytest.fixture(scope="module")
def differences() -> dict[str, float]:
    """Of ComfyUI's samplers and ours, by its function."""
    path, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if not path or not python:
        pytest.skip("COMFYUI_PATH and COMFYUI_PYTHON do not name a ComfyUI and its Python")
    script = ROOT / "tests/host/agreement.py"
    ran = subprocess.run(
        [python, str(script), path, str(ROOT), str(ROOT / "tests")],
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


def test_agrees_with_comfyui_s_samplers(differences: dict[str, float]) -> None:
    """Euler is DDIM; DEIS in both modes, iPNDM, DPM-Solver's steps and DPM-Solver++(2M)."""
    print(json.dumps(differences, indent=1))
    assert len(differences) == 14
    assert {name: value for name, value in differences.items() if not value < 1e-4} == {}


@pytest.mark.parametrize("kind", KINDS)
def test_every_solver_by_the_ksampler_node(comfy: ComfyServer, kind: str) -> None:
    """The same run in Python, and the calls that the registry claims."""
    comfy.clear_library()
    points = batch_points(11, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    sigmas = grid(twin, STEPS)
    for name in SOLVERS:
        link = b.add(
            name, "DCSolverKSampler", **{**inputs(), "model": b.counted(name)}, seed=11,
            steps=STEPS, cfg=3.0, scheduler="simple", denoise=1.0, solver=name,
        )  # fmt: skip
        b.result(name, link)
    for name, found in b.run().items():
        expected = twin.run(sigmas, points.noise, points.conditions, solver=name)
        same(found.latent, expected, 1e-4 if SOLVERS[name].kind != "adaptive" else 1e-3)
        (text,) = b.shown[name]["text"]
        if SOLVERS[name].kind == "adaptive":
            assert f"{found.calls} model calls" in text and "steps kept" in text
            continue
        assert found.calls == STEPS
        if SOLVERS[name].kind == "multistep":
            called_once_a_step(found, sigmas)
        if not SOLVERS[name].compensates:
            assert "takes no ratios" in text and SOLVERS[name].label in text


@pytest.mark.parametrize("kind", KINDS)
def test_the_sampler_node_s_extras(comfy: ComfyServer, kind: str) -> None:
    """UniC after another solver, Langevin steps with the noise seed, thresholding, a tolerance."""
    comfy.clear_library()
    points = batch_points(12, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    sigmas = grid(twin, STEPS)
    sigma_node = b.add(
        "sigmas", "BasicScheduler", model=["model", 0], scheduler="simple", steps=STEPS, denoise=1.0
    )
    usual = {"order": 2, "variant": "bh2", "lower_order": "automatic"}
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "unic": ({"solver": "ddim", "corrector": "on"}, {"solver": "ddim", "corrector": True}),
        "predictor": ({"corrector": "off"}, {"solver": "unip"}),
        "threshold": ({"threshold": 0.9}, {"threshold": 0.9}),
        "langevin": (
            {"langevin_steps": 2, "langevin_snr": 0.05},
            {"langevin": Langevin(2, 0.05, seed=12)},
        ),
    }
    for key, (settings, _) in cases.items():
        sampler = b.add(f"{key}_sampler", "DCSolverSampler", **usual, **settings)
        b.custom(key, sigma_node, sampler=sampler, noise_seed=12)
    rough = b.add("rough_sampler", "DCSolverSampler", **usual, solver="dpm_23", rtol=0.5, atol=0.1)
    capped = b.add("capped_sampler", "DCSolverSampler", **usual, solver="dpm_23", max_calls=9)
    b.custom("rough", sigma_node, sampler=rough, noise_seed=12)
    b.custom("capped", sigma_node, sampler=capped, noise_seed=12)
    found = b.run()
    for key, (_, options) in cases.items():
        expected = twin.run(sigmas, points.noise, points.conditions, **options)
        same(found[key].latent, expected)
    assert found["langevin"].calls == STEPS + 2 * (STEPS - 1)
    assert found["capped"].calls <= 9 < found["rough"].calls
    assert torch.isfinite(found["capped"].latent).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_scheduler_node(comfy: ComfyServer, kind: str) -> None:
    """The papers' grids over the model's own table, whole and for image to image."""
    twin = twin_of(kind)
    graph = model_graph(kind, emoji.points([0]).conditions, comfy.inputs)
    labels = comfy.get("/object_info/DCSolverScheduler")["DCSolverScheduler"]["input"]["required"]
    names = dict(zip(labels["schedule"][0], SPACINGS))
    for label, name in names.items():
        for end in ("sigma 0", "smallest sigma"):
            for denoise in (1.0, 0.5):
                key = f"{name}|{end}|{denoise}"
                graph[key] = node(
                    "DCSolverScheduler", model=["model", 0], schedule=label, steps=6, end=end,
                    denoise=denoise,
                )  # fmt: skip
                graph[f"{key}|shown"] = node("UsesSigmas", sigmas=[key, 0])
    shown = comfy.run(graph)
    assert len(shown) == 16
    for key, content in shown.items():
        name, end, denoise, _ = key.split("|")
        steps = 6 if denoise == "1.0" else 12
        expected = make_sigmas(
            name, steps, twin.table.tolist(), twin.schedule, to_zero=end == "sigma 0"
        )
        assert content["sigmas"] == pytest.approx(expected[-7:], rel=1e-5)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "deis_tab"])
def test_another_solver_is_calibrated_and_found(comfy: ComfyServer, solver: str) -> None:
    """Its ratios run with it, by themselves, and with no other."""
    comfy.clear_library()
    points = batch_points(13, 2)
    graph = model_graph("eps", emoji.points(range(1000, 1010)).conditions, comfy.inputs)
    few = {**CALIBRATION, "seeds": 6, "check_seeds": 4, "reference_steps": 32}
    graph["cal"] = node(
        "DCSolverCalibrate", **{**inputs(), **few}, steps=8, cfg=3.0, scheduler="simple",
        solver=solver,
    )  # fmt: skip
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name=solver, overwrite=False)
    report = comfy.run(graph)["cal"]["text"][0]
    found = ratios.load(comfy.library / f"{solver}.safetensors")
    assert isinstance(found, ratios.RatioSchedule)
    assert found.solver == solver and found.active
    assert f"of {SOLVERS[solver].label}'s" in report

    b = Bench(comfy, model_graph("eps", points.conditions, comfy.inputs, 2))
    for name in (solver, "dc_solver"):
        b.add(
            name, "DCSolverKSampler", **inputs(), seed=13, steps=8, cfg=3.0, scheduler="simple",
            denoise=1.0, solver=name,
        )  # fmt: skip
        b.result(name, [name, 0])
    results = b.run()
    assert b.shown[solver]["text"][0].startswith(f"{solver}, ratios 1.000 1.000")
    told = b.shown["dc_solver"]["text"][0]
    assert f"on simple for {solver}; nothing" in told and "for the solver dc_solver" in told
    sigmas = grids.make_sigmas("simple", emoji.eps_sigmas(), 8, flow=False).tolist()
    expected = twin_of("eps").run(
        sigmas, points.noise, points.conditions, solver=solver, ratios=found
    )
    same(results[solver].latent, expected)
    comfy.clear_library()


def test_a_solver_that_takes_no_ratios_cannot_be_calibrated(comfy: ComfyServer) -> None:
    graph = model_graph("eps", emoji.points(range(1000, 1003)).conditions, comfy.inputs)
    few = {**CALIBRATION, "seeds": 2, "check_seeds": 1, "reference_steps": 24}
    graph["cal"] = node(
        "DCSolverCalibrate", **{**inputs(), **few}, steps=5, cfg=3.0, scheduler="simple",
        solver="dpm_2",
    )  # fmt: skip
    with pytest.raises(PromptError, match="Value not in list"):
        comfy.run(graph)
