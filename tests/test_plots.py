"""Curves as pictures, and calibrations in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from dc_solver.ratios import CPR, Identity, RatioSchedule, Report
from dc_solver.ratios.plots import pixels, ratio_figure
from dc_solver.ratios.text import describe_cpr, describe_ratios

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
