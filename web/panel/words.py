"""What a calibration is for, in few words that are safe to show."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence

from ...ratios import CPR, RatioSchedule
from ...ratios.schedule import Identity
from ...ratios.text import base_of

_MOST = 60
_TO = "\N{EN DASH}"


def plain(text: str, most: int = _MOST) -> str:
    """A text of a file on one line: what cannot be printed is replaced, what is too long cut."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def safe(text: str) -> str:
    """A text as HTML that shows it and does nothing else, also where templates are filled in."""
    escaped = html.escape(text)
    for character in "$`{}":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return escaped


def purpose(found: RatioSchedule | CPR) -> str:
    """The settings that it is for: ``5 steps · CFG 3``, and of a CPR from where to where.

    Of a solver other than DC-Solver its name comes first, and a quality beyond paper last.
    """
    own = found.solver == "dc_solver" and found.corrector is None
    solver = "" if own else f"{base_of(found)} · "
    if isinstance(found, CPR):
        moved = "" if found.warp is None else " · learned steps (schedule)"
        span = f"CPR {_span(found.steps_range)} steps · CFG {_span(found.cfg_range)}"
        return f"{solver}{span}{moved}"
    cfg = "CFG unknown" if found.cfg is None else f"CFG {found.cfg:g}"
    quality = "" if found.quality == "paper" else f" · {found.quality}"
    if found.moves_steps:
        quality = f" · learned steps ({found.quality})"
    return f"{solver}{found.steps} steps · {cfg}{quality}"


def origin(found: RatioSchedule | CPR) -> str:
    """The model and the scheduler: ``UNet2D 3f2a91c0 · karras``."""
    return " · ".join([_model(found.identity), *_scheduler(found.identity)])


def gain(found: RatioSchedule | CPR) -> str:
    """What it gains (:attr:`ratios.Report.estimate`): ``0.88 of UniPC's error``."""
    if isinstance(found, RatioSchedule):
        return _gain_of_one(found)
    gains = [each.gain for each in found.fitted if each.gain is not None]
    if not gains:
        return "unchecked" if found.fitted else "imported"
    low, high = f"{min(gains):.2f}", f"{max(gains):.2f}"
    gained = low if low == high else f"{low}{_TO}{high}"
    return f"{gained} of {base_of(found)}'s error"


def day(seconds: float) -> str:
    """The date of a time stamp, as in ``22 Nov 2026``."""
    try:
        return time.strftime("%d %b %Y", time.localtime(seconds)).lstrip("0")
    except (OverflowError, ValueError, OSError):
        return ""


def unbroken(text: str) -> str:
    """A text that no line ends in."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def count(number: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _gain_of_one(found: RatioSchedule) -> str:
    report = found.report
    if report is None:
        return "imported" if found.origin == "imported" else "unchecked"
    if report.verdict == "not better":
        return "kept at 1"
    if report.estimate is None:
        return "unchecked"
    return f"{report.estimate:.2f} of {base_of(found)}'s error"


def _model(identity: Identity) -> str:
    kind = plain(identity.model_class or "", 24)
    mark = plain(identity.fingerprint or "", 64).rpartition(":")[2][:8]
    named = " ".join(part for part in (kind, mark) if part) or "model unknown"
    return f"{named} + LoRA" if identity.lora else named


def _scheduler(identity: Identity) -> list[str]:
    return [plain(identity.scheduler, 24)] if identity.scheduler else []


def _span(ends: Sequence[float]) -> str:
    low, high = (f"{end:g}" for end in ends)
    return low if low == high else f"{low}{_TO}{high}"
