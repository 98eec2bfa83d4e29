"""The pack in a real ComfyUI, over its API."""

from __future__ import annotations

import json
import math
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfy_server import ComfyServer, PromptError
from dc_solver import ratios
from dc_solver.demo import emoji, grids
from dc_solver.ratios.prior import prior
from dc_solver.solvers import sample
from graphs import CALIBRATION, batch_points, inputs, model_graph, node, saved_latent
from PIL import Image

CFG = 3.0
STEPS = 5
BATCH = 8
SEED = 424242


def library_sample(kind: str, points: emoji.Points, steps: int, **options: Any) -> torch.Tensor:
    """The same run in Python."""
    model = emoji.load(kind)
    sigmas = grids.make_sigmas("simple", model.sigmas, steps, flow=kind == "flow")
    return sample(
        model.denoiser(CFG),
        model.start(points.noise, float(sigmas[0])),
        sigmas,
        schedule=model.schedule,
        extra_args={"condition": points.conditions},
        disable=True,
        **options,
    )


def prior_of(kind: str, steps: int) -> ratios.RatioSchedule:
    """What a model runs that nothing is known of."""
    model = emoji.load(kind)
    sigmas = grids.make_sigmas("simple", model.sigmas, steps, flow=kind == "flow")
    settings = ratios.settings_of(ratios.RatioSchedule(()))
    found = prior(sigmas.tolist(), CFG, model.schedule, settings)
    assert found is not None
    return found


def error(latents: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    return (latents - truth).square().flatten(1).mean(dim=1)


def test_every_node_is_listed_and_dc_solver_is_in_the_dropdown(comfy: ComfyServer) -> None:
    info = comfy.get("/object_info")
    expected = {
        "DCSolverSampler", "DCSolverKSampler", "DCSolverCalibrate", "DCSolverCalibrateGrid",
        "DCSolverPredictRatios", "DCSolverLoadRatios", "DCSolverSaveRatios", "DCSolverPlotRatios",
        "DCSolverPrompts", "DCSolverScheduler",
    }  # fmt: skip
    assert expected == {name for name in info if name.startswith("DCSolver")}
    assert info["KSampler"]["input"]["required"]["sampler_name"][0].count("dc_solver") == 1
    assert "IMPORT FAILED" not in comfy.log.read_text()
    for name in expected:
        for group in ("required", "optional"):
            for widget, (kind, *options) in info[name]["input"].get(group, {}).items():
                assert options and options[0].get("tooltip"), f"{name}.{widget} ({kind})"


@pytest.mark.parametrize("kind", ["eps", "flow"])
def test_calibrate_predict_sample_and_save(comfy: ComfyServer, kind: str) -> None:
    """The main job: what the graph makes is what the library makes, and closer than UniPC's."""
    calibration_points = emoji.points(range(1000, 1016))
    points = batch_points(SEED, BATCH)
    graph = model_graph(kind, points.conditions, comfy.inputs, BATCH)
    calibration_graph = model_graph(kind, calibration_points.conditions, comfy.inputs)
    graph["cal_prompts"] = calibration_graph["prompts"]
    for_calibration = {
        **inputs(), "positive": ["cal_prompts", 0], "negative": ["cal_prompts", 1], **CALIBRATION
    }  # fmt: skip
    sampling = {**inputs(), "seed": SEED, "scheduler": "simple", "denoise": 1.0, "cfg": CFG}
    codec = "emoji_codec.safetensors"
    graph |= {
        "cal": node(
            "DCSolverCalibrate", **for_calibration, steps=STEPS, cfg=CFG, scheduler="simple"
        ),
        "keep": node("DCSolverSaveRatios", ratios=["cal", 0], name=f"{kind} five", overwrite=False),
        "grid": node(
            "DCSolverCalibrateGrid", **for_calibration, steps_list="5, 8", cfg_list="2, 4",
            scheduler="simple",
        ),
        "keep_cpr": node("DCSolverSaveRatios", ratios=["grid", 0], name=f"{kind} cpr",
                         overwrite=False),
        "predict": node("DCSolverPredictRatios", cpr=["grid", 0], steps=6, cfg=CFG),
        "dc": node("DCSolverKSampler", **sampling, steps=STEPS, ratios=["cal", 0]),
        "dc_latent": node("SaveLatent", samples=["dc", 0], filename_prefix="dc"),
        "dc_image": node("EmojiDecode", samples=["dc", 0], codec=codec),
        "save": node("SaveImage", images=["dc_image", 0], filename_prefix="dc"),
        "predicted": node("DCSolverKSampler", **sampling, steps=6, ratios=["predict", 0]),
        "predicted_latent": node("SaveLatent", samples=["predicted", 0], filename_prefix="cpr"),
        "plot": node("DCSolverPlotRatios", ratios=["cal", 0], ratios_2=["predict", 0]),
    }  # fmt: skip
    shown = comfy.run(graph)

    assert shown["plot"]["images"] and shown["cal"]["dc_curve"][0]["steps"] == STEPS
    assert "error on 6 check seeds" in shown["cal"]["text"][0]
    found = ratios.load(comfy.library / f"{kind} five.safetensors")
    cpr = ratios.load(comfy.library / f"{kind} cpr.safetensors")
    assert isinstance(found, ratios.RatioSchedule) and isinstance(cpr, ratios.CPR)
    assert found.identity.fingerprint == cpr.identity.fingerprint
    assert found.identity.prediction == kind and found.identity.seeds == tuple(range(1000, 1010))
    assert found.report is not None and found.report.verdict == "better", shown["cal"]["text"]
    assert found.report.search_calls <= 20

    in_python = library_sample(kind, points, STEPS, ratios=found)
    in_comfy = saved_latent(comfy.folder, shown["dc_latent"])
    assert (in_comfy - in_python).abs().max() < 1e-4
    predicted = library_sample(kind, points, 6, ratios=cpr.predict(6, CFG))
    in_comfy_predicted = saved_latent(comfy.folder, shown["predicted_latent"])
    assert (in_comfy_predicted - predicted).abs().max() < 1e-4

    image = emoji.decode(in_python)
    for k, entry in enumerate(shown["save"]["images"]):
        pixels = np.asarray(Image.open(comfy.output_file(entry)).convert("RGB"), dtype=np.float32)
        assert np.abs(pixels / 255.0 - image[k].numpy()).max() < 1.0 / 255.0 + 1e-4

    model = emoji.load(kind)
    calibrated = ratios.calibrate(
        model.denoiser(CFG),
        model.start(calibration_points.noise, found.sigmas[0] if found.sigmas else 0.0),
        found.sigmas or (),
        schedule=model.schedule,
        check=6,
        extra_args=lambda at: {"condition": calibration_points.conditions[at]},
    )
    assert calibrated.ratios == pytest.approx(found.ratios, abs=5e-3)

    truth = library_sample(kind, points, 250, solver="unipc", order=3)
    plain = library_sample(kind, points, STEPS, solver="unipc")
    gain = (error(in_comfy, truth) / error(plain, truth)).log().mean().exp()
    print(f"{kind}: error of DC-Solver over UniPC's at {STEPS} steps, {BATCH} images: {gain:.3f}")
    assert gain < 0.97


def test_the_stock_ksampler_runs_our_code(comfy: ComfyServer) -> None:
    for kind in ("eps", "flow"):
        points = batch_points(7, 2)
        graph = model_graph(kind, points.conditions, comfy.inputs, 2)
        graph["sample"] = node(
            "KSampler", **inputs(), seed=7, steps=6, cfg=CFG, sampler_name="dc_solver",
            scheduler="simple", denoise=1.0,
        )  # fmt: skip
        graph["save"] = node("SaveLatent", samples=["sample", 0], filename_prefix="stock")
        latent = saved_latent(comfy.folder, comfy.run(graph)["save"])
        same = library_sample(kind, points, 6, ratios=prior_of(kind, 6))
        assert (latent - same).abs().max() < 1e-4


def test_the_sampler_node_equals_the_ksampler(comfy: ComfyServer) -> None:
    points = batch_points(9, 2)
    graph = model_graph("eps", points.conditions, comfy.inputs, 2)
    settings = {"order": 3, "variant": "bh1", "lower_order": "at the end"}
    graph |= {
        "sampler": node("DCSolverSampler", **settings),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=7,
                       denoise=1.0),
        "sample": node("SamplerCustom", **inputs(), add_noise=True, noise_seed=9, cfg=CFG,
                       sampler=["sampler", 0], sigmas=["sigmas", 0]),
        "save": node("SaveLatent", samples=["sample", 0], filename_prefix="custom"),
    }  # fmt: skip
    latent = saved_latent(comfy.folder, comfy.run(graph)["save"])
    same = library_sample("eps", points, 7, solver="unipc", order=3, variant="bh1",
                          lower_order="final")  # fmt: skip
    assert (latent - same).abs().max() < 1e-4


def test_a_small_batch_size_keeps_each_prompt_with_its_seed(comfy: ComfyServer) -> None:
    """The host would give the second chunk the first chunk's prompts."""
    points = emoji.points(range(1000, 1005))
    found = []
    for size in (5, 2):
        comfy.clear_library()
        graph = model_graph("eps", points.conditions, comfy.inputs)
        few = {**CALIBRATION, "seeds": 5, "check_seeds": 0, "batch_size": size}
        graph["cal"] = node("DCSolverCalibrate", **inputs(), **few, steps=5, cfg=CFG,
                            scheduler="simple")  # fmt: skip
        graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="few", overwrite=True)
        comfy.run(graph)
        found.append(ratios.load(comfy.library / "few.safetensors").ratios)  # type: ignore[union-attr]
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    assert any(ratio != 1.0 for ratio in found[0])


def test_a_v_prediction_model_calibrates(comfy: ComfyServer) -> None:
    graph = model_graph("v", emoji.points([1]).conditions, comfy.inputs)
    few = {**CALIBRATION, "seeds": 2, "check_seeds": 0}
    graph["cal"] = node("DCSolverCalibrate", **inputs(), **few, steps=5, cfg=CFG,
                        scheduler="karras")  # fmt: skip
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="v", overwrite=False)
    comfy.run(graph)
    found = ratios.load(comfy.library / "v.safetensors")
    assert isinstance(found, ratios.RatioSchedule) and found.identity.prediction == "v"
    assert all(math.isfinite(ratio) for ratio in found.ratios)


def test_cancel_stops_a_calibration_and_leaves_nothing(comfy: ComfyServer) -> None:
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    long = {**CALIBRATION, "seeds": 40, "batch_size": 1, "reference_steps": 1000}
    graph["cal"] = node("DCSolverCalibrate", **inputs(), **long, steps=8, cfg=CFG,
                        scheduler="simple")  # fmt: skip
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="none", overwrite=False)
    prompt = comfy.queue(graph)
    while not comfy.get("/queue")["queue_running"]:
        time.sleep(0.05)
    time.sleep(2.0)
    asked = time.monotonic()
    comfy.post("/interrupt", {})
    with pytest.raises(PromptError) as stopped:
        comfy.wait(prompt, 30)
    print(f"cancelled after {time.monotonic() - asked:.2f} s")
    assert any(message[0] == "execution_interrupted" for message in stopped.value.messages)
    assert not comfy.library.exists() or not list(comfy.library.iterdir())

    test_the_stock_ksampler_runs_our_code(comfy)


def test_bad_input_is_refused_with_a_reason(comfy: ComfyServer) -> None:
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    graph["grid"] = node("DCSolverCalibrateGrid", **inputs(), **CALIBRATION, scheduler="simple",
                         steps_list="5, x", cfg_list="3")  # fmt: skip
    with pytest.raises(PromptError, match=r"steps_list: expected .* from 1 to 1000 .*'5, x'"):
        comfy.run(graph)
    for name, value, why in (
        ("quality", "full", "value_not_in_list"),
        ("dc_order", 9, "value_bigger_than_max"),
        ("cfg_list", "-1", "cfg_list: expected .* numbers from 0 to 1000 .*got '-1'"),
        ("steps_list", "2, 5", "steps_list: expected 3 or more, got 2"),
    ):
        given = {"steps_list": "5, 8", "cfg_list": "3", "dc_order": 2, "quality": "paper"}
        graph["grid"]["inputs"] |= {**given, name: value}
        with pytest.raises(PromptError, match=why):
            comfy.run(graph)
    few = {**CALIBRATION, "seeds": 1, "check_seeds": 0, "reference_steps": 24}
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    graph["cal"] = node("DCSolverCalibrate", **inputs(), **few, steps=4, cfg=CFG,
                        scheduler="simple")  # fmt: skip
    names = {"../out": "_out", "a/b": "a_b", "C:\\x": "C__x", "nul": "_nul", "": "calibration"}
    for name, file in names.items():
        graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name=name, overwrite=False)
        (told,) = comfy.run(graph)["keep"]["text"]
        assert told.startswith(f"saved as {file}.safetensors in")
        assert ("cannot be called" in told) == bool(name)
        assert (comfy.library / f"{file}.safetensors").is_file()
    graph["keep"]["inputs"]["name"] = " a/b"
    (told,) = comfy.run(graph)["keep"]["text"]
    assert "a_b.safetensors" in told and "is the same already" in told
    assert not (comfy.library / "a_b_02.safetensors").exists()
    graph["cal"]["inputs"]["steps"] = 2
    with pytest.raises(PromptError, match="steps: expected 3 or more, got 2"):
        comfy.run(graph)
    load = {"load_it": node("DCSolverLoadRatios", file="../../secret.safetensors"),
            "plot": node("DCSolverPlotRatios", ratios=["load_it", 0])}  # fmt: skip
    with pytest.raises(PromptError):
        comfy.run(load)


def test_a_file_loads_as_what_it_holds(comfy: ComfyServer) -> None:
    ratios.save(ratios.RatioSchedule((1.0, 1.0, 1.1, 0.9, 1.2)), comfy.library / "one.safetensors")
    graph = {"load": node("DCSolverLoadRatios", file="one.safetensors"),
             "plot": node("DCSolverPlotRatios", ratios=["load", 0])}  # fmt: skip
    assert "1.200" in comfy.run(graph)["plot"]["text"][0]
    graph["predict"] = node("DCSolverPredictRatios", cpr=["load", 1], steps=5, cfg=CFG)
    graph["plot_2"] = node("DCSolverPlotRatios", ratios=["predict", 0])
    graph["plot"]["inputs"]["ratios_2"] = ["load", 0]  # so that it runs again
    shown = comfy.run(graph)
    assert "plot" in shown and "plot_2" not in shown, "the output that does not fit is blocked"


def test_ratios_that_do_not_fit_are_told_and_left_out(comfy: ComfyServer) -> None:
    found = ratios.RatioSchedule((1.0, 1.0, 1.1, 0.9, 1.2), cfg=7.0)
    ratios.save(found, comfy.library / "bare.safetensors")
    points = batch_points(11, 1)
    graph = model_graph("eps", points.conditions, comfy.inputs)
    graph["load_it"] = node("DCSolverLoadRatios", file="bare.safetensors")
    sampling = {**inputs(), "seed": 11, "scheduler": "simple", "cfg": CFG, "ratios": ["load_it", 0]}
    graph |= {
        "whole": node("DCSolverKSampler", **sampling, steps=5, denoise=1.0),
        "part": node("DCSolverKSampler", **sampling, steps=5, denoise=0.5),
        "other": node("DCSolverKSampler", **sampling, steps=6, denoise=1.0),
        "save": node("SaveLatent", samples=["other", 0], filename_prefix="other"),
        "save_2": node("SaveLatent", samples=["part", 0], filename_prefix="other"),
        "save_3": node("SaveLatent", samples=["whole", 0], filename_prefix="other"),
    }  # fmt: skip
    shown = comfy.run(graph)
    assert shown["whole"]["text"][0].startswith("ratios 1.000 1.000 1.100")
    assert "for CFG 7, not 3" in shown["whole"]["text"][0]
    assert "plain UniPC (the ratios are for denoise 1)" in shown["part"]["text"][0]
    assert "for 5 steps and this run has 6" in shown["other"]["text"][0]
    latent = saved_latent(comfy.folder, shown["save"])
    assert (latent - library_sample("eps", points, 6, solver="unipc")).abs().max() < 1e-4


def test_the_demo_grids_are_the_hosts(comfy: ComfyServer) -> None:
    """demo/grids.py against comfy.samplers, for every scheduler."""
    script = """
import sys, json
sys.path.insert(0, sys.argv[1]); sys.argv = ['main', '--cpu']
import comfy.options; comfy.options.enable_args_parsing()
import comfy.samplers as s, comfy.model_sampling as m
class D(m.ModelSamplingDiscrete, m.EPS): pass
class F(m.ModelSamplingDiscreteFlow, m.CONST): pass
flow = F(); flow.set_parameters(shift=3.0)
print(json.dumps({f'{k} {n} {c}': s.calculate_sigmas(v, n, c).tolist()
    for k, v in (('eps', D()), ('flow', flow)) for n in s.SCHEDULER_NAMES
    for c in (1, 2, 5, 7, 8, 10, 20) if not (n == 'kl_optimal' and c == 1)}))
"""
    answer = subprocess.run(
        [os.environ["COMFYUI_PYTHON"], "-c", script, os.environ["COMFYUI_PATH"]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    hosts = json.loads(answer.stdout.splitlines()[-1])
    tables = {kind: emoji.load(kind).sigmas for kind in emoji.KINDS}
    for key, expected in hosts.items():
        kind, scheduler, steps = key.split()
        ours = grids.make_sigmas(scheduler, tables[kind], int(steps), flow=kind == "flow")
        assert ours.tolist() == pytest.approx(expected, rel=2e-5, abs=1e-6), key


def test_loading_the_pack_adds_no_library_to_the_host() -> None:
    """Neither gradio nor matplotlib nor scipy, nor anything that ComfyUI has not loaded itself."""
    if "COMFYUI_PATH" not in os.environ:
        pytest.skip("needs a ComfyUI: set COMFYUI_PATH and COMFYUI_PYTHON")
    script = """
import importlib.util, sys
sys.path.insert(0, sys.argv[1]); root = sys.argv[2]; sys.argv = ['main', '--cpu']
import comfy.options; comfy.options.enable_args_parsing()
import comfy.samplers, folder_paths, latent_preview, comfy_execution.graph_utils, aiohttp.web
tops = lambda: {name.split('.')[0] for name in sys.modules}
before = tops()
spec = importlib.util.spec_from_file_location('pack', root + '/__init__.py',
    submodule_search_locations=[root])
pack = importlib.util.module_from_spec(spec); sys.modules['pack'] = pack
spec.loader.exec_module(pack)
assert pack.NODE_CLASS_MAPPINGS
print(sorted(tops() - before - {'pack'} - set(sys.stdlib_module_names)))
"""
    root = Path(__file__).resolve().parents[2]
    answer = subprocess.run(
        [os.environ["COMFYUI_PYTHON"], "-c", script, os.environ["COMFYUI_PATH"], str(root)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.splitlines()[-1] == "[]"
