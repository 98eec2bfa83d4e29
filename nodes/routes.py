"""What the front end asks while a widget moves: the curve to draw."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..ratios import CPR, RatioSchedule
from ..ratios.cpr import LARGE_CHANGE
from ..ratios.edits import BY_HAND, apply_edits, parse_edits
from . import host, library, tokens
from .host_routes import add_get


class _Refusal(Exception):
    """A request that has no answer: an HTTP status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def register_routes() -> None:
    """Add ``/dc_solver/curve`` to the host's server."""
    add_get("/dc_solver/curve", curve)


def curve(query: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """A curve with all there is to draw about it.

    ``file``, a name of the library, or ``cpr``, a token; for a regression ``steps`` and ``cfg``
    (without them: its ranges alone); ``edits`` as in the nodes' widget.
    """
    try:
        source = _source(query)
        edits = parse_edits(query.get("edits", ""))
        if isinstance(source, RatioSchedule):
            return 200, _ratios(source, edits.get(query["file"], {}))
        return 200, _cpr(source, query, edits)
    except _Refusal as refusal:
        return refusal.status, {"error": str(refusal)}
    except ValueError as error:
        return 400, {"error": str(error)}


def _source(query: Mapping[str, str]) -> RatioSchedule | CPR:
    if ("file" in query) == ("cpr" in query):
        raise _Refusal(400, "expected either file or cpr")
    if "file" in query:
        return _library_file(query["file"])
    found = tokens.recall(query["cpr"])
    if found is None:
        raise _Refusal(404, "This calibration is no longer in memory. Run Calibrate Ratios Grid "
                       "again, or load it from a file.")  # fmt: skip
    return found


def _library_file(name: str) -> RatioSchedule | CPR:
    """A file of the library, read again only where it has changed."""
    try:
        path = host.library_path(name)
    except (ValueError, OSError) as error:
        raise _Refusal(
            404,
            f"{name[:120]} is not in this library (models/{host.FOLDER}). Copy it there and press "
            "R, or choose another.",
        ) from error
    try:
        return library.shelf.load(path)
    except (ValueError, OSError) as error:
        raise _Refusal(400, f"This file cannot be read: {error}") from error


def _ratios(found: RatioSchedule, points: dict[int, float]) -> dict[str, Any]:
    return {"kind": "ratios", **_drawn(found, points)}


def _cpr(cpr: CPR, query: Mapping[str, str], edits: dict[str, dict[int, float]]) -> dict[str, Any]:
    ranges = {
        "kind": "cpr",
        "steps_range": list(cpr.steps_range),
        "cfg_range": list(cpr.cfg_range),
        "ratio_range": None if cpr.ratio_range is None else list(cpr.ratio_range),
    }
    if "steps" not in query and "cfg" not in query:
        return ranges
    steps, cfg = _steps(query.get("steps", "")), _cfg(query.get("cfg", ""))
    found = cpr.predict(steps, cfg)
    free = replace(cpr, ratio_range=None).predict(steps, cfg).ratios
    pairs = enumerate(zip(found.ratios, free))
    return {
        **ranges,
        "inside": {
            "steps": cpr.steps_range[0] <= steps <= cpr.steps_range[1],
            "cfg": cpr.cfg_range[0] <= cfg <= cpr.cfg_range[1],
        },
        "limited": [k for k, (a, b) in pairs if abs(a - b) > LARGE_CHANGE],
        **_drawn(found, edits.get(str(steps), {})),
    }


def _drawn(found: RatioSchedule, points: dict[int, float]) -> dict[str, Any]:
    """The ratios before and after the edits, and what is said of them."""
    edited = apply_edits(found, points)
    return {
        "steps": found.steps,
        "cfg": found.cfg,
        "dc_order": found.dc_order,
        "before": list(found.ratios),
        "ratios": list(edited.ratios),
        "edited": [k for k in sorted(points) if found.dc_order <= k < found.steps],
        "sigmas": None if found.sigmas_to_run is None else list(found.sigmas_to_run),
        "given": None if found.sigmas is None else list(found.sigmas),
        "learned": found.moves_steps,
        "notes": list(edited.notes),
        "warnings": [note for note in edited.notes if not note.startswith(BY_HAND)],
    }


def _steps(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
        raise _Refusal(400, f"steps: expected a whole number from 1 to 1000, got {text[:20]!r}")
    return int(text)


def _cfg(text: str) -> float:
    try:
        value = float(text[:40])
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1000.0:
        raise _Refusal(400, f"cfg: expected a number from 0 to 1000, got {text[:20]!r}")
    return value
