"""Hostile files and pages: the panel shows their texts, draws or refuses in words, answers."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path

import pytest
from dc_solver import ratios
from dc_solver.ratios import CPR, Identity, RatioSchedule
from dc_solver.web.panel import shelf, views
from dc_solver.web.panel.cards import reports
from dc_solver.web.panel.desk import Desk, Seen
from dc_solver.web.panel.shelf import Shelf
from dc_solver.web.panel.words import safe
from hypothesis import example, given, settings
from hypothesis import strategies as st
from panel_library import FOUND

HOSTILE = '<img src=x onerror="alert(1)">${alert(1)}{{value}}`$x$'


def test_texts_of_files_are_shown_and_do_nothing(folder: Path) -> None:
    name = "<b>$a_b$ ${1+1} {{value}} '\" &amp;"
    identity = Identity(model_class=HOSTILE[:24], scheduler=HOSTILE, fingerprint=HOSTILE)
    bad = RatioSchedule((1.0, 1.0, 1.2), cfg=2.0, identity=identity, notes=(HOSTILE,))
    folder.mkdir(parents=True)
    path = folder / f"{name}.safetensors"
    ratios.save(bad, path)
    changes, _ = Desk(Shelf(lambda: folder)).open(Seen(), "", 7, 4.0)
    shown = "".join(v for part in changes.values() if isinstance(v := part.get("value"), str))
    assert "<img" not in shown and "<b>$" not in shown and "${" not in shown
    assert "{{" not in shown and "`" not in shown
    text = html.unescape(re.sub("<.*?>", "", changes["report"]["value"]))
    assert name in text and HOSTILE in text


@given(st.text())
def test_escaping_loses_nothing(text: str) -> None:
    escaped = safe(text)
    assert not set("<>\"'`${}") & set(escaped) and html.unescape(escaped) == html.unescape(
        html.escape(text)
    )


def test_names_that_no_page_can_show_are_listed_all_the_same(folder: Path) -> None:
    content = ratios.save(FOUND, folder / "plain.safetensors").read_bytes()
    odd = [b"bad\xff\xfe.safetensors", b"two\nlines.safetensors", b"two\rlines.safetensors"]
    try:
        for name in odd:
            Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    except OSError:
        pytest.skip("a disk that refuses such names")
    entries = Shelf(lambda: folder).entries()
    assert len({entry.name for entry in entries}) == 4
    json.dumps([entry.label for entry in entries]).encode("utf-8")
    assert all(entry.label.count("\n") == 1 for entry in entries)
    cards = reports(entries).encode("utf-8")
    assert cards.count(b"download=") == 4


@given(
    st.lists(st.floats(-1e12, 1e12), min_size=36, max_size=36),
    st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
    st.tuples(*[st.floats(-1e4, 1e4)] * 2),
)
@example([0.0] * 35 + [101.0], (1, 1), (0.0, 0.0))
@settings(max_examples=30, deadline=None)
def test_any_regression_is_drawn_or_refused_in_words(
    coefficients: list[float], steps: tuple[int, int], cfgs: tuple[float, float]
) -> None:
    cpr = CPR(tuple(coefficients), (min(steps), max(steps)), (min(cfgs), max(cfgs)))
    entry = shelf.Entry("any.safetensors", Path("any.safetensors"), (0, 0), cpr)
    shown = views.board([entry], 7, 4.0)
    assert "<svg" in shown or "cannot be shown" in shown


@pytest.mark.parametrize("values", [(1e6, -1e6), (1e-300,) * 999, (100.5, 1.0)])
def test_any_list_of_ratios_is_drawn_or_refused_in_words(values: tuple[float, ...]) -> None:
    entry = shelf.Entry("any", Path("any"), (0, 0), RatioSchedule((1.0, *values)))
    shown = views.board([entry], 7, 4.0)
    assert ("<svg" in shown) is (max(map(abs, values)) <= views.MOST_RATIO)
    assert ("are not drawn" in shown) is ("<svg" not in shown)


@pytest.mark.parametrize("sent", [None, "", "x", [], {}, float("nan"), 1e400, -5, True])
def test_whatever_a_page_sends_is_answered(library: Shelf, sent: object) -> None:
    panel = Desk(library)
    assert "<svg" in panel.move(["cpr.safetensors"], sent, sent)
    panel.choose(Seen(), sent, sent, sent)
    panel.filter(sent, "")
    changes, _ = panel.choose(Seen(), ["../found.safetensors", "/etc/passwd"], 7, 4.0)
    assert "no longer there" in changes["said"]["value"]
