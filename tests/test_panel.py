"""The panel without a browser: what it shows, what it does to files, and whom it lets in."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dc_solver import ratios
from dc_solver.ratios import CPR, Identity, RatioSchedule, Report
from dc_solver.ratios.plots import surface
from dc_solver.solvers import LearnedSteps
from dc_solver.web.panel import cards, desk, drawing, shelf, views
from dc_solver.web.panel.desk import Desk, Seen
from dc_solver.web.panel.shelf import Refused, Shelf
from dc_solver.web.panel.words import safe
from hypothesis import example, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent
FOUND = RatioSchedule(
    (1.0, 1.0, 1.1, 0.9, 1.3), cfg=3.0,
    identity=Identity(scheduler="simple", model_class="UNet", fingerprint="0123456789abcdef"),
    report=Report(
        losses=(0.1,) * 5, losses_plain=(0.2,) * 5, search_calls=10, reference_calls=64,
        check_calls=15, points=10, check_points=2, errors=(0.5, 0.5), errors_plain=(1.0, 1.0),
        errors_dpmpp_2m=(2.0, 2.0), found=(1.0, 1.0, 1.1, 0.9, 1.3), verdict="better",
    ),
)  # fmt: skip
KEPT = RatioSchedule(
    (1.0,) * 6, cfg=5.0,
    report=Report(errors=(1.2,), errors_plain=(1.0,), errors_dpmpp_2m=(2.0,), points=10,
                  check_points=1, found=(1.0, 1.0, 1.0, 1.2, 1.1, 1.0), verdict="not better"),
)  # fmt: skip


def calibrated(steps: int, cfg: float) -> RatioSchedule:
    later = [1 + 0.03 * cfg * (1.0 if i % 2 else -0.7) * i / steps for i in range(2, steps)]
    return RatioSchedule((1.0, 1.0, *later), cfg=cfg, identity=Identity(scheduler="beta"))


FITTED = ratios.fit_cpr([calibrated(n, w) for n in (5, 7, 10) for w in (2.0, 4.0, 7.0)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / "dc_ratios"


@pytest.fixture
def library(folder: Path) -> Shelf:
    """Three good files and a broken one; the oldest first: found, kept, cpr, broken."""
    for age, (name, obj) in enumerate([("found", FOUND), ("kept", KEPT), ("cpr", FITTED)]):
        path = ratios.save(obj, folder / f"{name}.safetensors")
        os.utime(path, (1000 + age, 1000 + age))
    (folder / "broken.safetensors").write_bytes(b"nothing of ours")
    os.utime(folder / "broken.safetensors", (1003, 1003))
    return Shelf(lambda: folder)


def stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_size


def state(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def chosen(library: Shelf, *names: str) -> list[shelf.Entry]:
    known = {entry.title: entry for entry in library.entries()}
    return [known[name] for name in names]


def table(shown: str) -> list[list[str]]:
    """The cells of the rows of values: name, setting, and a value a step."""
    body = re.search(r'class="dc-values">.*?<tbody>(.*?)</tbody>', shown, re.DOTALL)
    assert body
    rows = re.findall(r"<tr>(.*?)</tr>", body[1])
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)]
        for row in rows
    ]


# what is there


def test_the_list_says_what_each_file_is_for_the_newest_first(library: Shelf) -> None:
    entries = library.entries()
    assert [entry.title for entry in entries] == ["broken", "cpr", "kept", "found"]
    labels = [entry.label.replace("\N{NO-BREAK SPACE}", " ") for entry in entries]
    assert labels[0].startswith("⚠ broken\nbroken: expected a safetensors")
    assert "CPR 5\N{EN DASH}10 steps · CFG 2\N{EN DASH}7 · unchecked" in labels[1]
    assert "6 steps · CFG 5 · kept at 1 · model unknown · 1 Jan 1970" in labels[2]
    assert "5 steps · CFG 3 · 0.50 of UniPC's error · UNet 01234567 · simple" in labels[3]


def test_a_broken_file_says_why_and_blocks_nothing(library: Shelf) -> None:
    shown = views.board(chosen(library, "broken", "found"), 7, 4.0)
    assert "<b>broken cannot be shown: </b>expected a safetensors" in shown
    assert table(shown)[0][2:] == ["1.000", "1.000", "1.100", "0.900", "1.300"]


def test_no_folder_and_an_empty_one_say_how_to_begin(folder: Path) -> None:
    for _ in range(2):
        changes, seen = Desk(Shelf(lambda: folder)).open(Seen(), "", 7, 4.0)
        assert "No calibrations yet" in changes["board"]["value"]
        assert "models/dc_ratios" in changes["board"]["value"]
        assert changes["files"]["choices"] == [] and seen.files == ()
        folder.mkdir(parents=True, exist_ok=True)


def test_a_page_opens_on_the_newest_readable_file(library: Shelf) -> None:
    changes, seen = Desk(library).open(Seen(), "", 7, 4.0)
    assert changes["files"]["value"] == ["cpr.safetensors"] and seen.cpr == "cpr.safetensors"
    assert changes["sliders"]["visible"] is True
    assert "4 files · 1 broken" in changes["counted"]["value"]


def test_five_hundred_files_are_listed_and_filtered(folder: Path) -> None:
    content = ratios.save(FOUND, folder / "a000.safetensors").read_bytes()
    for k in range(1, 500):
        (folder / f"a{k:03d}.safetensors").write_bytes(content)
    panel = Desk(Shelf(lambda: folder))
    changes, seen = panel.open(Seen(), "", 7, 4.0)
    assert len(changes["files"]["choices"]) == 500
    assert "500 files" in changes["counted"]["value"]
    changes = panel.filter(["a007.safetensors"], "A12 simple")
    names = [name for _, name in changes["files"]["choices"]]
    assert sorted(names) == ["a007.safetensors", *(f"a12{k}.safetensors" for k in range(10))]
    assert "10 of 500 files" in changes["counted"]["value"]
    everything = [name for _, name in panel.filter([], "")["files"]["choices"]]
    changes, seen = panel.choose(seen, everything, 7, 4.0)
    assert len(table(changes["board"]["value"])) == views.MOST_CURVES
    assert "8 of the 500 chosen files are drawn" in changes["board"]["value"]


# curves, predictions and the heat map


def test_the_curves_drawn_are_those_of_the_files(
    library: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = []

    def spy(*arguments: object, **options: object) -> object:
        figures.append(drawing_figure(*arguments, **options))
        return figures[-1]

    drawing_figure = drawing.ratio_figure
    monkeypatch.setattr(drawing, "ratio_figure", spy)
    shown = views.board(chosen(library, "found", "cpr"), 7, 3.3)
    expected = FITTED.predict(7, 3.3).ratios
    lines = figures[0].axes[0].get_lines()[1:]
    assert tuple(lines[0].get_ydata()) == FOUND.ratios
    assert tuple(lines[1].get_ydata()) == expected
    assert lines[1].get_linestyle() == "-"
    rows = table(shown)
    assert rows[0][:2] == ["found", "5 steps · CFG 3"] and rows[1][:2] == [
        "cpr",
        "7 steps · CFG 3.3",
    ]
    assert rows[1][2:] == [f"{ratio:.3f}" for ratio in expected]
    assert rows[0][7:] == ["", ""]
    colours = re.findall(r"background:(#\w+)", shown)
    assert colours == [line.get_color() for line in lines]
    views.board(chosen(library, "cpr"), 14, 3.3)
    assert figures[1].axes[0].get_lines()[1].get_linestyle() == "--"


@pytest.mark.parametrize(("steps", "cfg", "why"), [
    (14, 4.0, "steps 14 is outside the fitted range 5 to 10: using the curve of 10"),
    (2, 4.0, "steps 2 is outside the fitted range 5 to 10: using the curve of 5"),
    (7, 9.0, "CFG 9 is outside the fitted range 2 to 7: using 7"),
])  # fmt: skip
def test_outside_the_fitted_range_is_flagged_not_extrapolated(
    library: Shelf, steps: int, cfg: float, why: str
) -> None:
    shown = views.board(chosen(library, "cpr"), steps, cfg)
    assert f"<b>cpr (dashed): </b>{why}." in shown
    assert table(shown)[0][2:] == [f"{x:.3f}" for x in FITTED.predict(steps, cfg).ratios]
    if steps == 7:
        assert table(shown)[0][2:] == [f"{x:.3f}" for x in FITTED.predict(7, 7.0).ratios]
    inside = views.board(chosen(library, "cpr"), 7, 4.0)
    assert "(dashed)" not in inside and "dc-note" not in inside


def test_what_a_prediction_warns_of_is_said_inside_the_range_too() -> None:
    cpr = ratios.fit_cpr([RatioSchedule((1.0,) * n, cfg=3.0) for n in (5, 7)])
    shown = views.board([shelf.Entry("calm", Path("calm"), (0, 0), cpr)], 6, 3.0)
    assert "<b>calm: </b>compensation did not help at the settings around this one" in shown


def test_choosing_a_cpr_brings_the_sliders_into_its_range_once(library: Shelf) -> None:
    panel = Desk(library)
    changes, seen = panel.choose(Seen(), ["cpr.safetensors"], 20, 12.0)
    assert changes["steps"]["value"] == 10 and changes["cfg"]["value"] == 7.0
    changes, seen = panel.choose(seen, ["cpr.safetensors", "found.safetensors"], 20, 12.0)
    assert changes["steps"]["value"] == 20 and changes["cfg"]["value"] == 12.0
    changes, _ = panel.choose(seen, ["found.safetensors"], 20, 12.0)
    assert changes["sliders"]["visible"] is False


def test_the_heat_map_holds_the_ratio_furthest_from_1_of_each_setting() -> None:
    cfgs, steps, values = surface(FITTED)
    assert list(steps) == [5, 6, 7, 8, 9, 10] and (cfgs[0], cfgs[-1]) == (2.0, 7.0)
    for i, count in enumerate(steps):
        for j in (0, 17, 40):
            curve = FITTED.predict(int(count), float(cfgs[j])).ratios
            low, high = min(curve), max(curve)
            assert values[i, j] == (high if high - 1.0 >= 1.0 - low else low)
    assert not np.isnan(values).any()


def test_the_diamond_stands_at_the_sliders() -> None:
    def at(steps: int, cfg: float) -> tuple[float, float]:
        found = re.search(
            r'dc-here" d="M(\S+) (\S+?)l', drawing.surface_svg(FITTED, "", (steps, cfg))
        )
        assert found
        return float(found[1]), float(found[2])

    (left, bottom), (right, top) = at(5, 2.0), at(10, 7.0)
    assert left < right and bottom > top
    middle = at(7, 4.5)
    assert middle[0] == pytest.approx((left + right) / 2, abs=0.02)
    assert middle[1] == pytest.approx(bottom + 0.4 * (top - bottom), abs=0.02)
    assert at(30, 20.0) == at(10, 7.0)


def test_a_report_tells_errors_and_carries_the_file(library: Shelf, folder: Path) -> None:
    import base64

    shown = cards.reports(chosen(library, "found", "kept", "broken"))
    assert shown.count("<section") == 2
    assert '<p class="dc-gain">0.50 of UniPC&#x27;s error</p>' in shown
    assert "DPM-Solver++(2M)</th><td><i style='width:100.0%'></i></td><td>2.00" in shown
    assert "ratios found, not kept</th>" in shown and "<td>1.20</td>" in shown
    link = re.search(r'download="found.safetensors" href="data:[^,]*base64,([^"]+)"', shown)
    assert link and base64.b64decode(link[1]) == (folder / "found.safetensors").read_bytes()


def test_learned_steps_have_a_picture_and_tell_their_quality(library: Shelf, folder: Path) -> None:
    given, own = (14.6, 6.0, 3.0, 1.5, 0.6, 0.0), (14.6, 7.0, 3.5, 1.6, 0.5, 0.0)
    steps = LearnedSteps(own, tuple(0.97 * sigma for sigma in own[:-1]))
    learned = replace(FOUND, ratios=(1.0,) * 5, sigmas=given, learned=steps, quality="full")
    ratios.save(learned, folder / "full.safetensors")
    ratios.save(replace(FOUND, quality="ratios+"), folder / "plus.safetensors")
    shown = views.board(chosen(library, "found", "full"), 7, 4.0)
    assert shown.count("<svg") == 2 and '<figure class="dc-steps">' in shown
    assert "5 steps · CFG 3 · learned steps (full)" in shown
    plain = views.board(chosen(library, "found", "plus"), 7, 4.0)
    assert plain.count("<svg") == 1 and "5 steps · CFG 3 · ratios+" in plain
    assert views.board(chosen(library, "full", "cpr"), 7, 4.0).count("<svg") == 3
    card = cards.reports(chosen(library, "full"))
    assert "learned steps (full)" in card and "sigmas: 14.6 7 3.5 1.6 0.5 0" in card
    assert "learned steps</th>" in card


# hostile files


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


# what is done to files


def test_a_file_is_renamed_in_its_folder(library: Shelf, folder: Path) -> None:
    before = (folder / "found.safetensors").read_bytes()
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors"], 7, 4.0)
    changes, seen = panel.ask_name(seen)
    assert changes["naming"]["visible"] and changes["name"]["value"] == "found"
    changes, seen = panel.rename(seen, "моя модель 5", "", 7, 4.0)
    assert changes["files"]["value"] == ["моя модель 5.safetensors"]
    assert (folder / "моя модель 5.safetensors").read_bytes() == before
    assert not (folder / "found.safetensors").exists() and not changes["naming"]["visible"]


@pytest.mark.parametrize("name", [
    "../x", "/tmp/x", "a/b", "a\\b", "..", "", " ", "nul", "C:x", ".hidden", "a\0b", "x" * 300,
])  # fmt: skip
def test_a_bad_name_changes_nothing(library: Shelf, folder: Path, name: str) -> None:
    before, around = state(folder), sorted(folder.parent.parent.rglob("*"))
    with pytest.raises(Refused, match="name: expected"):
        library.rename("found.safetensors", stamp(folder / "found.safetensors"), name)
    assert state(folder) == before and sorted(folder.parent.parent.rglob("*")) == around


def test_a_rename_never_replaces(
    library: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link.safetensors").symlink_to(folder / "nowhere")
    before = state(folder)

    def no_links(*arguments: object, **options: object) -> None:
        raise OSError("this disk has no links")

    for taken in ("kept", "broken", "link"):
        for link in (os.link, no_links):
            monkeypatch.setattr(os, "link", link)
            with pytest.raises(Refused, match="already; nothing was renamed"):
                library.rename("found.safetensors", stamp(folder / "found.safetensors"), taken)
    assert state(folder) == before
    assert library.rename(
        "found.safetensors", stamp(folder / "found.safetensors"), "free"
    ) == "free.safetensors"  # fmt: skip
    assert not (folder / "found.safetensors").exists()


def test_deleting_asks_first_and_then_deletes_what_it_named(library: Shelf, folder: Path) -> None:
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors", "broken.safetensors"], 7, 4.0)
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "Choose the files to delete first" in changes["said"]["value"]
    assert len(state(folder)) == 4
    changes, seen = panel.ask_delete(seen)
    assert "Delete 2 files?" in changes["doomed"]["value"]
    assert "found.safetensors" in changes["doomed"]["value"]
    changes, after = panel.delete(seen, "", 7, 4.0)
    assert sorted(state(folder)) == ["cpr.safetensors", "kept.safetensors"]
    assert "2 files were deleted" in changes["said"]["value"] and after == Seen()


def test_a_choice_made_after_the_question_is_not_deleted(library: Shelf, folder: Path) -> None:
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors"], 7, 4.0)
    _, seen = panel.ask_delete(seen)
    _, seen = panel.choose(seen, ["found.safetensors", "cpr.safetensors"], 7, 4.0)
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "Choose the files" in changes["said"]["value"] and len(state(folder)) == 4
    _, seen = panel.ask_delete(seen)
    _, seen = panel.close(seen)
    panel.delete(seen, "", 7, 4.0)
    assert len(state(folder)) == 4


def test_only_what_the_question_named_is_deleted(library: Shelf, folder: Path) -> None:
    asked = (("found.safetensors", stamp(folder / "found.safetensors")),)
    more = (*asked, ("cpr.safetensors", stamp(folder / "cpr.safetensors")))
    Desk(library).delete(Seen(more, asked=asked), "", 7, 4.0)
    assert sorted(state(folder)) == [
        "broken.safetensors", "cpr.safetensors", "kept.safetensors"
    ]  # fmt: skip


def test_what_changed_or_went_since_it_was_shown_is_left_alone(
    library: Shelf, folder: Path
) -> None:
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors", "kept.safetensors"], 7, 4.0)
    _, seen = panel.ask_delete(seen)
    ratios.save(KEPT, folder / "kept.safetensors")
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "kept.safetensors has changed since it was shown" in changes["said"]["value"]
    assert len(state(folder)) == 4
    (folder / "kept.safetensors").unlink()
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "kept.safetensors is gone" in changes["said"]["value"] and len(state(folder)) == 3
    changes, _ = panel.choose(seen, ["kept.safetensors"], 7, 4.0)
    assert "kept.safetensors: no longer there" in changes["said"]["value"]


def test_a_link_is_removed_and_what_it_points_to_stays(folder: Path, tmp_path: Path) -> None:
    outside = ratios.save(FOUND, tmp_path / "elsewhere" / "theirs.safetensors")
    folder.mkdir(parents=True)
    (folder / "link.safetensors").symlink_to(outside)
    (folder / "folder.safetensors").mkdir()
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.safetensors")
    library = Shelf(lambda: folder)
    assert [entry.name for entry in library.entries()] == ["link.safetensors"]
    seen = stamp(outside)
    assert library.rename("link.safetensors", seen, "mine") == "mine.safetensors"
    assert (folder / "mine.safetensors").is_symlink() and outside.exists()
    library.delete([("mine.safetensors", seen)])
    assert outside.exists() and not (folder / "mine.safetensors").is_symlink()


def test_the_authors_files_and_shared_ones_are_imported(folder: Path, tmp_path: Path) -> None:
    coefficients = np.zeros((4, 3, 3))
    coefficients[0, 2, 2] = 1.25
    np.save(tmp_path / "theirs.npy", coefficients)
    (tmp_path / "list.json").write_text("[1.0, 1.0, 1.1]")
    ratios.save(FOUND, tmp_path / "shared.safetensors")
    files = [(tmp_path / name, name) for name in ("theirs.npy", "list.json", "shared.safetensors")]
    changes, _ = Desk(Shelf(lambda: folder)).bring_in(Seen(), files, "7,5", 7, 4.0)
    assert changes["files"]["value"] == [
        "theirs.safetensors",
        "list.safetensors",
        "shared.safetensors",
    ]
    cpr = ratios.load(folder / "theirs.safetensors")
    assert isinstance(cpr, CPR) and cpr.predict(5, 3.0).ratios[2:] == (1.25,) * 3
    listed = ratios.load(folder / "list.safetensors")
    assert isinstance(listed, RatioSchedule) and listed.cfg == 7.5
    assert ratios.load(folder / "shared.safetensors") == FOUND
    Desk(Shelf(lambda: folder)).bring_in(Seen(), files[2:], "", 7, 4.0)
    assert len(state(folder)) == 4 and (folder / "shared_02.safetensors").exists()


@pytest.mark.parametrize(("called", "content", "why"), [
    ("x.pt", b"", "expected .npy, .json"),
    ("x.npy", b"\x80\x04\x95", "expected a numpy array file"),
    ("x.json", b'{"a": 1}', "expected a list of 1 to 1000 ratios"),
    ("x.json", b"[" * 100_000, "x.json was not imported"),
    ("x.safetensors", b"junk", "expected a safetensors file"),
    ("x.safetensors", b"\0" * (4 * 1024 * 1024 + 1), "larger than 4 MB"),
    ("nul.json", b"[1.0]", "name: expected"),
    ("..json", b"[1.0]", "expected"),
])  # fmt: skip
def test_what_is_no_calibration_is_not_imported(
    folder: Path, tmp_path: Path, called: str, content: bytes, why: str
) -> None:
    upload = tmp_path / f"upload{Path(called).suffix}"
    upload.write_bytes(content)
    changes, _ = Desk(Shelf(lambda: folder)).bring_in(Seen(), [(upload, called)], "", 7, 4.0)
    assert why in html.unescape(changes["said"]["value"])
    assert not folder.exists() or not list(folder.iterdir())


def test_an_import_that_fails_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*arguments: object, **options: object) -> None:
        raise FileExistsError("somebody was faster, again and again")

    (tmp_path / "list.json").write_text("[1.0]")
    monkeypatch.setattr(os, "link", taken)
    with pytest.raises(Refused, match=r"list\.safetensors: 10000 files have this"):
        Shelf(lambda: folder).bring_in(tmp_path / "list.json", "list.json")
    assert list(folder.iterdir()) == []


def test_a_pickle_is_not_opened(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([Path], dtype=object), allow_pickle=True)
    with pytest.raises(Refused, match="not imported"):
        Shelf(lambda: folder).bring_in(tmp_path / "x.npy", "x.npy")


def test_the_name_of_an_upload_stays_in_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("[1.0, 1.0, 1.1]")
    for called in ("../../out.json", "..\\..\\out.json", "/etc/out.json"):
        name = Shelf(lambda: folder).bring_in(tmp_path / "up.json", called)
        assert (folder / name).is_file()
    assert sorted(state(folder)) == [
        "out.safetensors", "out_02.safetensors", "out_03.safetensors"
    ]  # fmt: skip
    assert not list(tmp_path.rglob("out*.json"))


def test_files_below_the_folder_are_renamed_where_they_are(folder: Path) -> None:
    ratios.save(FOUND, folder / "shared" / "a.safetensors")
    library = Shelf(lambda: folder)
    assert library.entries()[0].name == "shared/a.safetensors"
    name = library.rename("shared/a.safetensors", stamp(folder / "shared" / "a.safetensors"), "b")
    assert name == "shared/b.safetensors" and (folder / "shared" / "b.safetensors").is_file()


def test_nothing_of_the_panel_loads_gradio_before_it_is_drawn() -> None:
    script = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests")!r})
import conftest
from dc_solver.web.panel import alone, cards, desk, drawing, guard, shelf, views, words
assert not {{"gradio", "fastapi", "uvicorn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_desk_answers_with_parts_that_the_page_has() -> None:
    layout = (ROOT / "web" / "panel" / "layout.py").read_text(encoding="utf-8")
    parts = re.search(r"parts = \{(.*?)\}", layout, re.DOTALL)
    assert parts
    named = set(re.findall(r'"(\w+)":', parts[1]))
    source = Path(desk.__file__).read_text(encoding="utf-8")
    used = set(re.findall(r'"(\w+)": \{"', source)) | set(re.findall(r'changes\["(\w+)"\]', source))
    assert used <= named
