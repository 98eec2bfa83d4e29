"""The versions of ratio files: older packs read what is not new, and newer ones all."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from dc_solver.ratios import records as records_module
from dc_solver.ratios.files import parse
from dc_solver.ratios.records import PACK_VERSION, to_record
from ratio_files import LEARNED, REGRESSION, SCHEDULE, put, rebuilt


def test_an_unedited_file_is_read() -> None:
    assert parse(rebuilt(SCHEDULE)) == SCHEDULE
    assert parse(rebuilt(LEARNED)) == LEARNED
    assert parse(rebuilt(REGRESSION)) == REGRESSION


def test_what_is_not_new_is_written_as_the_first_packs_read_it() -> None:
    """Version 1, word for word; version 2 for what they do not know."""
    record, arrays = to_record(SCHEDULE)
    first = {
        "format": "dc_solver", "version": 1, "pack": PACK_VERSION, "kind": "ratios", "steps": 4,
        "start": 14.0, "cfg": 4.5, "origin": "calibrated",
        "settings": {
            "solver": "dc_solver", "order": 2, "variant": "bh2", "dc_order": 2, "variable": "t",
            "lower_order": True, "first_corrector": True,
        },
        "identity": {
            "fingerprint": "abc", "model_class": None, "prediction": None, "lora": None,
            "guidance": None, "scheduler": None, "latent_shape": [4, 8, 8], "seeds": [1, 2],
            "prompts_hash": None,
        },
        "report": {
            "losses": [0.1, 0.2, 0.3, 0.4], "losses_plain": [], "search_calls": 0,
            "reference_calls": 0, "check_calls": 0, "points": 5, "check_points": 0, "errors": [],
            "errors_plain": [], "errors_dpmpp_2m": [], "found": [], "verdict": "better",
        },
        "notes": ["a note"],
    }  # fmt: skip
    assert json.dumps(record) == json.dumps(first)
    assert {name: tuple(array.tolist()) for name, array in arrays.items()} == {
        "ratios": SCHEDULE.ratios, "sigmas": SCHEDULE.sigmas,
    }  # fmt: skip

    record, arrays = to_record(LEARNED)
    assert json.dumps(record) == json.dumps({**first, "version": 2, "quality": "full"})
    assert {name: array.shape for name, array in arrays.items()} == {
        "ratios": (4,), "sigmas": (5,), "learned.sigmas": (5,), "learned.inputs": (4,),
        "learned.changes": (4, 4),
    }  # fmt: skip
    searched = replace(SCHEDULE, quality="ratios+")
    assert json.dumps(to_record(searched)[0]) == json.dumps(
        {**first, "version": 2, "quality": "ratios+"}
    )
    record, _ = to_record(replace(LEARNED, quality="paper"))
    assert json.dumps(record) == json.dumps({**first, "version": 2})
    versions = [to_record(replace(REGRESSION, fitted=(s,)))[0]["version"]
                for s in (SCHEDULE, searched)]  # fmt: skip
    assert versions == [1, 2]


def test_a_report_may_grow_and_older_files_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that the first version lacks is written where it says something."""
    first = records_module._FIRST_REPORT - {"check_calls"}
    monkeypatch.setattr(records_module, "_FIRST_REPORT", first)
    record, _ = to_record(SCHEDULE)
    assert record["version"] == 1 and "check_calls" not in record["report"]
    assert parse(rebuilt(SCHEDULE)) == SCHEDULE
    assert SCHEDULE.report is not None
    newer = replace(SCHEDULE, report=replace(SCHEDULE.report, check_calls=3))
    assert to_record(newer)[0]["version"] == 2 and parse(rebuilt(newer)) == newer
    with pytest.raises(ValueError, match="unknown field 'check_calls'"):
        parse(rebuilt(newer, put("version", value=1)))
