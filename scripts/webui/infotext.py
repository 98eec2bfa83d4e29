"""The keys that DC-Solver writes into an image's infotext, and how they paste back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...ratios import RatioSchedule
from ...ratios.lookup import Choice
from .asked import AUTOMATIC, LOWER_ORDER, TYPED, Asked, write_pass, write_passes

RATIOS, SOURCE, ORDER, K = "DC ratios", "DC file", "DC order", "DC K"
VARIANT, LOWER, MORE = "DC variant", "DC lower order", "DC more"
_DEFAULTS = {ORDER: 2, K: 2, VARIANT: "bh2", LOWER: "automatic", MORE: ""}


def note_run(p: Any, choice: Choice, asked: Asked) -> None:
    """Write what runs into the infotext, so that pasted back it makes the same image.

    The ratios stand there as numbers: nobody needs the file.  Settings are written where they are
    not the pack's defaults.
    """
    notes = p.extra_generation_params
    hires = bool(getattr(p, "is_hr_pass", False))
    if not hires:
        forget(p)
    used = choice.ratios if choice.ratios is not None else RatioSchedule((), **asked.settings)
    if not hires or RATIOS not in notes:
        notes |= {k: v for k, v in _written(used).items() if v != _DEFAULTS[k]}
    now = write_pass(choice.ratios, int(notes.get(K, _DEFAULTS[K])))
    notes[RATIOS] = write_passes(notes.get(RATIOS, ""), now, hires)
    if choice.source is not None:
        notes[SOURCE] = choice.source


def forget(p: Any) -> None:
    """Take our keys out of an infotext: the cells of an X/Y/Z plot share theirs."""
    for key in (RATIOS, SOURCE, *_DEFAULTS):
        p.extra_generation_params.pop(key, None)


def _written(used: RatioSchedule) -> dict[str, Any]:
    more = [] if used.first_corrector else ["no first corrector"]
    if used.variable != "t":
        more.append(used.variable)
    lower = next(name for name, value in LOWER_ORDER.items() if value == used.lower_order)
    return {
        ORDER: used.order,
        K: used.dc_order,
        VARIANT: used.variant,
        LOWER: lower,
        MORE: ", ".join(more),
    }


def pasted_choice(infotext: Mapping[str, Any]) -> Any:
    """What the dropdown shows for a pasted image; None leaves it as it is."""
    if RATIOS in infotext:
        return TYPED
    return AUTOMATIC if infotext.get("Sampler") == "DC-Solver" else None


def pasted(key: str) -> Callable[[Mapping[str, Any]], Any]:
    """What another field shows: the image's value, the default where an image has none."""

    def value(infotext: Mapping[str, Any]) -> Any:
        if RATIOS not in infotext:
            return None
        return infotext.get(key, _DEFAULTS.get(key, ""))

    return value
