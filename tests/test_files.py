"""Ratio files: exact round trips, strict reading, whole or no writing."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dc_solver.ratios import (
    CPR,
    Identity,
    RatioFileError,
    RatioSchedule,
    Report,
    load,
    save,
)
from dc_solver.ratios import records as records_module
from dc_solver.ratios.files import MOST_BYTES, parse
from dc_solver.ratios.records import PACK_VERSION, to_record
from dc_solver.ratios.schedule import QUALITIES
from dc_solver.ratios.text import describe
from dc_solver.solvers import LearnedSteps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as tensors_to_bytes

SCHEDULE = RatioSchedule(
    ratios=(1.0, 1.0, 1.25, 0.8),
    sigmas=(14.0, 5.0, 2.0, 0.5, 0.0),
    cfg=4.5,
    identity=Identity(fingerprint="abc", latent_shape=(4, 8, 8), seeds=(1, 2)),
    report=Report(losses=(0.1, 0.2, 0.3, 0.4), points=5, verdict="better"),
    notes=("a note",),
)
LEARNED = replace(
    SCHEDULE,
    quality="full",
    learned=LearnedSteps(
        (14.0, 6.0, 2.5, 0.7, 0.0),
        (14.0, 5.8, 2.4, 0.71),
        ((0.0,) * 4, (0.25, -0.25, 0.0, 0.0), (0.1, 0.2, -0.3, 0.0), (0.0, 0.5, 0.5, -1.0)),
    ),
)
REGRESSION = CPR(
    coefficients=tuple(0.1 * k for k in range(36)),
    steps_range=(4, 10),
    cfg_range=(1.0, 8.0),
    ratio_range=(0.5, 2.0),
    fitted=(SCHEDULE,),
)


# Round trips

finite = st.floats(allow_nan=False, allow_infinity=False)
ratio = st.floats(-1e6, 1e6)
positive = st.floats(min_value=0.0, allow_infinity=False)
text = st.text(max_size=20)
numbers = st.lists(finite, max_size=4).map(tuple)
count = st.integers(0, 10**9)
maybe = st.one_of(st.none(), text)

identities = st.builds(
    Identity,
    fingerprint=maybe,
    model_class=maybe,
    prediction=maybe,
    scheduler=maybe,
    latent_shape=st.one_of(st.none(), st.lists(st.integers(0, 2**31), max_size=5).map(tuple)),
    seeds=st.lists(st.integers(0, 2**64), max_size=4).map(tuple),
    prompts_hash=maybe,
)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    checked = draw(st.integers(0, 4))
    errors = st.one_of(st.just(()), st.tuples(*[finite] * checked))
    above = st.floats(min_value=0.0, exclude_min=True, allow_infinity=False)
    return Report(
        losses=draw(numbers),
        losses_plain=draw(numbers),
        search_calls=draw(count),
        reference_calls=draw(count),
        check_calls=draw(count),
        points=draw(st.integers(1, 10**9)),
        check_points=checked,
        errors=draw(errors),
        errors_plain=draw(errors),
        errors_dpmpp_2m=draw(errors),
        found=draw(numbers),
        verdict=draw(st.sampled_from(["better", "not better", "unchecked"])),
        reused_reference=draw(st.booleans()),
        search_gain=draw(st.one_of(st.none(), above)),
        check_work=draw(count),
    )


solver_settings = st.fixed_dictionaries(
    {
        "order": st.integers(1, 4),
        "variant": st.sampled_from(["bh1", "bh2"]),
        "dc_order": st.integers(1, 3),
        "variable": st.sampled_from(["t", "lambda"]),
        "lower_order": st.sampled_from([True, "final", False]),
        "first_corrector": st.booleans(),
    }
)


@st.composite
def schedules(draw: st.DrawFn) -> RatioSchedule:
    steps = draw(st.integers(0, 12))
    sigmas = st.lists(positive, min_size=steps + 1, max_size=steps + 1).map(tuple)
    return RatioSchedule(
        ratios=tuple(draw(st.lists(ratio, min_size=steps, max_size=steps))),
        sigmas=draw(st.one_of(st.none(), sigmas)),
        cfg=draw(st.one_of(st.none(), finite)),
        origin=draw(st.sampled_from(["calibrated", "predicted", "imported"])),
        identity=draw(identities),
        report=draw(st.one_of(st.none(), reports())),
        notes=draw(st.lists(text, max_size=3).map(tuple)),
        **draw(solver_settings),
    )


@st.composite
def learned_schedules(draw: st.DrawFn) -> RatioSchedule:
    steps = draw(st.integers(1, 8))
    inner = st.floats(min_value=1e-6, max_value=1e6)
    many = st.lists(inner, min_size=2 * steps + 2, max_size=2 * steps + 2, unique=True)
    values = sorted(draw(many), reverse=True)
    own = (*values[: 2 * steps : 2], draw(st.sampled_from([0.0, values[-1]])))
    host = (own[0], *values[3 : 2 * steps + 1 : 2], own[-1])
    inputs = tuple(draw(st.lists(inner, min_size=steps, max_size=steps)))
    weights = st.lists(st.floats(-10.0, 10.0), min_size=steps, max_size=steps)
    changes = np.tril(draw(st.lists(weights, min_size=steps, max_size=steps)), -1)
    changes -= np.diag(changes.sum(axis=1))
    changes[0, 0] = 0.0
    chosen = draw(st.sampled_from([None, tuple(map(tuple, changes.tolist()))]))
    return RatioSchedule(
        ratios=tuple(draw(st.lists(ratio, min_size=steps, max_size=steps))),
        sigmas=host,
        cfg=draw(st.one_of(st.none(), finite)),
        identity=draw(identities),
        report=draw(st.one_of(st.none(), reports())),
        learned=LearnedSteps(own, draw(st.sampled_from([(), inputs])), chosen),
        quality=draw(st.sampled_from(QUALITIES)),
    )


def pair(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(values, values).map(lambda two: (min(two), max(two)))


regressions = st.builds(
    lambda coefficients, how, **rest: CPR(coefficients=coefficients, **how, **rest),
    coefficients=st.lists(st.floats(-1e12, 1e12), min_size=36, max_size=36).map(tuple),
    how=solver_settings,
    steps_range=pair(st.integers(1, 1000)),
    cfg_range=pair(st.floats(-1e4, 1e4)),
    ratio_range=st.one_of(st.none(), pair(finite)),
    identity=identities,
    fitted=st.lists(schedules(), max_size=3).map(tuple),
)
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(schedules())
def test_a_schedule_comes_back_as_it_was(tmp_path: Path, obj: RatioSchedule) -> None:
    assert load(save(obj, tmp_path / "a.safetensors")) == obj
    assert obj.gain is None or obj.gain >= 0.0  # whatever the numbers in it
    assert describe(obj)


@quick
@given(learned_schedules())
def test_learned_steps_come_back_as_they_were(tmp_path: Path, obj: RatioSchedule) -> None:
    assert load(save(obj, tmp_path / "a.safetensors")) == obj


@quick
@given(regressions)
def test_a_regression_comes_back_as_it_was(tmp_path: Path, obj: CPR) -> None:
    assert load(save(obj, tmp_path / "a.safetensors")) == obj


@quick
@given(st.integers(1, 16), st.floats(0.5, 12.0))
def test_a_regression_predicts_the_same_after_a_round_trip(
    tmp_path: Path, steps: int, cfg: float
) -> None:
    back = load(save(REGRESSION, tmp_path / "a.safetensors"))
    assert isinstance(back, CPR)
    assert back.predict(steps, cfg) == REGRESSION.predict(steps, cfg)


@quick
@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_is_raised(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.safetensors"
    path.write_bytes(content)
    with pytest.raises(RatioFileError, match=r"garbage\.safetensors"):
        load(path)


GOOD = {
    name: tensors_to_bytes(arrays, metadata={"dc_solver": json.dumps(record)})
    for name, (record, arrays) in (
        ("ratios", to_record(SCHEDULE)),
        ("learned", to_record(LEARNED)),
        ("cpr", to_record(REGRESSION)),
    )
}


@quick
@given(
    st.sampled_from(sorted(GOOD)),
    st.floats(0.0, 1.0, exclude_max=True),
    st.integers(1, 255),
)
def test_a_flipped_byte_is_read_or_refused(
    tmp_path: Path, kind: str, place: float, flip: int
) -> None:
    """No byte leads to any other error, nor to an object that is not whole."""
    content = bytearray(GOOD[kind])
    content[int(place * len(content))] ^= flip
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    try:
        back = load(path)
    except RatioFileError as error:
        assert "flipped.safetensors" in str(error)
    else:
        assert isinstance(back, (RatioSchedule, CPR))


# Strict reading


def rebuilt(
    obj: RatioSchedule | CPR,
    edit: Callable[[dict[str, Any], dict[str, np.ndarray]], Any] = lambda record, arrays: None,
    metadata: dict[str, str] | None = None,
    dump: Callable[[Any], str] = json.dumps,
) -> bytes:
    """The bytes of a file whose content was edited."""
    record, arrays = to_record(obj)
    record = json.loads(json.dumps(record))
    edit(record, arrays)
    return tensors_to_bytes(arrays, metadata=metadata or {"dc_solver": dump(record)})


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any], Any], None]:
    def edit(record: Any, arrays: Any) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return edit


def drop(*keys: Any) -> Callable[[dict[str, Any], Any], None]:
    def edit(record: Any, arrays: Any) -> None:
        for key in keys[:-1]:
            record = record[key]
        del record[keys[-1]]

    return edit


def tensor(name: str, value: Any) -> Callable[[Any, dict[str, np.ndarray]], None]:
    def edit(record: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = np.asarray(value)

    return edit


def no_tensor(name: str) -> Callable[[Any, dict[str, np.ndarray]], None]:
    return lambda record, arrays: arrays.pop(name)


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


REFUSED: list[tuple[str, Any, str]] = [
    ("unknown field", put("extra", value=1), "unknown field 'extra'"),
    ("unknown in settings", put("settings", "eta", value=1), "unknown field 'eta'"),
    ("unknown in identity", put("identity", "owner", value="x"), "unknown field 'owner'"),
    ("unknown in report", put("report", "score", value=1), "unknown field 'score'"),
    ("missing field", drop("cfg"), "expected a field 'cfg'"),
    ("missing setting", drop("settings", "order"), "expected a field 'order'"),
    ("missing in identity", drop("identity", "seeds"), "expected a field 'seeds'"),
    ("missing in report", drop("report", "points"), "expected a field 'points'"),
    ("missing kind", drop("kind"), "kind: expected"),
    ("unknown kind", put("kind", value="lora"), "kind: expected .* got 'lora'"),
    ("format", put("format", value="other"), "format: expected 'dc_solver', got 'other'"),
    ("version above", put("version", value=3), "version: expected 1 or 2, got 3"),
    ("version true", put("version", value=True), "version: expected 1 or 2, got True"),
    ("version float", put("version", value=1.0), "version: expected 1 or 2, got 1.0"),
    ("version list", put("version", value=[1]), r"version: expected 1 or 2, got \[1\]"),
    ("version missing", drop("version"), "version: expected 1 or 2, got None"),
    ("quality", put("quality", value="full"), "unknown field 'quality'"),
    ("learned", tensor("learned.sigmas", SCHEDULE.sigmas), "unknown tensor 'learned.sigmas'"),
    ("cfg text", put("cfg", value="4"), "cfg: expected a number"),
    ("cfg bool", put("cfg", value=True), "cfg: expected a number"),
    ("cfg huge", put("cfg", value=10**400), "cfg: expected a finite number"),
    ("steps float", put("steps", value=4.0), "steps: expected a whole number"),
    ("steps below", put("steps", value=-1), "steps: expected a whole number"),
    ("steps beyond", put("steps", value=10**6), "steps: expected a whole number"),
    ("steps short", put("steps", value=3), r"tensor 'ratios': expected shape \(3,\)"),
    ("origin", put("origin", value="stolen"), "origin: expected"),
    ("notes text", put("notes", value="note"), "notes: expected a list"),
    ("notes number", put("notes", value=[1]), "notes: expected a text"),
    ("notes long", put("notes", value=["x" * 5000]), "notes: expected a text of at most"),
    ("notes many", put("notes", value=["x"] * 10_001), "notes: expected a list of at most"),
    ("settings list", put("settings", value=[]), "settings: expected an object"),
    ("solver", put("settings", "solver", value="euler"), "solver: expected one of"),
    ("solver unipc", put("settings", "solver", value="unipc"), "unipc runs without compensation"),
    ("order", put("settings", "order", value=9), "order: expected one of"),
    ("order text", put("settings", "order", value="2"), "order: expected a whole number"),
    ("variant", put("settings", "variant", value="bh3"), "variant: expected one of"),
    ("variable", put("settings", "variable", value="sigma"), "variable: expected one of"),
    ("dc_order", put("settings", "dc_order", value=4), "dc_order: expected one of"),
    ("lower_order", put("settings", "lower_order", value="last"), "lower_order: expected one of"),
    ("lower_order 1", put("settings", "lower_order", value=1), "lower_order: expected"),
    ("corrector", put("settings", "first_corrector", value=1), "first_corrector: expected true"),
    ("seed", put("identity", "seeds", value=[-1]), "seeds: expected a whole number"),
    ("shape", put("identity", "latent_shape", value=[4.5]), "latent_shape: expected a whole"),
    ("fingerprint", put("identity", "fingerprint", value=7), "fingerprint: expected a text"),
    ("verdict", put("report", "verdict", value="great"), "verdict: expected one of"),
    ("losses", put("report", "losses", value=[None]), "losses: expected a number"),
    ("calls", put("report", "search_calls", value=1.5), "search_calls: expected a whole number"),
    ("errors", put("report", "errors", value=[0.5] * 9), "errors: expected one a check point, "),
    ("plain", put("report", "errors_plain", value=[1.0] * 9), "errors_plain: expected one a check"),
    ("2m", put("report", "errors_dpmpp_2m", value=[1.0] * 9), "errors_dpmpp_2m: expected one a"),
    ("no ratios", no_tensor("ratios"), "expected a tensor 'ratios', got none"),
    ("unknown tensor", tensor("weights", [1.0]), "unknown tensor 'weights'"),
    ("float32", tensor("ratios", np.ones(4, np.float32)), "expected float64, got float32"),
    ("integers", tensor("ratios", np.ones(4, np.int64)), "expected float64, got int64"),
    ("NaN", tensor("ratios", [1.0, 1.0, np.nan, 1.0]), "tensor 'ratios': expected finite"),
    ("infinity", tensor("sigmas", [np.inf, 3.0, 2.0, 1.0, 0.0]), "'sigmas': expected finite"),
    ("negative sigma", tensor("sigmas", [9.0, 3.0, 2.0, 1.0, -1.0]), "sigmas: expected"),
    ("ratios length", tensor("ratios", np.ones(5)), r"'ratios': expected shape \(4,\)"),
    ("ratios rank", tensor("ratios", np.ones((4, 1))), r"got \(4, 1\)"),
    ("sigmas length", tensor("sigmas", np.ones(4)), r"'sigmas': expected shape \(5,\)"),
]
REFUSED_LEARNED: list[tuple[str, Any, str]] = [
    ("version 1", put("version", value=1), "unknown field 'quality'"),
    ("quality", put("quality", value="best"), "quality: expected one of .* got 'best'"),
    ("quality 1", put("quality", value=1), "quality: expected a text"),
    ("unknown", tensor("learned.times", [1.0]), "unknown tensor 'learned.times'"),
    ("no sigmas", no_tensor("learned.sigmas"), "expected a tensor 'learned.sigmas', got none"),
    ("no inputs", no_tensor("learned.inputs"), "expected a tensor 'learned.inputs', got none"),
    ("no grid", no_tensor("sigmas"), "learned: expected the sigmas of the host's grid"),
    ("sigmas length", tensor("learned.sigmas", np.ones(4)), r"expected shape \(5,\), got \(4,\)"),
    ("inputs rank", tensor("learned.inputs", np.ones((4, 1))), r"expected shape \(4,\)"),
    ("changes length", tensor("learned.changes", np.ones(16)), r"shape \(4, 4\), got \(16,\)"),
    ("changes rank", tensor("learned.changes", np.ones((4, 4, 1))), r"shape \(4, 4\)"),
    ("changes empty", tensor("learned.changes", np.ones((0, 0))), r"shape \(4, 4\)"),
    ("upper", tensor("learned.changes", np.eye(4, k=1)), "learned changes: expected 0 after"),
    ("sum", tensor("learned.changes", np.eye(4)), "learned changes: .* sum to 0"),
    ("NaN", tensor("learned.inputs", [np.nan] * 4), "'learned.inputs': expected finite"),
    ("float32", tensor("learned.sigmas", np.ones(5, np.float32)), "expected float64, got float32"),
    ("rising", tensor("learned.sigmas", [1.0, 2.0, 3.0, 4.0, 5.0]), "sigmas: expected falling"),
    ("ends", tensor("learned.sigmas", [9.0, 3.0, 2.0, 1.0, 0.0]), "learned: expected the first"),
    ("input 0", tensor("learned.inputs", [1.0, 1.0, 0.0, 1.0]), "inputs: expected sigmas above 0"),
    ("missing in report", drop("report", "points"), "expected a field 'points'"),
    ("unknown in report", put("report", "score", value=1), "unknown field 'score'"),
    ("gain", put("report", "search_gain", value=0.0), "search_gain: expected a number above 0"),
    ("gain below", put("report", "search_gain", value=-0.5), "search_gain: .* got -0.5 of 5"),
]
REFUSED_CPR: list[tuple[str, Any, str]] = [
    ("coefficients", tensor("coefficients", np.ones(35)), r"expected shape \(36,\)"),
    ("no coefficients", no_tensor("coefficients"), "expected a tensor 'coefficients'"),
    ("range reversed", put("steps_range", value=[9, 4]), "steps_range: expected"),
    ("range of one", put("cfg_range", value=[1.0]), "cfg_range: expected two numbers"),
    ("steps 0", put("steps_range", value=[0, 4]), "steps_range: expected a whole number"),
    ("ratio_range", put("ratio_range", value=[1.0, "x"]), "ratio_range: expected a number"),
    ("fitted", put("fitted", value=[1]), "fitted: expected an object"),
    ("fitted many", put("fitted", value=[{}] * 300), "fitted: expected a list of at most"),
    ("inside fitted", put("fitted", 0, "extra", value=1), "unknown field 'extra'"),
    ("fitted dropped", put("fitted", value=[]), "unknown tensor 'fitted"),
    ("fitted NaN", tensor("fitted.0.ratios", [np.nan] * 4), "expected finite numbers"),
    ("fitted learned", tensor("fitted.0.learned.sigmas", SCHEDULE.sigmas), "unknown tensor"),
    ("fitted quality", put("fitted", 0, "quality", value="full"), "unknown field 'quality'"),
]


@pytest.mark.parametrize(
    ("obj", "edit", "message"),
    [
        *(pytest.param(SCHEDULE, edit, words, id=name) for name, edit, words in REFUSED),
        *(
            pytest.param(LEARNED, edit, words, id=f"learned {name}")
            for name, edit, words in REFUSED_LEARNED
        ),
        *(pytest.param(REGRESSION, edit, words, id=f"cpr {n}") for n, edit, words in REFUSED_CPR),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, obj: RatioSchedule | CPR, edit: Any, message: str
) -> None:
    path = tmp_path / "odd.safetensors"
    content = rebuilt(obj, edit)
    path.write_bytes(content)
    with pytest.raises(RatioFileError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith("odd.safetensors: ")
    assert path.read_bytes() == content


def test_learned_steps_in_a_regression_are_refused() -> None:
    def edit(record: Any, arrays: dict[str, np.ndarray]) -> None:
        record["version"] = 2
        arrays["fitted.0.learned.sigmas"] = np.array(SCHEDULE.sigmas)
        arrays["fitted.0.learned.inputs"] = np.array(SCHEDULE.sigmas)[:-1]

    words = "fitted: expected ratios, or learned steps with the warp that made them, got those of"
    with pytest.raises(ValueError, match=words):
        parse(rebuilt(REGRESSION, edit))


def test_changes_of_more_steps_than_are_run_are_refused() -> None:
    def edit(record: Any, arrays: dict[str, np.ndarray]) -> None:
        record["steps"] = 65
        sigmas = np.linspace(14.0, 0.0, 66)
        arrays |= {
            "ratios": np.ones(65), "sigmas": sigmas, "learned.sigmas": sigmas,
            "learned.inputs": sigmas[:-1], "learned.changes": np.zeros((65, 65)),
        }  # fmt: skip

    with pytest.raises(ValueError, match="learned changes: expected at most 64 steps, got 65"):
        parse(rebuilt(LEARNED, edit))


def framed(header: str, data: bytes = b"") -> bytes:
    raw = header.encode()
    return struct.pack("<Q", len(raw)) + raw + data


def double_key_header() -> bytes:
    good = rebuilt(SCHEDULE)
    (length,) = struct.unpack("<Q", good[:8])
    header = good[8 : 8 + length].decode().rstrip()
    return framed('{"__metadata__":{"dc_solver":"{}"},' + header[1:], good[8 + length :])


BAD_BYTES = {
    "empty": (b"", "fewer than 8 bytes"),
    "short": (b"1234567", "fewer than 8 bytes"),
    "text": (b"this is a text file, long enough to be one", "claim of"),
    "oversized claim": (struct.pack("<Q", 2**63) + b"{}", f"claim of {2**63} bytes"),
    "claim past the end": (struct.pack("<Q", 100) + b"{}", "claim of 100 bytes"),
    "not JSON": (framed("{x}"), "header: expected JSON"),
    "not an object": (framed("[]"), "header: expected a JSON object"),
    "deep": (framed("[" * 100_000), "header: expected JSON"),
    "no metadata": (tensors_to_bytes({"a": np.ones(2)}), "those of another kind"),
    "other metadata": (
        rebuilt(SCHEDULE, metadata={"format": "pt"}),
        "those of another kind",
    ),
    "more metadata": (
        rebuilt(SCHEDULE, metadata={"dc_solver": "{}", "other": "x"}),
        "those of another kind",
    ),
    "metadata not JSON": (rebuilt(SCHEDULE, metadata={"dc_solver": "{"}), "metadata: expected"),
    "metadata a list": (rebuilt(SCHEDULE, metadata={"dc_solver": "[]"}), "metadata: expected"),
    "NaN in the metadata": (
        rebuilt(SCHEDULE, put("cfg", value=float("nan"))),
        "metadata: NaN is no number",
    ),
    "infinity in the metadata": (
        rebuilt(SCHEDULE, put("cfg", value=float("-inf"))),
        "metadata: -Infinity is no number",
    ),
    "overflow in the metadata": (
        rebuilt(
            SCHEDULE,
            put("cfg", value=-77.5),
            dump=lambda r: json.dumps(r).replace("-77.5", "1e999"),
        ),
        "cfg: expected a finite number",
    ),
    "a key twice in the metadata": (
        rebuilt(SCHEDULE, dump=lambda r: json.dumps(r).replace("{", '{"cfg": 1.0, ', 1)),
        "metadata: a key stands twice",
    ),
    "a key twice in the header": (double_key_header(), "header: a key stands twice"),
    "truncated": (rebuilt(SCHEDULE)[:-8], "expected a safetensors file"),
    "trailing bytes": (rebuilt(SCHEDULE) + b"\0" * 8, "expected a safetensors file"),
    "too large": (rebuilt(SCHEDULE) + b"\0" * MOST_BYTES, f"at most {MOST_BYTES} bytes"),
    "pickle": (pickle.dumps(SCHEDULE.ratios), "expected a safetensors"),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_what_is_no_ratio_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_BYTES[name]
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(RatioFileError, match=message):
        load(path)
    assert path.read_bytes() == content


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = rebuilt(REGRESSION)
    path = tmp_path / "cut.safetensors"
    for length in [*range(0, 24), *range(24, len(content), 37)]:
        path.write_bytes(content[:length])
        with pytest.raises(RatioFileError):
            load(path)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")


# Writing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_save_makes_the_folder_and_returns_the_path(tmp_path: Path) -> None:
    path = save(SCHEDULE, str(tmp_path / "a" / "b" / "c.safetensors"))
    assert path == tmp_path / "a" / "b" / "c.safetensors"
    assert load(path) == SCHEDULE
    assert names(path.parent) == ["c.safetensors"]


def test_the_same_object_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (save(REGRESSION, tmp_path / name) for name in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()


def test_an_earlier_calibration_is_replaced(tmp_path: Path) -> None:
    path = save(SCHEDULE, tmp_path / "a.safetensors")
    save(REGRESSION, path)
    assert load(path) == REGRESSION
    assert names(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("content", [b"\0", b"a picture", tensors_to_bytes({"a": np.ones(9)})])
def test_a_foreign_file_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(RatioFileError, match="will not replace a file that is not a readable"):
        save(SCHEDULE, path)
    assert path.read_bytes() == content
    assert names(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("obj", [{"ratios": [1.0]}, [1.0, 1.0], None, "ratios"])
def test_another_object_is_not_written(tmp_path: Path, obj: Any) -> None:
    with pytest.raises(TypeError, match="save: expected a RatioSchedule or a CPR, got"):
        save(obj, tmp_path / "new" / "a.safetensors")
    assert names(tmp_path) == []


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failing_disk_leaves_things_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, existing: bool
) -> None:
    path = tmp_path / "a.safetensors"
    if existing:
        save(SCHEDULE, path)
    before = path.read_bytes() if existing else b""

    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if broken == "replace" else os, broken, refuse)
        with pytest.raises(OSError, match="No space left"):
            save(REGRESSION, path)
    assert names(tmp_path) == (["a.safetensors"] if existing else [])
    assert not existing or path.read_bytes() == before


def test_what_is_saved_can_be_loaded_or_is_not_saved(tmp_path: Path) -> None:
    """Objects at and past the limits of the format: never a file that load refuses."""
    objects = [
        RatioSchedule(ratios=(1.0,) * 1001),
        RatioSchedule(ratios=(1.0,), notes=("x" * 5000,)),
        RatioSchedule(ratios=(1.0,), identity=Identity(seeds=(-1,))),
        RatioSchedule(ratios=(1.0,), report=Report(losses=(float("inf"),))),
        RatioSchedule(ratios=(1.0,), report=Report(verdict="great")),
        CPR((0.0,) * 36, steps_range=(0, 10), cfg_range=(1.0, 7.0)),
        CPR((0.0,) * 36, steps_range=(5, 5000), cfg_range=(1.0, 7.0)),
    ]
    for number, obj in enumerate(objects):
        path = tmp_path / f"{number}.safetensors"
        try:
            save(obj, path)
        except ValueError:
            assert not path.exists()
        else:
            assert load(path) == obj
