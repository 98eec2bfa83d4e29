"""Every language says the same about the same nodes, in the node and in its help page."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
LOCALES, DOCS = ROOT / "locales", ROOT / "web" / "comfy" / "docs"
TRANSLATED = ("zh", "ja")
LANGUAGES = ("en", *TRANSLATED)
#: What people leave in English, in small letters.
LEFT_IN_ENGLISH = {"cfg", "cpr", "vae", "clip", "sigmas", "ksampler (dc-solver)"}
#: How a page marks the name of a node.
NODE_NAMES = {
    "en": r"(?<!\*)\*([^*\n]+)\*(?!\*)",
    "zh": "\u201c([^\u201d\n]+)\u201d",
    "ja": "\u300c([^\u300d\n]+)\u300d",
}
STOCK_NODES = {
    "KSampler",
    "SamplerCustom",
    "SamplerCustomAdvanced",
    "DualCFGGuider",
    "FluxGuidance",
    *("Save Image", "保存图像", "画像を保存"),
}


def node_ids() -> list[str]:
    """The ids in the pack's table of nodes."""
    for statement in ast.walk(ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            if names == ["NODE_CLASS_MAPPINGS"]:
                return [key.value for key in statement.value.keys if isinstance(key, ast.Constant)]
    raise AssertionError("no NODE_CLASS_MAPPINGS")


NODES = node_ids()


def read(language: str, file: str = "nodeDefs.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((LOCALES / language / file).read_text(encoding="utf-8"))
    return found


def texts(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """All texts of a locale file with where they stand."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from texts(value, f"{path}/{key}")
    else:
        assert isinstance(content, str), path
        yield path, content


def page(node: str, language: str) -> str:
    """English is at the address that the front end falls back to for languages we have not."""
    place = DOCS / f"{node}.md" if language == "en" else DOCS / node / f"{language}.md"
    return place.read_text(encoding="utf-8")


def on_one_line(text: str) -> str:
    return " ".join(text.split())


def plain_name(display_name: str) -> str:
    return display_name.split(" (")[0]


def test_there_are_the_same_files_for_every_language() -> None:
    files = {
        language.name: {file.name for file in language.iterdir()} for language in LOCALES.iterdir()
    }
    assert files.keys() == set(LANGUAGES)
    assert files["en"] == {"nodeDefs.json"}
    named = {"nodeDefs.json", "main.json", "commands.json", "settings.json"}
    assert files["zh"] == files["ja"] == named
    assert list(read("en")) == NODES
    pages = {file.relative_to(DOCS).as_posix() for file in DOCS.rglob("*.md")}
    names = [(f"{node}.md", *(f"{node}/{other}.md" for other in TRANSLATED)) for node in NODES]
    assert pages == {name for group in names for name in group}


@pytest.mark.parametrize("language", TRANSLATED)
def test_everything_is_translated(language: str) -> None:
    for file in sorted(path.name for path in (LOCALES / "en").iterdir()):
        english, translated = dict(texts(read("en", file))), dict(texts(read(language, file)))
        assert list(translated) == list(english)
        for place, text in translated.items():
            assert text.strip() == text != "", place
            same = text.casefold() == english[place].casefold()
            assert not same or text.casefold() in LEFT_IN_ENGLISH, f"{place} is not translated"
            lost = set(re.findall(r"\d+(?:\.\d+)?", english[place])) - set(
                re.findall(r"\d+(?:\.\d+)?", text)
            )
            assert not lost, f"{place} has lost {lost}"


def placeholders(sentence: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}", sentence))


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_of_the_front_end_is_translated(language: str) -> None:
    scripts = (path.read_text(encoding="utf-8") for path in DOCS.parent.glob("*.js"))
    said = {s for text in scripts for s in re.findall(r'\bsay\(\s*"([^"]+)"', text)}
    translated = read(language, "main.json")["dcSolver"]
    assert set(translated) == said and len(said) > 10
    for sentence, translation in translated.items():
        assert placeholders(translation) == placeholders(sentence)
        assert re.search(r"[^\x00-\xff]", translation), "not translated"


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_command_and_setting_is_translated(language: str) -> None:
    script = (DOCS.parent / "panel.js").read_text(encoding="utf-8")
    ids = {text.replace(".", "_") for text in re.findall(r'"(DCSolver\.\w+)"', script)}
    assert len(ids) == 2
    found = {**read(language, "commands.json"), **read(language, "settings.json")}
    assert set(found) == ids
    assert all(re.search(r"[^\x00-\xff]", text) for _, text in texts(found)), "not translated"


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_means_something_else_to_the_front_end(language: str) -> None:
    """In its messages braces, @ and | are not themselves unless they are quoted: {'@'}."""
    for place, text in texts(read(language)):
        assert not re.search(r"[{}@|]", re.sub(r"\{'[{}@|]'\}", "", text)), place


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_names_what_there_is(language: str, node: str) -> None:
    known, text = read(language), page(node, language)
    title = text.splitlines()[0].removeprefix("# ")
    text = on_one_line(text)
    assert title in (known[node]["display_name"], plain_name(known[node]["display_name"]))

    slots = [*known[node]["inputs"].values(), *known[node].get("outputs", {}).values()]
    labels = {slot["name"] for slot in slots if "name" in slot}
    assert set(re.findall(r"\*\*(.+?)\*\*", text)) <= labels

    names = {entry["display_name"] for entry in known.values()}
    names |= {plain_name(name) for name in names if "KSampler" not in name}
    assert set(re.findall(NODE_NAMES[language], text)) <= names | STOCK_NODES


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translated_page_has_all_of_the_english_one(language: str, node: str) -> None:
    def parts(text: str) -> list[str]:
        """The headings, items and paragraphs of a page, by what they begin with."""
        return re.findall(r"(?:\A|\n\n+|\n(?=- |\d\. |#))(#+ |- |\d\. |)", text)

    def named(language: str, text: str) -> set[str]:
        """The inputs and outputs that it names."""
        return {
            f"{kind}/{key}"
            for kind in ("inputs", "outputs")
            for key, slot in read(language)[node].get(kind, {}).items()
            if f"**{slot.get('name')}**" in on_one_line(text)
        }

    english, translated = page(node, "en"), page(node, language)
    assert parts(translated) == parts(english)
    assert named(language, translated) == named("en", english)
    code = re.compile(r"`[^`]+`")
    assert set(code.findall(translated)) == set(code.findall(english))
