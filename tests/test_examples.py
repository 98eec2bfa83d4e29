"""The example workflows: whole, small, with a picture each, and made of nodes that the pack has."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "example_workflows").glob("*.json"))
OURS = "DCSolver"
#: Not of any node's own kind: they hold text, and no host runs them.
NOTES = {"MarkdownNote", "Note"}
#: Widgets with a second one under them, which says what becomes of a seed after a run.
WITH_CONTROL = {"seed", "noise_seed"}


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def workflow(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def by_id(items: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    found = {item["id"]: item for item in items}
    assert len(found) == len(items), "ids are used once"
    return found


def table() -> set[str]:
    """The ids in the pack's literal table of nodes."""
    for statement in ast.walk(ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if names == ["NODE_CLASS_MAPPINGS"]:
                keys = statement.value.keys
                return {key.value for key in keys if isinstance(key, ast.Constant)}
    raise AssertionError("no NODE_CLASS_MAPPINGS")


def test_there_are_examples_and_each_has_its_picture() -> None:
    folder = ROOT / "example_workflows"
    assert len(FILES) >= 6
    assert {p.name for p in folder.iterdir()} == {
        p.stem + suffix for p in FILES for suffix in (".json", ".jpg")
    }


def test_every_node_of_the_pack_that_makes_or_uses_ratios_is_shown() -> None:
    shown = {n["type"] for p in FILES for n in json.loads(p.read_text("utf-8"))["nodes"]}
    assert {name for name in shown if name.startswith(OURS)} == table() - {
        "DCSolverPlotRatios", "DCSolverScheduler",
    }  # fmt: skip


def test_the_picture_is_of_a_sane_size(path: Path) -> None:
    picture = path.with_suffix(".jpg")
    assert 10_000 < picture.stat().st_size < 150_000
    with Image.open(picture) as image:
        assert image.format == "JPEG"
        assert 800 <= image.width <= 1200 and 300 <= image.height <= 1000


def test_links_join_slots_of_one_type(workflow: dict[str, Any]) -> None:
    nodes = by_id(workflow["nodes"])
    assert workflow["last_node_id"] == max(nodes)
    ids = [link[0] for link in workflow["links"]]
    assert len(set(ids)) == len(ids) and workflow["last_link_id"] == max(ids)
    for link, origin, output, target, slot, kind in workflow["links"]:
        source, sink = nodes[origin]["outputs"][output], nodes[target]["inputs"][slot]
        assert link in source["links"] and sink["link"] == link
        assert source["type"] in sink["type"].split(",") and kind in (source["type"], sink["type"])
    at_inputs = [s["link"] for n in nodes.values() for s in n["inputs"] if s["link"] is not None]
    at_outputs = [k for n in nodes.values() for s in n["outputs"] for k in s["links"] or ()]
    assert sorted(at_inputs) == sorted(at_outputs) == sorted(ids)


def test_points_that_links_run_through_are_there(workflow: dict[str, Any]) -> None:
    links = {link[0] for link in workflow["links"]}
    points = by_id(workflow["extra"].get("reroutes", []))
    runs: dict[int, set[int]] = {point: set() for point in points}
    for ends in workflow["extra"].get("linkExtensions", []):
        assert ends["id"] in links
        point = ends["parentId"]
        while point is not None:
            runs[point].add(ends["id"])
            point = points[point].get("parentId")
    assert runs == {key: set(point["linkIds"]) for key, point in points.items()}


def test_our_nodes_are_as_the_pack_has_them(workflow: dict[str, Any]) -> None:
    described = json.loads((ROOT / "locales/en/nodeDefs.json").read_text(encoding="utf-8"))
    ours = [node for node in workflow["nodes"] if node["type"].startswith(OURS)]
    assert ours and {node["type"] for node in ours} <= table()
    for node in ours:
        names = [slot["name"] for slot in node["inputs"]]
        assert sorted(names) == sorted(described[node["type"]]["inputs"]), node["type"]


def test_every_widget_has_its_value(workflow: dict[str, Any]) -> None:
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        widgets = [slot["name"] for slot in node["inputs"] if "widget" in slot]
        controls = [
            name
            for name in widgets
            if name in WITH_CONTROL or (node["type"], name) == ("PrimitiveInt", "value")
        ]
        values = node.get("widgets_values", [])
        assert len(values) == len(widgets) + len(controls), node["type"]


def test_nodes_are_laid_out_without_overlaps(workflow: dict[str, Any]) -> None:
    title = 30
    boxes = []
    for node in workflow["nodes"]:
        numbers = [*node["pos"], *node["size"]]
        assert all(isinstance(number, int) for number in numbers)
        x, y, width, height = numbers
        boxes.append((x, y - title, x + width, y + height, node["type"]))
    for k, (left, top, right, bottom, name) in enumerate(boxes):
        for x0, y0, x1, y1, other in boxes[k + 1 :]:
            apart = right <= x0 or x1 <= left or bottom <= y0 or y1 <= top
            assert apart, f"{name} lies on {other}"


def test_one_short_note_says_what_to_do(workflow: dict[str, Any]) -> None:
    (note,) = [node for node in workflow["nodes"] if node["type"] in NOTES]
    (text,) = note["widgets_values"]
    assert 2 <= len(re.findall(r"\.(?=\s|$)", text)) <= 4 and len(text) < 450


def test_the_files_name_no_machine_and_no_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text) < 30_000
    assert not re.search(r'"/|[A-Za-z]:\\\\|\\\\\\\\|/home/|/Users/|/tmp/|file:', text)
    for junk in ("localized_name", "cnr_id", '"ver"', "frontendVersion", "aux_id", "VHS_", "ue_"):
        assert junk not in text
