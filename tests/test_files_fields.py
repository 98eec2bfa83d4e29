"""Strict reading of ratio files: a field or tensor that does not fit is refused by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dc_solver.ratios import CPR, RatioFileError, RatioSchedule, load
from dc_solver.ratios.files import parse
from ratio_files import LEARNED, REGRESSION, SCHEDULE, put, rebuilt


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


def no_steps(record: Any, arrays: dict[str, np.ndarray]) -> None:
    record["steps"] = 0
    arrays |= {"ratios": np.ones(0), "sigmas": np.ones(1)}


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
    ("start", put("start", value=3.0), r"start: expected the first of the sigmas, 14.0, got 3.0"),
    ("sigmas of no step", no_steps, "'sigmas': expected none with 0 steps, got one"),
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
    ("ends", tensor("learned.sigmas", [20.0, 3.0, 2.0, 1.0, 0.0]), "learned: expected the first"),
    ("input 0", tensor("learned.inputs", [1.0, 1.0, 0.0, 1.0]), "inputs: expected sigmas above 0"),
    ("input above", tensor("learned.inputs", [14.0, 14.1, 2.4, 0.7]), "to the .* 14, got 14.1"),
    (
        "change",
        tensor("learned.changes", [[0] * 4, [1e9, -1e9, 0, 0], *np.zeros((2, 4))]),
        "learned changes: expected numbers of 100 at most, got 1e.09 in row 1",
    ),
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
    ("ratio_range reversed", put("ratio_range", value=[2.0, 0.5]), "ratio_range: expected a lower"),
    ("fitted start", put("fitted", 0, "start", value=3.0), "start: expected the first of the"),
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
