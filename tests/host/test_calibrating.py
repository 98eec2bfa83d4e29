"""A calibration as a user lives it, in a real ComfyUI: prompts, progress, memory, pictures."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfy_server import ComfyServer, PromptError
from dc_solver import ratios
from dc_solver.demo import emoji
from dc_solver.ratios import RatioSchedule
from graphs import CALIBRATION, Graph, inputs, model_graph, node
from PIL import Image
from websocket import WebSocket

CFG = 3.0
FEW = {**CALIBRATION, "seeds": 4, "check_seeds": 3, "reference_steps": 24}


def calibration_graph(comfy: ComfyServer, rows: int, **settings: Any) -> Graph:
    graph = model_graph("eps", emoji.points(range(1000, 1000 + rows)).conditions, comfy.inputs)
    common = {**inputs(), **FEW, "steps": 5, "cfg": CFG, "scheduler": "simple", **settings}
    graph["cal"] = node("DCSolverCalibrate", **common)
    return graph


def found_by(comfy: ComfyServer, graph: Graph) -> RatioSchedule:
    comfy.clear_library()
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="kept", overwrite=False)
    comfy.run(graph)
    found = ratios.load(comfy.library / "kept.safetensors")
    assert isinstance(found, RatioSchedule)
    return found


def with_prompts(comfy: ComfyServer, text: str, rows: int, **settings: Any) -> Graph:
    graph = calibration_graph(comfy, rows, positive=["lines", 0], **settings)
    file = graph["prompts"]["inputs"]["file"]
    graph["clip"] = node("EmojiClip", file=file)
    graph["lines"] = node("DCSolverPrompts", clip=["clip", 0], text=text)
    return graph


@pytest.mark.parametrize("batch", [7, 3, 1])
def test_prompts_one_a_line_are_those_of_their_seeds(comfy: ComfyServer, batch: int) -> None:
    """As a batch of conditionings in which each row is a seed's own."""
    expected = found_by(comfy, calibration_graph(comfy, 7, batch_size=7))
    text = "\n".join(f"  {k} " for k in range(7)) + "\n\n"
    found = found_by(comfy, with_prompts(comfy, text, 7, batch_size=batch))
    assert found.ratios == pytest.approx(expected.ratios, abs=1e-3)
    one = found_by(comfy, with_prompts(comfy, "0", 7))
    assert one.ratios != pytest.approx(expected.ratios, abs=1e-3)


def test_seeds_take_turns_at_fewer_prompts(comfy: ComfyServer) -> None:
    expected = found_by(comfy, with_prompts(comfy, "0\n1\n2\n0\n1\n2\n0", 3))
    found = found_by(comfy, with_prompts(comfy, "0\n1\n2", 3))
    assert found.ratios == pytest.approx(expected.ratios, abs=1e-6)


def test_prompts_of_different_lengths_keep_to_their_seeds(comfy: ComfyServer) -> None:
    text = "0\n1 x 2\n2\n3 x 3\n4\n5\n6 x 2"
    alone = found_by(comfy, with_prompts(comfy, text, 7, batch_size=1))
    together = found_by(comfy, with_prompts(comfy, text, 7, batch_size=7))
    assert together.ratios == pytest.approx(alone.ratios, abs=1e-3)


def test_no_prompts_are_refused(comfy: ComfyServer) -> None:
    with pytest.raises(PromptError, match="expected 1 to 100 prompts"):
        comfy.run(with_prompts(comfy, " \n", 7))


def test_memory_that_runs_out_halves_the_batch(comfy: ComfyServer) -> None:
    expected = found_by(comfy, calibration_graph(comfy, 7, batch_size=7))
    graph = calibration_graph(comfy, 7, batch_size=7)
    graph["little"] = node("LittleMemory", model=["model", 0], rows=4)
    graph["cal"]["inputs"]["model"] = ["little", 0]
    found = found_by(comfy, graph)
    assert found.ratios == pytest.approx(expected.ratios, abs=1e-3)
    assert "out of memory at 7 points a call, going on with 3" in comfy.log.read_text()
    graph["little"]["inputs"]["rows"] = 0
    with pytest.raises(PromptError, match="out of memory"):
        found_by(comfy, graph)


def test_an_automatic_batch_size_is_the_default(comfy: ComfyServer) -> None:
    widget = comfy.get("/object_info/DCSolverCalibrate")["DCSolverCalibrate"]["input"]["required"]
    assert widget["batch_size"][1]["default"] == 0
    expected = found_by(comfy, calibration_graph(comfy, 7, batch_size=7))
    found = found_by(comfy, calibration_graph(comfy, 7, batch_size=0))
    assert found.ratios == pytest.approx(expected.ratios, abs=1e-3)


def test_cost_time_and_previews_are_shown_while_it_runs(comfy: ComfyServer) -> None:
    graph = calibration_graph(comfy, 7, seeds=10, check_seeds=6, batch_size=1, reference_steps=90)
    socket = WebSocket(f"{comfy.url}/ws?clientId=watch")
    try:
        prompt = comfy.post("/prompt", {"prompt": graph, "client_id": "watch"})["prompt_id"]
        told, pictures, values = [], 0, []
        while True:
            message = socket.read()
            if isinstance(message, bytes):
                kind = int.from_bytes(message[:4], "big")
                pictures += kind in (1, 4)
                continue
            event = json.loads(message)
            data = event.get("data", {})
            if event["type"] == "dc_solver.text" and data["node"] == "cal":
                told.append(data["text"])
            if event["type"] == "progress" and data.get("node") == "cal":
                values.append(data["value"] / data["max"])
            if event["type"] in ("execution_success", "execution_error", "execution_interrupted"):
                break
    finally:
        socket.close()
    comfy.wait(prompt)
    assert any(
        re.search(r"about 1\d\d\d model calls of one image, more where", text) for text in told
    )
    assert any(re.search(r"\d+ of about 1\d\d\d model calls", text) for text in told)
    if len(told) > 8:  # a look a second: long enough for a time left
        assert any(re.search(r"model calls, \d+ s left", text) for text in told)
    assert values == sorted(values) and values[-1] == 1.0 and len(values) > 1000
    jumps = np.diff(values)
    assert jumps.max() < 0.1, "the bar moves evenly"
    assert pictures >= 2


def test_the_comparison_shows_three_seeds(comfy: ComfyServer, tmp_path: Path) -> None:
    graph = calibration_graph(comfy, 16, seeds=10, check_seeds=6, batch_size=16, vae=["vae", 0])
    graph["vae"] = node("EmojiVae", codec="emoji_codec.safetensors")
    graph["save"] = node("SaveImage", images=["cal", 3], filename_prefix="compared")
    grid = {k: v for k, v in graph["cal"]["inputs"].items() if k not in ("steps", "cfg")}
    graph["grid"] = node("DCSolverCalibrateGrid", **grid, steps_list="4, 5", cfg_list="3")
    graph["save_grid"] = node("SaveImage", images=["grid", 3], filename_prefix="compared_grid")
    shown = comfy.run(graph)
    assert len(shown["cal"]["images"]) == 1 and len(shown["save_grid"]["images"]) == 2
    assert len(shown["grid"]["images"]) == 3, "the curves, and a comparison of each"
    assert shown["cal"]["dc_curve"][0]["steps"] == 5
    file = comfy.output_file(shown["save"]["images"][0])
    pixels = np.asarray(Image.open(file).convert("RGB"), dtype=np.float32) / 255.0
    cells = image_cells(pixels, 3, 3)
    plain, _, reference = (torch.from_numpy(np.stack(column)) for column in cells)
    assert plain.std() > 0.05 and (plain - reference).square().mean() > 1e-4
    # The pictures are those of the check seeds: the same as the library makes.
    points = emoji.points(range(1000, 1016))
    model = emoji.load("eps")
    from dc_solver.demo import grids
    from dc_solver.solvers import sample

    sigmas = grids.make_sigmas("simple", model.sigmas, 5, flow=False)
    own = sample(
        model.denoiser(CFG), model.start(points.noise[10:13], float(sigmas[0])), sigmas,
        solver="unipc", schedule=model.schedule, disable=True,
        extra_args={"condition": points.conditions[10:13]},
    )  # fmt: skip
    expected = emoji.decode(own)
    assert (plain - expected).abs().max() < 0.02


def image_cells(pixels: np.ndarray, columns: int, rows: int) -> list[list[np.ndarray]]:
    """The 32 pixel images of a comparison, read back from their enlargement by 5."""
    size, gap, head = 160, 6, 54
    cells = []
    for c in range(columns):
        left = gap + c * (size + gap)
        tops = [head + r * (size + gap) for r in range(rows)]
        cells.append([pixels[top + 2 : top + size : 5, left + 2 : left + size : 5] for top in tops])
    return cells


def test_a_picture_that_fails_loses_no_calibration(comfy: ComfyServer) -> None:
    graph = calibration_graph(comfy, 7, vae=["vae", 0], check_seeds=1)
    graph["vae"] = node("OtherVae")
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="kept", overwrite=True)
    graph["see"] = node("PreviewImage", images=["cal", 3])
    shown = comfy.run(graph)
    assert (comfy.library / "kept.safetensors").is_file()
    assert shown["cal"]["images"] == [] and "see" not in shown
    (text,) = shown["cal"]["text"]
    assert text.startswith("No picture: ") and "expected 16 channels, got 4" in text
    assert "DC-Solver ratios: " in text
    assert "expected 16 channels, got 4" in comfy.log.read_text(encoding="utf-8")


def test_without_a_vae_the_comparison_says_what_it_needs(comfy: ComfyServer) -> None:
    graph = calibration_graph(comfy, 7)
    graph["save"] = node("SaveImage", images=["cal", 3], filename_prefix="none")
    shown = comfy.run(graph)
    assert "save" not in shown and not shown["cal"]["images"]
    assert shown["cal"]["text"][0].startswith("DC-Solver ratios: ")
    graph["cal"]["inputs"].update(check_seeds=0, vae=["vae", 0])
    graph["vae"] = node("EmojiVae", codec="emoji_codec.safetensors")
    shown = comfy.run(graph)
    assert "save" not in shown and not shown["cal"]["images"]
    assert shown["cal"]["text"][0].startswith("No picture: a comparison needs check_seeds of 1")


def test_a_changed_downstream_node_does_not_calibrate_again(comfy: ComfyServer) -> None:
    graph = calibration_graph(comfy, 7, first_seed=3000)
    graph["plot"] = node("DCSolverPlotRatios", ratios=["cal", 0])
    comfy.run(graph)
    graph["other"] = node("DCSolverPlotRatios", ratios=["cal", 0], ratios_2=["cal", 0])
    began = time.monotonic()
    entry = comfy.wait(comfy.queue(graph))
    print(f"the second run took {time.monotonic() - began:.2f} s")
    (cached,) = [m for m in entry["status"]["messages"] if m[0] == "execution_cached"]
    assert "cal" in cached[1]["nodes"]


def test_a_patch_that_remembers_is_refused_before_anything_runs(comfy: ComfyServer) -> None:
    for kind, settings in (
        ("EasyCache", {"reuse_threshold": 0.2, "start_percent": 0.1, "end_percent": 0.9,
                       "verbose": False}),
        ("APG", {"eta": 1.0, "norm_threshold": 5.0, "momentum": 0.5}),
    ):  # fmt: skip
        graph = calibration_graph(comfy, 7)
        graph["patch"] = node(kind, model=["model", 0], **settings)
        graph["cal"]["inputs"]["model"] = ["patch", 0]
        with pytest.raises(PromptError, match="remembers earlier steps"):
            comfy.run(graph)


def test_a_stand_in_for_a_missing_file_is_not_saved(comfy: ComfyServer) -> None:
    for output in (0, 1):
        graph = {
            "load": node("DCSolverLoadRatios", file="gone.safetensors"),
            "keep": node("DCSolverSaveRatios", ratios=["load", output], name="x", overwrite=True),
        }
        with pytest.raises(PromptError, match="is not in this library"):
            comfy.run(graph)
    assert not list(comfy.library.glob("*.safetensors"))
