"""A calibration beyond the paper as a user lives it, in a real ComfyUI: made, kept, found, run."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from browser import LOAD, Front
from comfy_server import ComfyServer, PromptError
from dc_solver import ratios
from dc_solver.demo import emoji
from dc_solver.demo.grids import make_sigmas
from dc_solver.ratios import QUALITIES, RatioSchedule
from graphs import CALIBRATION, Bench, Graph, Result, batch_points, inputs, model_graph, node
from PIL import Image
from test_comfyui import library_sample

CFG = 3.0
STEPS = 5
SEED = 77
FEW = {**CALIBRATION, "seeds": 4, "check_seeds": 3}


def calibration(**settings: Any) -> dict[str, Any]:
    """A Calibrate node with prompts of its own."""
    usual = {"steps": STEPS, "cfg": CFG, "scheduler": "simple", "quality": "full"}
    own = {"positive": ["cal_prompts", 0], "negative": ["cal_prompts", 1]}
    return node("DCSolverCalibrate", **{**inputs(), **FEW, **own, **usual, **settings})


def emoji_graph(comfy: ComfyServer) -> Graph:
    graph = model_graph("eps", batch_points(SEED, 1).conditions, comfy.inputs)
    conditions = emoji.points(range(1000, 1007)).conditions
    graph["cal_prompts"] = model_graph("eps", conditions, comfy.inputs)["prompts"]
    return graph


@dataclass(frozen=True)
class Made:
    """What one graph came to that calibrates at quality full, keeps it and runs its SIGMAS."""

    found: RatioSchedule
    report: str
    results: dict[str, Result]


@pytest.fixture(scope="module")
def made(comfy: ComfyServer) -> Made:
    bench = Bench(comfy, emoji_graph(comfy))
    comfy.library.mkdir(parents=True, exist_ok=True)
    calibrated = bench.add("cal", "DCSolverCalibrate", **calibration()["inputs"])
    bench.add("keep", "DCSolverSaveRatios", ratios=calibrated, name="made", overwrite=True)
    euler = bench.add("stock", "KSamplerSelect", sampler_name="euler")
    bench.custom("euler", ["cal", 4], sampler=euler, cfg=CFG, noise_seed=SEED)
    ours = bench.add("ours", "DCSolverSampler", order=2, variant="bh2", lower_order="automatic",
                     ratios=calibrated)  # fmt: skip
    bench.custom("own", ["cal", 4], sampler=ours, cfg=CFG, noise_seed=SEED)
    results = bench.run()
    found = ratios.load(comfy.library / "made.safetensors")
    assert isinstance(found, RatioSchedule)
    return Made(found, bench.shown["cal"]["text"][0], results)


@pytest.fixture
def full(comfy: ComfyServer, made: Made, empty_library: None) -> RatioSchedule:
    """The calibration of quality full, alone in the library as ``full.safetensors``."""
    ratios.save(made.found, comfy.library / "full.safetensors")
    return made.found


def record_of(comfy: ComfyServer, shown: dict[str, Any], key: str = "save") -> dict[str, Any]:
    with Image.open(comfy.output_file(shown[key]["images"][0])) as image:
        found: dict[str, Any] = json.loads(image.info["dc_solver"])
    return found


def test_a_calibration_beyond_the_paper(made: Made) -> None:
    found = made.found
    assert found.quality == "full" and "(quality full)" in made.report
    assert found.learned is not None and found.sigmas is not None
    assert found.report is not None and found.report.gain is not None and found.report.gain < 1.0
    assert found.learned.sigmas != found.sigmas
    ends = (found.learned.sigmas[0], found.learned.sigmas[-1])
    assert ends == pytest.approx((found.sigmas[0], found.sigmas[-1]), rel=1e-6)


def test_any_graph_runs_the_learned_schedule(made: Made) -> None:
    learned, results = made.found.learned, made.results
    assert learned is not None
    assert results["euler"].called_at == pytest.approx(learned.sigmas[:-1], rel=1e-5)
    assert results["own"].called_at == pytest.approx(learned.inputs, rel=1e-5)
    same = library_sample("eps", batch_points(SEED, 1), STEPS, ratios=made.found)
    assert (results["own"].latent - same).abs().max() < 1e-3


def test_the_stock_ksampler_finds_learned_steps(comfy: ComfyServer, full: RatioSchedule) -> None:
    bench = Bench(comfy, emoji_graph(comfy))
    latent = bench.ksampler("stock", counted=False, seed=SEED, steps=STEPS, cfg=CFG)
    bench.add("image", "EmojiDecode", samples=latent, codec="emoji_codec.safetensors")
    bench.add("save", "SaveImage", images=["image", 0], filename_prefix="full")
    asked = {"prompt": bench.graph, "extra_data": {"extra_pnginfo": {"workflow": {}}}}
    results = bench.read(comfy.wait(comfy.post("/prompt", asked)["prompt_id"])["outputs"])
    same = library_sample("eps", batch_points(SEED, 1), STEPS, ratios=full)
    assert (results["stock"].latent - same).abs().max() < 1e-3
    ((kept,),) = record_of(comfy, bench.shown).values()
    assert kept["quality"] == "full" and kept["source"] == "full.safetensors"
    assert kept["told"].startswith("learned steps (full) for 5 steps at CFG 3, sigmas ")


def test_image_to_image_runs_plain_and_says_why(comfy: ComfyServer, full: RatioSchedule) -> None:
    graph = emoji_graph(comfy)
    common = {**inputs(), "seed": SEED, "steps": STEPS, "cfg": CFG, "scheduler": "simple"}
    graph["half"] = node("DCSolverKSampler", **common, denoise=0.5)
    graph["library"] = node(LOAD, file="full.safetensors")
    graph["brought"] = node("DCSolverKSampler", **common, denoise=0.5, ratios=["library", 0])
    graph["whole"] = node("DCSolverKSampler", **common, denoise=1.0, ratios=["library", 0])
    graph["plot"] = node("DCSolverPlotRatios", ratios=["library", 0])
    graph["plain"] = node("DCSolverKSampler", **common, denoise=0.5, find_ratios=False)
    bench = Bench(comfy, graph)
    for key in ("half", "brought", "whole", "plain"):
        bench.result(key, [key, 0])
    results = bench.run()
    told = {key: bench.shown[key]["text"][0] for key in ("half", "brought", "whole")}
    assert told["half"].startswith("no ratios: plain UniPC (")
    assert "learned steps for whole runs of 5 steps at CFG 3 on simple" in told["half"]
    assert "plain UniPC" in told["brought"] and "whole runs" in told["brought"]
    assert told["whole"].startswith("learned steps (full)")
    assert bench.shown["plot"]["images"]
    for key in ("half", "brought"):
        assert torch.equal(results[key].raw, results["plain"].raw)


def test_a_tournament_is_among_the_hosts_schedules(comfy: ComfyServer) -> None:
    graph = emoji_graph(comfy)
    graph["cal"] = calibration(quality="tournament", scheduler="normal")
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="best", overwrite=False)
    comfy.run(graph)
    found = ratios.load(comfy.library / "best.safetensors")
    assert isinstance(found, RatioSchedule) and found.quality == "tournament"
    assert found.learned is not None and "on the steps of " in found.notes[0]


def test_a_second_calibration_goes_on_with_the_reference(comfy: ComfyServer) -> None:
    """Of the same model, prompts, seeds and CFG, as a user changes the steps and runs again."""
    graph = emoji_graph(comfy)

    def reference(**settings: Any) -> tuple[int, str]:
        graph["cal"] = calibration(**{"quality": "paper", "first_seed": 3000, **settings})
        (text,) = comfy.run(graph)["cal"]["text"]
        (calls,) = re.findall(r"reference (\d+)", text)
        return int(calls), text

    first, text = reference(steps=STEPS)
    assert first > 28 * 7 and "earlier" not in text
    for settings in (
        {"steps": 6},
        {"scheduler": "beta"},
        {"batch_size": 3},
        {"solver": "deis_tab"},
    ):
        calls, text = reference(**settings)
        assert calls == 4 * settings.get("steps", STEPS) and "and an earlier one" in text, settings
    assert reference(cfg=4.0)[0] > 28 * 7
    assert reference(first_seed=1)[0] > 28 * 7
    # A grid goes on with that of its CFG, and leaves one of another for the node of one.
    own = {k: v for k, v in graph["cal"]["inputs"].items() if k not in ("steps", "cfg", "quality")}
    graph["grid"] = node("DCSolverCalibrateGrid", **{**own, "first_seed": 3000},
                         steps_list="4, 5", cfg_list="3, 5")  # fmt: skip
    comfy.run(graph)
    assert reference(cfg=5.0)[0] == 4 * STEPS
    # Other prompts, another model of the same weights, and a patch that may look at the sigmas.
    other = {"positive": ["prompts", 0], "negative": ["prompts", 1]}
    assert reference(**other)[0] > 28 * 7
    graph["patched"] = node("UsesCount", model=["model", 0], name="looking")
    assert reference(model=["patched", 0])[0] > 28 * 7
    assert reference(model=["patched", 0], check_seeds=2, seeds=5)[0] == 4 * STEPS
    assert reference(model=["patched", 0], steps=6)[0] > 28 * 7


def test_a_grid_predicts_where_to_put_the_steps(comfy: ComfyServer, empty_library: None) -> None:
    """Calibrated at 5 and 8 steps, run at 6: by our nodes, by any sampler, from the library."""
    graph = emoji_graph(comfy)
    usual = calibration(quality="schedule", scheduler="simple")["inputs"]
    own = {key: value for key, value in usual.items() if key not in ("steps", "cfg")}
    graph["grid"] = node("DCSolverCalibrateGrid", **own, steps_list="5, 8", cfg_list="3")
    bench = Bench(comfy, graph)
    bench.add("keep", "DCSolverSaveRatios", ratios=["grid", 0], name="moved", overwrite=False)
    bench.add("predict", "DCSolverPredictRatios", cpr=["grid", 0], steps=6, cfg=CFG,
              model=["model", 0])  # fmt: skip
    bench.add("alone", "DCSolverPredictRatios", cpr=["grid", 0], steps=6, cfg=CFG)
    euler = bench.add("stock", "KSamplerSelect", sampler_name="euler")
    bench.custom("euler", ["predict", 2], sampler=euler, cfg=CFG, noise_seed=SEED)
    ours = bench.add("ours", "DCSolverSampler", order=2, variant="bh2", lower_order="automatic",
                     ratios=["predict", 0])  # fmt: skip
    bench.custom("own", ["predict", 2], sampler=ours, cfg=CFG, noise_seed=SEED)
    common = {**inputs(), "seed": SEED, "steps": 6, "cfg": CFG, "scheduler": "simple"}
    for key, brought in (("laid", "predict"), ("free", "alone")):
        graph[key] = node("DCSolverKSampler", **common, denoise=1.0, ratios=[brought, 0])
        bench.result(key, [key, 0])
    results = bench.run()
    fitted = ratios.load(comfy.library / "moved.safetensors")
    assert isinstance(fitted, ratios.CPR) and fitted.warp is not None
    model = emoji.load("eps")
    grid = make_sigmas("simple", model.sigmas, 6, flow=False).tolist()
    expected = ratios.carry_over(fitted.predict(6, CFG), grid, model.schedule)
    assert expected.learned is not None
    assert results["euler"].called_at == pytest.approx(expected.learned.sigmas[:-1], rel=1e-4)
    same = library_sample("eps", batch_points(SEED, 1), 6, ratios=expected)
    for key in ("own", "laid", "free"):
        assert (results[key].latent - same).abs().max() < 1e-3, key
    # And the stock KSampler, from the library.
    later = Bench(comfy, emoji_graph(comfy))
    later.ksampler("found", counted=False, seed=SEED, steps=6, cfg=CFG)
    assert (later.run()["found"].latent - same).abs().max() < 1e-3


def test_sigmas_of_a_prediction_need_the_model(comfy: ComfyServer) -> None:
    graph = emoji_graph(comfy)
    own = {k: v for k, v in calibration(quality="paper")["inputs"].items()
           if k not in ("steps", "cfg")}  # fmt: skip
    graph["grid"] = node("DCSolverCalibrateGrid", **own, steps_list="5", cfg_list="3")
    bench = Bench(comfy, graph)
    bench.add("predict", "DCSolverPredictRatios", cpr=["grid", 0], steps=6, cfg=CFG)
    euler = bench.add("stock", "KSamplerSelect", sampler_name="euler")
    bench.custom("euler", ["predict", 2], sampler=euler, cfg=CFG, noise_seed=SEED)
    assert "euler" not in bench.run()  # what takes them does not run


def test_what_makes_no_sense_is_refused(comfy: ComfyServer) -> None:
    for settings, why in (
        ({"steps": 1}, "expected 2 or more, got 1; quality full"),
        (
            {"steps": 2, "quality": "paper"},
            "expected 3 or more, got 2; the first ratio",
        ),
        ({"reference_steps": 12}, "expected 0, for as many as it needs, or 24 or more, got 12"),
    ):
        graph = emoji_graph(comfy)
        graph["cal"] = calibration(**settings)
        with pytest.raises(PromptError, match=why):
            comfy.run(graph)


def test_a_saved_graph_without_a_quality_is_of_the_paper(comfy: ComfyServer) -> None:
    graph = emoji_graph(comfy)
    graph["cal"] = calibration(reference_steps=64)
    del graph["cal"]["inputs"]["quality"]
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="old", overwrite=False)
    comfy.run(graph)
    found = ratios.load(comfy.library / "old.safetensors")
    assert isinstance(found, RatioSchedule) and found.quality == "paper" and found.learned is None
    assert found.report is not None and 64 <= found.report.reference_calls < 68


def test_learned_steps_cannot_be_dragged(
    front: Front, comfy: ComfyServer, full: RatioSchedule
) -> None:
    front.start()
    front.js("app.graph.clear()")
    front.js(f"dc.add('{LOAD}', 100, 100, 320)")
    front.js("app.refreshComboInNodes()")
    front.js(f"dc.move('{LOAD}', 'file', 'full.safetensors')")
    front.until("document.querySelector('.dc-given')")
    drawn = front.drawn(LOAD)
    assert drawn["sliders"] == 0 and drawn["title"] == f"Learned · {STEPS} steps · CFG {CFG:g}"
    assert drawn["warns"][0].startswith("Learned steps: ")
    # The sigmas that were learned, on the scale that the axis shows.
    ticks, points = front.js(
        "[[...document.querySelectorAll('.dc-tick')].map((t) => "
        "[Number(t.textContent), Number(t.getAttribute('y')) - 3.5]), "
        "[...document.querySelectorAll('.dc-point')].map((p) => Number(p.getAttribute('cy')))]"
    )
    (first, top), (last, bottom) = ticks[0], ticks[-1]
    each = (math.log(last) - math.log(first)) / (bottom - top)
    shown = [first * math.exp((y - top) * each) for y in points]
    assert full.learned is not None
    assert shown == pytest.approx([s for s in full.learned.sigmas if s > 0.0], rel=1e-3)
    front.picture("learned-steps")


@pytest.mark.parametrize("vue", [False, True], ids=["classic", "vue"])
def test_the_node_shows_its_qualities(front: Front, vue: bool) -> None:
    front.start(**{"Comfy.VueNodes.Enabled": vue})
    front.js("app.graph.clear()")
    front.js("dc.add('DCSolverCalibrate', 400, 90)")
    assert front.js("dc.widget('DCSolverCalibrate', 'quality').options.values") == list(QUALITIES)
    front.js("dc.move('DCSolverCalibrate', 'quality', 'tournament')")
    front.js("dc.view(1, 'DCSolverCalibrate')")
    front.page.wait_for_timeout(500)
    if vue:
        cut = front.js(
            "[...document.querySelectorAll('[data-node-id] *')].filter((e) => "
            "!e.children.length && e.scrollWidth > e.clientWidth + 1 && e.clientWidth)"
            ".map((e) => e.textContent)"
        )
        assert "tournament" not in cut
    front.picture(f"calibrate-{'vue' if vue else 'classic'}")
