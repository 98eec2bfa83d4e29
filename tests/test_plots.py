"""Curves as pictures, and calibrations in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dc_solver.ratios import CPR, Identity, RatioSchedule, Report
from dc_solver.ratios.plots import pixels, ratio_figure, steps_figure
from dc_solver.ratios.text import describe_cpr, describe_ratios
from dc_solver.solvers import LearnedSteps

FOUND = RatioSchedule(
    (1.0, 1.0, 1.1, 0.9, 1.3), cfg=3.0, identity=Identity(scheduler="simple"),
    report=Report(
        losses=(0.1,) * 5, losses_plain=(0.2,) * 5, search_calls=10, reference_calls=64,
        check_calls=15, points=10, check_points=2, errors=(0.5, 2.0), errors_plain=(1.0, 1.0),
        errors_dpmpp_2m=(2.0, 2.0), found=(1.0, 1.0, 1.1, 0.9, 1.3), verdict="better",
    ),
)  # fmt: skip


def test_a_curve_is_drawn_where_its_values_are() -> None:
    axes = ratio_figure([FOUND]).axes[0]
    curve = axes.get_lines()[1]
    assert list(curve.get_xdata()) == [1, 2, 3, 4, 5]
    assert tuple(curve.get_ydata()) == FOUND.ratios
    low, high = axes.get_ylim()
    assert low < 0.9 and high > 1.3
    image = pixels(ratio_figure([FOUND, FOUND, FOUND, FOUND, FOUND]))
    assert image.dtype == np.uint8 and image.shape[2] == 3 and image.std() > 5


GIVEN = (14.6, 6.0, 3.0, 1.5, 0.6, 0.0)
OWN = (14.6, 7.0, 3.5, 1.6, 0.5, 0.0)


@pytest.mark.parametrize("told", [OWN[:-1], (14.0, 6.8, 3.3, 1.5, 0.45)])
def test_learned_steps_are_drawn_beside_the_given_ones(told: tuple[float, ...]) -> None:
    found = replace(FOUND, sigmas=GIVEN, learned=LearnedSteps(OWN, told), quality="full")
    figure = steps_figure([FOUND, found])
    axes = figure.axes[0]
    lines = axes.get_lines()
    assert axes.get_yscale() == "log" and "sigma" in axes.get_ylabel()
    expected = [GIVEN[:-1], OWN[:-1], *([told] if told != OWN[:-1] else [])]
    assert [tuple(line.get_ydata()) for line in lines] == expected
    assert len({line.get_color() for line in lines}) == 1
    assert lines[0].get_color() == ratio_figure([FOUND, found]).axes[0].get_lines()[2].get_color()
    low, high = axes.get_ylim()
    assert low < min(told) and high > 14.6
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words == ["given", "learned", "told to the model"][: len(expected)]
    assert pixels(figure).std() > 5


@pytest.mark.parametrize("grid", [(1.0, 0.95, 0.9, 0.0), (80.0, 1.0, 0.002, 0.0), (2.0, 1.0)])
def test_any_range_of_sigmas_has_its_labels(grid: tuple[float, ...]) -> None:
    one = (1.0,) * (len(grid) - 1)
    figure = steps_figure([RatioSchedule(one, sigmas=grid, learned=LearnedSteps(grid))])
    pixels(figure)
    axes = figure.axes[0]
    ticks = [*axes.yaxis.get_major_ticks(), *axes.yaxis.get_minor_ticks()]
    shown = {
        tick.label1.get_text()
        for tick in ticks
        if axes.get_ylim()[0] <= tick.get_loc() <= axes.get_ylim()[1]
    } - {""}
    assert len(shown) >= 2 and not any("e" in text for text in shown)


def test_one_step_and_no_curve_still_draw() -> None:
    assert pixels(ratio_figure([RatioSchedule((1.0,))])).size
    assert pixels(ratio_figure([])).size


def test_the_report_is_told_in_figures() -> None:
    told = describe_ratios(FOUND)
    assert "5 steps at CFG 3 on simple" in told
    assert "1.100  0.900  1.300" in told
    assert "898 model calls x images (reference 768, search 100, check 30)" in told
    assert "90 for each of the 10 search seeds" in told
    assert "1.00 of UniPC's (rms 1 to 1), 0.50 of DPM-Solver++(2M)'s" in told
    assert "1 of 2 got worse" in told


def test_errors_before_and_after_are_told() -> None:
    assert FOUND.report is not None
    report = replace(FOUND.report, errors=(0.01, 0.04), errors_plain=(0.04, 0.16))
    told = describe_ratios(replace(FOUND, report=report))
    assert "0.25 of UniPC's (rms 0.283 to 0.141)" in told


def test_a_regression_tells_its_range() -> None:
    cpr = CPR((0.0,) * 36, (5, 10), (2.0, 7.0), fitted=(FOUND,))
    assert "5 to 10 steps, CFG 2 to 7" in describe_cpr(cpr)
