"""ComfyUI serves the languages, and the English one is word for word what the nodes say."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer

ROOT = Path(__file__).resolve().parents[2]
MODULE = "dc-solver.pack"  # the folder that the tests give the pack
LANGUAGES = ("en", "zh", "ja")


@pytest.fixture(scope="module")
def nodes(comfy: ComfyServer) -> dict[str, Any]:
    """The pack's nodes as the host knows them."""
    info = comfy.get("/object_info")
    return {
        name: node for name, node in info.items() if node["python_module"].endswith(f".{MODULE}")
    }


def label(name: str) -> str:
    return name.replace("_", " ")


def said(node: dict[str, Any]) -> dict[str, Any]:
    """What a node says, in the shape of a locale."""
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    slots = zip(node["output"], node["output_name"], node.get("output_tooltips") or ())
    outputs = {
        # An output that is named by its type has its name from the host, in every language.
        str(k): {**({} if name == kind else {"name": label(name)}), "tooltip": tooltip}
        for k, (kind, name, tooltip) in enumerate(slots)
    }
    assert len(outputs) == len(node["output"])
    found = {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {
            name: {"name": label(name), "tooltip": options.get("tooltip")}
            for name, (_, options) in inputs.items()
        },
    }
    return {**found, "outputs": outputs} if outputs else found


def shown(content: Any) -> Any:
    """A locale as people read it: {'x'} is how its messages write an x that means something."""
    if isinstance(content, str):
        return re.sub(r"\{'(.)'\}", r"\1", content)
    return {key: shown(value) for key, value in content.items()}


def test_english_is_what_the_nodes_say(nodes: dict[str, Any]) -> None:
    english = json.loads((ROOT / "locales/en/nodeDefs.json").read_text(encoding="utf-8"))
    assert english.keys() == nodes.keys()
    for name, node in nodes.items():
        assert shown(english[name]) == said(node), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_host_serves_every_language(comfy: ComfyServer, language: str) -> None:
    served = comfy.get("/i18n")[language]
    for file in (ROOT / "locales" / language).iterdir():
        content = json.loads(file.read_text(encoding="utf-8"))
        there = served if file.stem == "main" else served[file.stem]
        assert {key: there[key] for key in content} == content


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_host_serves_every_help_page(
    comfy: ComfyServer, nodes: dict[str, Any], language: str
) -> None:
    for name in nodes:
        # Where the front end looks; English it finds at the second address that it tries.
        page = f"{name}.md" if language == "en" else f"{name}/{language}.md"
        with urllib.request.urlopen(f"{comfy.url}/extensions/{MODULE}/docs/{page}") as answer:
            text = answer.read().decode("utf-8")
        assert text == (ROOT / "web/comfy/docs" / page).read_text(encoding="utf-8")
        assert "html" not in answer.headers["Content-Type"]  # newer front ends refuse it
