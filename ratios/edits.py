"""Ratios that a user set by hand, on top of calibrated or predicted ones.

An edits text is JSON: for each key the ratios of single steps by index, counted from 0.  The key
says which ratios are meant: a file's name where they come from a file, the number of steps where
they are predicted.  ``{"5": {"3": 0.92}}`` makes ``ratios[3]`` of 5 steps 0.92.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .schedule import RatioSchedule

#: No calibrated ratio comes near it.
MOST_RATIO = 10.0
#: How the note begins that says which ratios are set by hand.
BY_HAND = "set by hand: "
#: Hand-set ratios under one key.
MOST_POINTS = 200
_MOST_TEXT = 20_000


def parse_edits(text: str) -> dict[str, dict[int, float]]:
    """The ratios set by hand, by key and index.  An empty text holds none.

    Raises ValueError for anything else than the format above, so that a mistake is seen before a
    run and not after.
    """
    if len(text) > _MOST_TEXT:
        raise ValueError(f"edits: expected at most {_MOST_TEXT} characters, got {len(text)}.")
    if not text.strip():
        return {}
    try:
        found = json.loads(
            text, object_pairs_hook=_each_once, parse_int=float, parse_constant=_no_number
        )
    except RecursionError as error:
        raise ValueError("edits: expected two levels of JSON, got far more.") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f'edits: expected JSON such as {{"5": {{"3": 0.92}}}}, got {text[:60]!r} ({error}).'
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f'edits: expected JSON such as {{"5": {{"3": 0.92}}}}, got {text[:60]!r}.')
    return {key: _points(key, points) for key, points in found.items()}


def apply_edits(schedule: RatioSchedule, points: Mapping[int, float]) -> RatioSchedule:
    """``schedule`` with these ratios set by hand; itself where there are none.

    The first ``dc_order`` ratios are always 1, and there may be fewer steps than when the edits
    were made, as where a file was replaced: points that have no place are left out, and a note says
    so.  Another note says which were set.  The report goes, for it describes other ratios.

    Raises ValueError for learned steps, which were found together with their ratios.
    """
    if not points:
        return schedule
    if schedule.moves_steps:
        raise ValueError(
            f"edits: expected ratios alone, got learned steps (quality {schedule.quality}), which "
            "hold only with the ratios that they were found with; clear the edits, or calibrate "
            "with quality paper or ratios+."
        )
    good = {k: v for k, v in sorted(points.items()) if schedule.dc_order <= k < schedule.steps}
    left = [k for k in sorted(points) if k not in good]
    notes = []
    if good:
        notes.append(BY_HAND + _named(list(good)))
    if left:
        notes.append(
            f"hand-set ratios left out: {_named(left)}, which cannot be set in {schedule.steps} "
            "steps"
        )
    ratios = [good.get(k, ratio) for k, ratio in enumerate(schedule.ratios)]
    changed = replace(schedule, ratios=tuple(ratios), report=None if good else schedule.report)
    return changed.with_notes(*notes)


def _named(indices: Sequence[int]) -> str:
    """Steps as people count them."""
    return f"step{'s' if len(indices) > 1 else ''} " + ", ".join(str(k + 1) for k in indices)


def _points(key: str, points: Any) -> dict[int, float]:
    if not isinstance(points, dict) or len(points) > MOST_POINTS:
        raise ValueError(
            f'edits of {key[:40]!r}: expected at most {MOST_POINTS} ratios such as {{"3": 0.92}}.'
        )
    found = {}
    for index, value in points.items():
        if not re.fullmatch(r"0|[1-9][0-9]{0,2}", index, re.ASCII):
            raise ValueError(
                f"edits of {key[:40]!r}: expected the index of a step, 0 to 999, got "
                f"{index[:20]!r}."
            )
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not abs(value) <= MOST_RATIO:
            raise ValueError(
                f"edits of {key[:40]!r}: expected a ratio from -{MOST_RATIO:g} to {MOST_RATIO:g} "
                f"at {index}, got {str(value)[:20]!r}."
            )
        found[int(index)] = float(value)
    return found


def _each_once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"edits: {key[:40]!r} stands twice.")
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"edits: expected finite numbers, got {name}.")
