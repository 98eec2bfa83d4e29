"""Ratios as text, as a user types them and as they stand in an infotext."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...ratios.schedule import QUALITIES
from ...solvers import SOLVERS

LOWER_ORDER: dict[str, bool | str] = {"automatic": True, "final": "final", "never": False}
CORRECTOR: dict[str, bool | None] = {"automatic": None, "on": True, "off": False}
_MOST_TYPED = 1000
#: Of a pass that nothing was asked for.
AT_WILL = "-"
_PLAIN, _PASSES = "none", "|"
#: Words that give a pass settings of its own.
_OWN: dict[str, tuple[str, Any]] = {
    **{name: ("solver", name) for name in SOLVERS},
    **{f"K{k}": ("dc_order", k) for k in (1, 2, 3)},
    **{f"order={order}": ("order", order) for order in (1, 2, 3, 4)},
    **{f"variant={name}": ("variant", name) for name in ("bh1", "bh2")},
    **{f"variable={name}": ("variable", name) for name in ("t", "lambda")},
    **{f"lower={name}": ("lower_order", value) for name, value in LOWER_ORDER.items()},
    "first=on": ("first_corrector", True),
    "first=off": ("first_corrector", False),
    **{f"corrector={name}": ("corrector", value) for name, value in CORRECTOR.items()},
}  # fmt: skip
_WORDS = {(name, repr(value)): word for word, (name, value) in _OWN.items()}


@dataclass(frozen=True)
class Typed:
    """The ratios of one pass, () for a plain run, and the solver settings that are its own.

    Learned steps are more than can be typed: ``file`` is the one of the library that has them.
    """

    ratios: tuple[float, ...]
    own: tuple[tuple[str, Any], ...] = ()
    file: str | None = None


def parse_typed(text: str) -> tuple[Typed | None, ...]:
    """Ratios such as ``1 1 1.12 0.91``, those of hires fix after a ``|``.

    ``none`` stands for a plain run and ``-`` for what the library has; words such as ``K1`` or
    ``ddim`` at the end of a pass give it settings of its own.  The quality of a calibration, such
    as ``full``, before the name of a file stands for the learned steps in it.  Raises ValueError
    for anything else.
    """
    passes = text.split(_PASSES)
    if len(passes) > 2 or sum(len(part.split()) for part in passes) > _MOST_TYPED:
        raise ValueError(f"ratios: expected at most two lists with one {_PASSES} between.")
    return tuple(_parse_pass(part) for part in passes)


def _parse_pass(text: str) -> Typed | None:
    quality, _, file = text.strip().partition(" ")
    if quality in QUALITIES and file.strip():
        return Typed((), file=file.strip())
    words = text.replace(",", " ").split()
    if not words or words == [AT_WILL]:
        return None
    end = len(words)
    while end > 1 and words[end - 1] in _OWN:
        end -= 1
    own = tuple(_OWN[word] for word in words[end:])
    if words[:end] == [_PLAIN]:
        return Typed((), own)
    try:
        found = tuple(float(word) for word in words[:end])
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(value) for value in found):
        raise ValueError(
            f"ratios: expected numbers such as 1 1 1.12 0.91, one a step, got {' '.join(words)!r}."
        )
    return Typed(found, own)


def write_pass(ratios: Sequence[float], own: Mapping[str, Any]) -> str:
    """One pass as :func:`parse_typed` reads it, () being a plain run, with what is its own."""
    words = [f"{ratio:.6g}" for ratio in ratios] or [_PLAIN]
    return " ".join([*words, *(_WORDS[name, repr(value)] for name, value in own.items())])


def write_file(quality: str, file: str) -> str:
    """A pass of learned steps, which no numbers make again without their file."""
    return f"{quality} {file}"


def write_passes(before: str, now: str, hires: bool) -> str:
    """The infotext of all passes, ``now`` being the latest of them."""
    if not hires:
        return now
    return f"{before.split(_PASSES)[0].strip() or AT_WILL} {_PASSES} {now}"
