"""The panel's views: curves, predictions, the heat map and reports are those of the files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dc_solver import ratios
from dc_solver.ratios import RatioSchedule
from dc_solver.ratios.plots import surface
from dc_solver.solvers import LearnedSteps
from dc_solver.web.panel import cards, drawing, shelf, views
from dc_solver.web.panel.desk import Desk, Seen
from dc_solver.web.panel.shelf import Shelf
from panel_library import FITTED, FOUND, chosen, table


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
