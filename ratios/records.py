"""The content of a ratio file: what is in it, and a strict reading of it.

The reading is the definition of the format.  Every field must be present, known, of its type and
within its limits; :class:`RecordError` names the one that is not.

Version 2 adds learned steps, a warp, a quality, the prior, and what a report says beside that of
version 1.  What has none of them is written as version 1, which packs from before read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from ..solvers import LearnedSteps
from .cpr import CPR, WARP_SIZE
from .schedule import (
    PRIOR,
    QUALITIES,
    VERDICTS,
    ForSolver,
    Identity,
    RatioSchedule,
    Report,
    settings_of,
)
from .warp import Warp

FORMAT = "dc_solver"
VERSIONS = (1, 2)
PACK_VERSION = "0.5.0"

MOST_STEPS = 1000
MOST_FITTED = 256
_MOST_TEXT = 4096
_MOST_ITEMS = 10_000
_LEARNED = ("sigmas", "inputs", "changes")
#: What a record of ratios has in version 2 alone, and may leave out.
_SECOND = ("quality", "warp")
#: The report of version 1; what version 2 has beside may be left out.
_FIRST_REPORT = frozenset({
    "losses", "losses_plain", "search_calls", "reference_calls", "check_calls", "points",
    "check_points", "errors", "errors_plain", "errors_dpmpp_2m", "found", "verdict",
})  # fmt: skip

Arrays = dict[str, np.ndarray]
Check = Callable[[str, Any], Any]


class RecordError(ValueError):
    """A record that does not fit the format; the message says what was expected and what came."""


def to_record(obj: RatioSchedule | CPR) -> tuple[dict[str, Any], Arrays]:
    """The JSON object and the arrays of a file.  Raises TypeError for another object."""
    if isinstance(obj, RatioSchedule):
        record, arrays = _from_ratios(obj, "")
        return {**_head("ratios", [record], arrays), **record}, arrays
    if isinstance(obj, CPR):
        arrays = {"coefficients": np.array(obj.coefficients, dtype=np.float64)}
        if obj.warp is not None:
            arrays["warp"] = np.array(obj.warp, dtype=np.float64)
        fitted = []
        for k, schedule in enumerate(obj.fitted):
            part, part_arrays = _from_ratios(schedule, f"fitted.{k}.")
            fitted.append(part)
            arrays.update(part_arrays)
        record = {
            "steps_range": list(obj.steps_range),
            "cfg_range": list(obj.cfg_range),
            "ratio_range": None if obj.ratio_range is None else list(obj.ratio_range),
            "settings": _from_settings(obj),
            "identity": asdict(obj.identity),
            "fitted": fitted,
        }
        return {**_head("cpr", fitted, arrays), **record}, arrays
    raise TypeError(f"save: expected a RatioSchedule or a CPR, got {type(obj).__name__}.")


def from_record(record: dict[str, Any], arrays: Arrays) -> RatioSchedule | CPR:
    """The object of a file.  Raises RecordError."""
    record = dict(record)
    got, version = record.pop("format", None), record.pop("version", None)
    if got != FORMAT:
        raise RecordError(f"format: expected {FORMAT!r}, got {got!r}")
    if version not in VERSIONS or type(version) is not int:
        expected = " or ".join(map(str, VERSIONS))
        raise RecordError(f"version: expected {expected}, got {version!r}")
    _text("pack", record.pop("pack", None))
    kind = record.pop("kind", None)
    arrays = dict(arrays)
    try:
        if kind == "ratios":
            result: RatioSchedule | CPR = _to_ratios(record, arrays, "", version)
        elif kind == "cpr":
            result = _to_cpr(record, arrays, version)
        else:
            raise RecordError(f"kind: expected 'ratios' or 'cpr', got {kind!r}")
    except RecordError:
        raise
    except (TypeError, ValueError) as error:
        raise RecordError(str(error)) from error
    if arrays:
        raise RecordError(f"unknown tensor {sorted(arrays)[0]!r}")
    return result


def _head(kind: str, records: list[dict[str, Any]], arrays: Arrays) -> dict[str, Any]:
    """What stands before these records of ratios, with the first version that has all of them."""
    new = any(
        not record.keys().isdisjoint(_SECOND)
        or not (record["report"] or {}).keys() <= _FIRST_REPORT
        or record["origin"] == PRIOR
        for record in records
    )
    learned = any("learned." in name for name in arrays)
    version = 2 if new or learned else 1
    return {"format": FORMAT, "version": version, "pack": PACK_VERSION, "kind": kind}


def _from_ratios(obj: RatioSchedule, prefix: str) -> tuple[dict[str, Any], Arrays]:
    arrays = {f"{prefix}ratios": np.array(obj.ratios, dtype=np.float64)}
    if obj.sigmas is not None:
        arrays[f"{prefix}sigmas"] = np.array(obj.sigmas, dtype=np.float64)
    for name in _LEARNED if obj.learned is not None else ():
        value = getattr(obj.learned, name)
        if value is not None:
            arrays[f"{prefix}learned.{name}"] = np.array(value, dtype=np.float64)
    record: dict[str, Any] = {
        "steps": obj.steps,
        "start": obj.start,
        "cfg": obj.cfg,
        "origin": obj.origin,
        "settings": _from_settings(obj),
        "identity": asdict(obj.identity),
        "report": None if obj.report is None else _from_report(obj.report),
        "notes": list(obj.notes),
    }
    if obj.quality != QUALITIES[0]:
        record["quality"] = obj.quality
    if obj.warp is not None:
        record["warp"] = [obj.warp.a, obj.warp.b]
    return record, arrays


def _to_ratios(record: dict[str, Any], arrays: Arrays, prefix: str, version: int) -> RatioSchedule:
    checks: dict[str, Check] = {
        "steps": _whole(0, MOST_STEPS),
        "start": _optional(_number),
        "cfg": _optional(_number),
        "origin": _text,
        "settings": _settings,
        "identity": _identity,
        "report": _optional(_first_report if version == 1 else _report),
        "notes": _list_of(_text),
    }
    if version > 1:
        record = {"quality": QUALITIES[0], "warp": None, **record}
        checks["quality"] = _text
        checks["warp"] = _optional(_pair(_number))
    values = _read(record, checks)
    steps = values.pop("steps")
    settings = values.pop("settings")
    learned = _to_learned(arrays, prefix, steps) if version > 1 else None
    warp = values.pop("warp", None)
    ratios = _array(arrays, f"{prefix}ratios", steps)
    sigmas = _array(arrays, f"{prefix}sigmas", steps + 1) if f"{prefix}sigmas" in arrays else None
    made = RatioSchedule(
        ratios=ratios,
        sigmas=sigmas,
        learned=learned,
        warp=None if warp is None else Warp(*warp),
        **settings,
        **values,
    )
    _check_sigmas(made, values["start"])
    return made


def _check_sigmas(made: RatioSchedule, start: float | None) -> None:
    """Raises RecordError for sigmas of no step, or another ``start`` than theirs."""
    if made.sigmas is None:
        return
    first = made.sigmas[0]
    if made.steps == 0:
        raise RecordError("tensor 'sigmas': expected none with 0 steps, got one")
    if start is not None and not math.isclose(start, first, rel_tol=1e-6):
        raise RecordError(f"start: expected the first of the sigmas, {first!r}, got {start!r}")


def _to_cpr(record: dict[str, Any], arrays: Arrays, version: int) -> CPR:
    values = _read(
        record,
        {
            "steps_range": _pair(_whole(1, MOST_STEPS)),
            "cfg_range": _pair(_number),
            "ratio_range": _optional(_pair(_number)),
            "settings": _settings,
            "identity": _identity,
            "fitted": _list_of(_object, MOST_FITTED),
        },
    )
    settings = values.pop("settings")
    fitted = tuple(
        _to_ratios(part, arrays, f"fitted.{k}.", version)
        for k, part in enumerate(values.pop("fitted"))
    )
    coefficients = _array(arrays, "coefficients", 36)
    warp = _array(arrays, "warp", WARP_SIZE) if version > 1 and "warp" in arrays else None
    return CPR(coefficients=coefficients, fitted=fitted, warp=warp, **settings, **values)


def _to_learned(arrays: Arrays, prefix: str, steps: int) -> LearnedSteps | None:
    """The learned steps, where there are some; all but their changes must be there."""
    names = {part: f"{prefix}learned.{part}" for part in _LEARNED}
    if not arrays.keys() & set(names.values()):
        return None
    sigmas = _array(arrays, names["sigmas"], steps + 1)
    inputs = _array(arrays, names["inputs"], steps)
    changes = None
    if names["changes"] in arrays:
        changes = _array(arrays, names["changes"], steps, steps)
    return LearnedSteps(sigmas, inputs, changes)


def _array(arrays: Arrays, name: str, *shape: int) -> tuple[Any, ...]:
    if name not in arrays:
        raise RecordError(f"expected a tensor {name!r}, got none")
    array = arrays.pop(name)
    if array.shape != shape:
        raise RecordError(f"tensor {name!r}: expected shape {shape}, got {array.shape}")
    return tuple(array.tolist())


def _read(record: dict[str, Any], checks: dict[str, Check]) -> dict[str, Any]:
    """Check every field of an object; none may be missing, none unknown."""
    for name in record:
        if name not in checks:
            raise RecordError(f"unknown field {name[:80]!r}")
    values = {}
    for name, check in checks.items():
        if name not in record:
            raise RecordError(f"expected a field {name!r}, got none")
        values[name] = check(name, record[name])
    return values


def _from_settings(obj: ForSolver) -> dict[str, Any]:
    """The settings; a corrector that is the solver's own is left out, as in the first files."""
    settings = settings_of(obj)
    if obj.corrector is None:
        del settings["corrector"]
    return settings


def _settings(name: str, value: Any) -> dict[str, Any]:
    def lower_order(name: str, value: Any) -> bool | str:
        return value if isinstance(value, bool) else _text(name, value)

    checks: dict[str, Check] = {
        "solver": _text,
        "order": _whole(1, 16),
        "variant": _text,
        "dc_order": _whole(1, 16),
        "variable": _text,
        "lower_order": lower_order,
        "first_corrector": _flag,
        "corrector": _optional(_flag),
    }
    return _read({"corrector": None, **_object(name, value)}, checks)


def _identity(name: str, value: Any) -> Identity:
    checks: dict[str, Check] = {
        "fingerprint": _optional(_text),
        "model_class": _optional(_text),
        "prediction": _optional(_text),
        "lora": _optional(_text),
        "guidance": _optional(_text),
        "scheduler": _optional(_text),
        "latent_shape": _optional(_list_of(_whole(0, 2**31), 16)),
        "seeds": _list_of(_whole(0, 2**64)),
        "prompts_hash": _optional(_text),
    }
    # The first files did not have these two.
    return Identity(**_read({"lora": None, "guidance": None, **_object(name, value)}, checks))


def check_identity(identity: Identity) -> None:
    """Raises RecordError for an identity that a file cannot hold."""
    shape = identity.latent_shape
    _identity("identity", {
        **vars(identity), "seeds": list(identity.seeds),
        "latent_shape": None if shape is None else list(shape),
    })  # fmt: skip


def _from_report(report: Report) -> dict[str, Any]:
    """The report; what it has beside that of version 1 is left out where it says nothing."""
    values = asdict(report)
    new = [field for field in fields(Report) if field.name not in _FIRST_REPORT]
    for field in new:
        if values[field.name] == field.default:
            del values[field.name]
    return values


def _first_report(name: str, value: Any) -> Report:
    for field in _object(name, value):
        if field not in _FIRST_REPORT:
            raise RecordError(f"unknown field {field[:80]!r}")
    return _report(name, value)


def _report(name: str, value: Any) -> Report:
    numbers = _list_of(_number)
    kinds: dict[Any, Check] = {
        "int": _whole(0, 10**9), "bool": _flag, "float | None": _optional(_number),
    }  # fmt: skip
    checks: dict[str, Check] = {
        field.name: kinds.get(field.type, numbers)
        for field in fields(Report)
        if field.name in _FIRST_REPORT or field.name in _object(name, value)
    }
    checks["verdict"] = _text
    values = _read(_object(name, value), checks)
    if values["verdict"] not in VERDICTS:
        raise RecordError(f"verdict: expected one of {VERDICTS}, got {values['verdict']!r}")
    count = values["check_points"]
    for errors in ("errors", "errors_plain", "errors_dpmpp_2m"):
        if len(values[errors]) not in (0, count):
            raise RecordError(
                f"{errors}: expected one a check point, {count}, got {len(values[errors])}"
            )
    searched = values.get("search_gain")
    if searched is not None and (searched <= 0.0 or values["points"] < 1):
        raise RecordError(
            f"search_gain: expected a number above 0 of one point or more, got {searched!r} of "
            f"{values['points']}"
        )
    return Report(**values)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RecordError(f"{name}: expected an object, got {type(value).__name__}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise RecordError(f"{name}: expected a text of at most {_MOST_TEXT} characters")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise RecordError(f"{name}: expected true or false, got {type(value).__name__}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RecordError(f"{name}: expected a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RecordError(f"{name}: expected a finite number")
    return number


def _whole(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise RecordError(f"{name}: expected a whole number from {low} to {high}")
        return value

    return check


def _optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _list_of(check: Check, most: int = _MOST_ITEMS) -> Check:
    def check_list(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise RecordError(f"{name}: expected a list of at most {most}")
        return tuple(check(name, item) for item in value)

    return check_list


def _pair(check: Check) -> Check:
    def check_pair(name: str, value: Any) -> tuple[Any, Any]:
        if not isinstance(value, list) or len(value) != 2:
            raise RecordError(f"{name}: expected two numbers")
        return check(name, value[0]), check(name, value[1])

    return check_pair
