"""Ratios set by hand."""

from __future__ import annotations

import json

import pytest
from dc_solver.ratios import RatioSchedule, Report
from dc_solver.ratios.edits import MOST_POINTS, apply_edits, parse_edits
from dc_solver.ratios.text import describe_ratios

FIVE = RatioSchedule((1.0, 1.0, 1.1, 0.9, 1.2), cfg=7.0, report=Report(points=10))


def test_an_edits_text_is_read_by_key_and_index() -> None:
    assert parse_edits("") == parse_edits(" \n") == parse_edits("{}") == {}
    assert parse_edits('{"5": {"3": 0.92, "4": -2}, "my file.safetensors": {"0": 1}}') == {
        "5": {3: 0.92, 4: -2.0},
        "my file.safetensors": {0: 1.0},
    }
    assert parse_edits('{"5": {"999": 10}}') == {"5": {999: 10.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON such as"),
        ("[]", "expected JSON such as"),
        ("5", "expected JSON such as"),
        ('"5"', "expected JSON such as"),
        ('{"5": 0.92}', "of '5': expected at most 200 ratios"),
        ('{"5": [0.92]}', "of '5': expected at most 200 ratios"),
        ('{"5": {"-1": 1}}', "expected the index of a step, 0 to 999, got '-1'"),
        ('{"5": {"03": 1}}', "got '03'"),
        ('{"5": {"1000": 1}}', "got '1000'"),
        ('{"5": {"3.0": 1}}', "got '3.0'"),
        ('{"5": {"\\u0663": 1}}', "expected the index"),
        ('{"5": {"3": "1"}}', "expected a ratio from -10 to 10 at 3, got '1'"),
        ('{"5": {"3": true}}', "got 'True'"),
        ('{"5": {"3": null}}', "got 'None'"),
        ('{"5": {"3": 10.01}}', "got '10.01'"),
        ('{"5": {"3": 1e999}}', "got 'inf'"),
        ('{"5": {"3": ' + "9" * 5000 + "}}", "got 'inf'"),
        ('{"5": {"3": NaN}}', "expected finite numbers, got NaN"),
        ('{"5": {"3": -Infinity}}', "got -Infinity"),
        ('{"5": {}, "5": {}}', "'5' stands twice"),
        ('{"5": {"3": 1, "3": 2}}', "'3' stands twice"),
        (json.dumps({"5": {str(k): 1 for k in range(MOST_POINTS + 1)}}), "at most 200 ratios"),
        (" " * 20_001, "at most 20000 characters"),
        ("[" * 20_000, "edits: expected"),
    ],
)
def test_anything_else_is_refused_and_says_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^edits") as caught:
        parse_edits(text)
    assert message in str(caught.value) and len(str(caught.value)) < 250


def test_edits_replace_single_ratios_and_are_told() -> None:
    edited = apply_edits(FIVE, {4: 1.5, 2: 0.8})
    assert edited.ratios == (1.0, 1.0, 0.8, 0.9, 1.5)
    assert edited.notes == ("set by hand: steps 3, 5",)
    assert edited.report is None, "it describes other ratios"
    assert (edited.cfg, edited.origin) == (7.0, "calibrated")
    assert FIVE.ratios == (1.0, 1.0, 1.1, 0.9, 1.2), "the original is left alone"
    assert "note: set by hand: steps 3, 5" in describe_ratios(edited)
    assert apply_edits(FIVE, {}) is FIVE


def test_edits_without_a_place_are_left_out_and_told() -> None:
    edited = apply_edits(FIVE, {0: 2.0, 1: 2.0, 3: 0.7, 5: 2.0})
    assert edited.ratios == (1.0, 1.0, 1.1, 0.7, 1.2)
    assert edited.notes == (
        "set by hand: step 4",
        "hand-set ratios left out: steps 1, 2, 6, which cannot be set in 5 steps",
    )
    untouched = apply_edits(FIVE, {1: 2.0})
    assert untouched.ratios == FIVE.ratios and untouched.report == FIVE.report
