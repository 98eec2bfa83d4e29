"""The example workflows in the real front end, and their graphs run with small models."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import new_tab, open_comfy
from comfy_server import ComfyServer
from dc_solver import ratios
from dc_solver.demo import emoji
from dc_solver.ratios import CPR, Identity, RatioSchedule
from graphs import CALIBRATION, Graph, model_graph, node
from PIL import Image

FILES = sorted((Path(__file__).resolve().parents[2] / "example_workflows").glob("*.json"))
SERVED = "/api/workflow_templates/dc-solver.pack"  # the folder that the tests give the pack
MUTED = 2
FITTED = ratios.fit_cpr(
    [
        RatioSchedule(
            (1.0, 1.0, *(1.0 + 0.01 * (i + cfg) for i in range(2, steps))),
            cfg=cfg, identity=Identity(scheduler="simple"),
        )
        for steps in (5, 6, 8, 10)
        for cfg in (2.0, 4.0, 7.0)
    ]
)  # fmt: skip
#: Nodes with nothing to run.
NOTES = {"MarkdownNote", "Note"}
OPEN = """async (address) => {
  const saved = await (await fetch(address)).json();
  await app.loadGraphData(saved);
  await new Promise((done) => setTimeout(done, 500));
  const { nodes } = app.graph;
  return {
    missing: nodes.filter((n) => n.has_errors || !LiteGraph.registered_node_types[n.type])
      .map((n) => n.type),
    dialogs: [...document.querySelectorAll(".p-dialog, [role=dialog]")].map((d) => d.innerText),
    saved: app.graph.serialize(),
  };
}"""
PROMPT = """async (muted) => {
  for (const node of app.graph.nodes) if (node.mode === muted) node.mode = 0;
  return (await app.graphToPrompt()).output;
}"""


class Page:
    """The front end, and what it says is wrong."""

    def __init__(self, page: Any, comfy: ComfyServer) -> None:
        self._page = page
        self.wrong: list[str] = []
        open_comfy(page, comfy, {})
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))

    def _heard(self, message: Any) -> None:
        if message.type == "error":
            self.wrong.append(f"{message.text} {message.location.get('url', '')}")

    def open(self, name: str) -> dict[str, Any]:
        """Open a template as the host serves it; what came of it."""
        self.wrong.clear()
        opened: dict[str, Any] = self._page.evaluate(OPEN, f"{SERVED}/{name}.json")
        self._page.wait_for_timeout(500)  # curves ask the server
        return opened

    def prompt(self, name: str) -> Graph:
        """What the front end would queue, with muted nodes switched on."""
        self.open(name)
        graph: Graph = self._page.evaluate(PROMPT, MUTED)
        return graph


@pytest.fixture(scope="module")
def page(comfy: ComfyServer) -> Iterator[Page]:
    Image.new("RGB", (64, 64)).save(comfy.inputs / "example.png")  # every ComfyUI has one
    with new_tab() as tab:
        yield Page(tab, comfy)


@pytest.fixture(scope="module")
def known(comfy: ComfyServer) -> dict[str, Any]:
    info: dict[str, Any] = comfy.get("/object_info")
    return info


def test_the_host_offers_every_example_with_its_picture(comfy: ComfyServer) -> None:
    (offered,) = [v for k, v in comfy.get("/workflow_templates").items() if "dc-solver" in k]
    assert sorted(offered) == [path.stem for path in FILES]
    for path in FILES:
        with urllib.request.urlopen(f"{comfy.url}{SERVED}/{path.stem}.jpg", timeout=30) as answer:
            assert answer.read() == path.with_suffix(".jpg").read_bytes()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_opens_as_it_was_saved(comfy: ComfyServer, page: Page, path: Path) -> None:
    for file in files_loaded(path):
        ratios.save(FITTED, comfy.library / file)
    opened = page.open(path.stem)
    assert not opened["missing"] and not opened["dialogs"] and not page.wrong
    before, after = json.loads(path.read_text(encoding="utf-8")), opened["saved"]
    assert ends(after) == ends(before)
    assert values(after) == values(before)
    sizes = {n["id"]: n["size"] for n in before["nodes"]}
    for n in after["nodes"]:
        assert list(n["size"]) == pytest.approx(sizes[n["id"]], abs=1.0), n["type"]


def files_loaded(path: Path) -> list[str]:
    nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    return [n["widgets_values"][0] for n in nodes if n["type"] == "DCSolverLoadRatios"]


def ends(workflow: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is joined to what, by names, since hosts may add inputs to their nodes."""
    nodes = {n["id"]: n for n in workflow["nodes"]}
    return sorted(
        (origin, nodes[origin]["outputs"][output]["name"],
         target, nodes[target]["inputs"][slot]["name"])
        for _, origin, output, target, slot, _ in workflow["links"]
    )  # fmt: skip


def values(workflow: dict[str, Any]) -> dict[int, Any]:
    return {n["id"]: n.get("widgets_values") or [] for n in workflow["nodes"]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_makes_a_whole_prompt(page: Page, known: dict[str, Any], path: Path) -> None:
    graph = page.prompt(path.stem)
    saved = json.loads(path.read_text(encoding="utf-8"))["nodes"]
    assert {int(key) for key in graph} == {n["id"] for n in saved if n["type"] not in NOTES}
    for one in graph.values():
        kind, given = one["class_type"], one["inputs"]
        assert kind in known
        required = known[kind]["input"].get("required", {})
        assert not required.keys() - given.keys(), kind
        for value in given.values():
            if isinstance(value, list):
                key, output = value
                assert output < len(known[graph[key]["class_type"]]["output"])


def with_small_models(comfy: ComfyServer, graph: Graph, kind: str = "eps") -> Graph:
    """The same graph, with emoji models where it loads some or encodes for them."""
    small = model_graph(kind, emoji.points(range(1000, 1004)).conditions, comfy.inputs)
    small["clip"] = node("EmojiClip", file=small["prompts"]["inputs"]["file"])
    small["vae"] = node("EmojiVae", codec="emoji_codec.safetensors")
    swaps: dict[tuple[str, int], list[Any]] = {}
    kept: Graph = {}
    for key, one in graph.items():
        title = one["_meta"]["title"]
        if one["class_type"] == "CheckpointLoaderSimple":
            swaps |= {(key, k): [name, 0] for k, name in enumerate(("model", "clip", "vae"))}
        elif one["class_type"] == "TripleCLIPLoader":
            swaps[key, 0] = ["clip", 0]
        elif one["class_type"] == "CLIPTextEncode":
            swaps[key, 0] = ["prompts", int(title.startswith("Negative"))]
        elif one["class_type"] in ("EmptyLatentImage", "EmptySD3LatentImage", "VAEEncode"):
            swaps[key, 0] = ["latent", 0]
        elif one["class_type"] not in ("LoadImage", "ImageScale"):
            kept[key] = {"class_type": one["class_type"], "inputs": dict(one["inputs"])}
    for one in kept.values():
        for name, value in one["inputs"].items():
            if isinstance(value, list):
                one["inputs"][name] = swaps.get((value[0], value[1]), value)
        if one["class_type"] == "DCSolverPrompts":
            one["inputs"]["text"] = "0\n1\n2\n3"
    return small | kept


def keys(graph: Graph, kind: str) -> list[str]:
    return [key for key, one in graph.items() if one["class_type"] == kind]


def pictures(comfy: ComfyServer, shown: dict[str, Any], key: str) -> list[Path]:
    found = [comfy.output_file(entry) for entry in shown[key]["images"]]
    assert found and all(path.is_file() for path in found)
    return found


@pytest.mark.parametrize(
    ("name", "kind", "folder"),
    [
        ("sd15_few_steps", "eps", "sd15"),
        ("sd15_img2img", "eps", "img2img"),
        ("sd35_custom_sampling", "flow", "sd35"),
    ],
)
def test_an_image_is_made(
    comfy: ComfyServer, page: Page, name: str, kind: str, folder: str
) -> None:
    graph = with_small_models(comfy, page.prompt(name), kind)
    shown = comfy.run(graph)
    (save,) = keys(graph, "SaveImage")
    (file,) = pictures(comfy, shown, save)
    assert file.parent.name == "dc_solver" and file.name.startswith(folder)
    for key in keys(graph, "DCSolverKSampler"):
        assert "the library is empty" in shown[key]["text"][0]


def test_the_predicted_ratios_run(comfy: ComfyServer, page: Page) -> None:
    graph = with_small_models(comfy, page.prompt("sdxl_predicted_ratios"))
    (load,) = keys(graph, "DCSolverLoadRatios")
    ratios.save(FITTED, comfy.library / graph[load]["inputs"]["file"])
    (sampler,), (predict,) = keys(graph, "DCSolverKSampler"), keys(graph, "DCSolverPredictRatios")
    for name in ("steps", "cfg"):
        assert graph[sampler]["inputs"][name] == graph[predict]["inputs"][name], "one slider"
    (steps,), (cfg,) = keys(graph, "PrimitiveInt"), keys(graph, "PrimitiveFloat")
    expected = FITTED.predict(graph[steps]["inputs"]["value"], graph[cfg]["inputs"]["value"])
    shown = comfy.run(graph)
    assert numbers(shown[sampler]["text"][0]) == pytest.approx(expected.ratios, abs=6e-4)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\b\d\.\d{3}\b", text)]


def test_calibrations_are_made_and_kept(comfy: ComfyServer, page: Page) -> None:
    few = {"seeds": 4, "check_seeds": 3, "reference_steps": 24}
    graph = with_small_models(comfy, page.prompt("calibrate_and_save"))
    calibrations = [*keys(graph, "DCSolverCalibrate"), *keys(graph, "DCSolverCalibrateGrid")]
    assert len(calibrations) == 2
    for key in calibrations:
        assert few.keys() <= CALIBRATION.keys() <= graph[key]["inputs"].keys()
        graph[key]["inputs"] |= few
    shown = comfy.run(graph)
    names = {graph[key]["inputs"]["name"] for key in keys(graph, "DCSolverSaveRatios")}
    files = [comfy.library / f"{name}.safetensors" for name in names]
    assert {type(ratios.load(file)) for file in files} == {RatioSchedule, CPR}
    one, grid = (len(pictures(comfy, shown, key)) for key in calibrations)
    assert one == 1 and grid == 1 + 12, "the comparison; the curves and one for each setting"


def test_the_file_that_one_saves_is_the_file_that_another_loads(page: Page) -> None:
    saving, loading = page.prompt("calibrate_and_save"), page.prompt("sdxl_predicted_ratios")
    saved = {saving[key]["inputs"]["name"] for key in keys(saving, "DCSolverSaveRatios")}
    (load,) = keys(loading, "DCSolverLoadRatios")
    assert loading[load]["inputs"]["file"].removesuffix(".safetensors") in saved


def test_samplers_are_compared(comfy: ComfyServer, page: Page) -> None:
    graph = with_small_models(comfy, page.prompt("compare_samplers"))
    stock, ours = keys(graph, "KSampler"), keys(graph, "DCSolverKSampler")
    names = [graph[key]["inputs"]["sampler_name"] for key in stock]
    assert names == ["euler", "uni_pc", "dpmpp_2m"] and len(ours) == 1
    same = ("model", "positive", "negative", "latent_image", "seed", "steps", "cfg", "scheduler",
            "denoise")  # fmt: skip
    settings = [[graph[key]["inputs"][name] for name in same] for key in (*stock, *ours)]
    assert all(one == settings[0] for one in settings)
    shown = comfy.run(graph)
    seen = {pictures(comfy, shown, key)[0].read_bytes() for key in keys(graph, "PreviewImage")}
    assert len(seen) == 4
