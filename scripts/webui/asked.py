"""What a user asks of DC-Solver for one image, and how it is written into the image's infotext."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ...ratios import RatioSchedule

AUTOMATIC, OFF, TYPED = "Automatic", "Off", "As typed"
LOWER_ORDER: dict[str, bool | str] = {"automatic": True, "final": "final", "never": False}
_MOST_TYPED = 1000
_AT_WILL, _PLAIN, _PASSES = "-", "none", "|"
_OWN_K = {"K1": 1, "K2": 2, "K3": 3}
_ASKED, _AXES = "dc_solver_asked", "dc_solver_axes"


@dataclass(frozen=True)
class Typed:
    """The ratios of one pass, () for plain UniPC, and their K where it is their own."""

    ratios: tuple[float, ...]
    dc_order: int | None = None


@dataclass(frozen=True)
class Asked:
    """Which ratios, and the settings of the solver where no ratios bring their own.

    ``passes`` are typed ratios, the first for the image, the second for hires fix; None where the
    library is to be looked in.  ``file`` is a file of the library.
    """

    file: str | None = None
    off: bool = False
    passes: tuple[Typed | None, ...] = ()
    order: int = 2
    dc_order: int = 2
    variant: str = "bh2"
    lower_order: bool | str = True
    first_corrector: bool = True
    variable: str = "t"

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments of ``sample``."""
        names = ("order", "dc_order", "variant", "lower_order", "first_corrector", "variable")
        return {name: getattr(self, name) for name in names}

    def typed_for(self, p: Any) -> tuple[RatioSchedule | None, bool]:
        """The typed ratios for this pass, and whether it is to be plain UniPC."""
        if self.off:
            return None, True
        number = 1 if getattr(p, "is_hr_pass", False) else 0
        typed = self.passes[number] if number < len(self.passes) else None
        if typed is None or not typed.ratios:
            return None, typed is not None
        settings = {**self.settings, "dc_order": typed.dc_order or self.dc_order}
        return RatioSchedule(typed.ratios, origin="imported", **settings), False


def asked_in(
    choice: str,
    typed: str = "",
    order: Any = 2,
    dc_order: Any = 2,
    variant: str = "bh2",
    lower_order: str = "automatic",
    more: str = "",
) -> Asked:
    """What the fields of the accordion ask for.

    ``more`` belongs to typed ratios alone.  Raises ValueError for typed ratios that are none.
    """
    words = {word.strip() for word in more.split(",")} if choice == TYPED else set()
    asked = Asked(
        order=int(order),
        dc_order=int(dc_order),
        variant=variant,
        lower_order=LOWER_ORDER[lower_order],
        first_corrector="no first corrector" not in words,
        variable="lambda" if "lambda" in words else "t",
    )
    if choice in (OFF, AUTOMATIC):
        return replace(asked, off=choice == OFF)
    if choice == TYPED:
        return replace(asked, passes=parse_typed(typed))
    return replace(asked, file=choice)


def parse_typed(text: str) -> tuple[Typed | None, ...]:
    """Ratios such as ``1 1 1.12 0.91``, those of hires fix after a ``|``.

    ``none`` stands for plain UniPC and ``-`` for what the library has; ``K1`` at the end of a pass
    gives it its own K.  Raises ValueError for anything else.
    """
    passes = [part.replace(",", " ").split() for part in text.split(_PASSES)]
    if len(passes) > 2 or sum(map(len, passes)) > _MOST_TYPED:
        raise ValueError(f"ratios: expected at most two lists with one {_PASSES} between.")
    return tuple(_parse_pass(words) for words in passes)


def _parse_pass(words: list[str]) -> Typed | None:
    if not words or words == [_AT_WILL]:
        return None
    if words == [_PLAIN]:
        return Typed(())
    dc_order = None
    if words[-1] in _OWN_K and len(words) > 1:
        dc_order = _OWN_K[words.pop()]
    try:
        found = tuple(float(word) for word in words)
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(value) for value in found):
        raise ValueError(
            f"ratios: expected numbers such as 1 1 1.12 0.91, one a step, got {' '.join(words)!r}."
        )
    return Typed(found, dc_order)


def write_pass(ratios: RatioSchedule | None, dc_order: int) -> str:
    """One pass as :func:`parse_typed` reads it, beside a K of all passes."""
    if ratios is None or not ratios.active:
        return _PLAIN
    own = [] if ratios.dc_order == dc_order else [f"K{ratios.dc_order}"]
    return " ".join([*(f"{ratio:.6g}" for ratio in ratios.ratios), *own])


def write_passes(before: str, now: str, hires: bool) -> str:
    """The infotext of all passes, ``now`` being the latest of them."""
    if not hires:
        return now
    return f"{before.split(_PASSES)[0].strip() or _AT_WILL} {_PASSES} {now}"


def ask(p: Any, asked: Asked) -> None:
    """Keep with a processing object what is asked for it."""
    setattr(p, _ASKED, asked)


def ask_on_axis(p: Any, name: str, value: Any) -> None:
    """Let a value of an X/Y/Z plot win over what the accordion asks for."""
    setattr(p, _AXES, {**getattr(p, _AXES, {}), name: value})


def asked_of(p: Any) -> Asked:
    """What is asked for a processing object; the library's where nothing is."""
    asked = getattr(p, _ASKED, Asked())
    return replace(asked, **getattr(p, _AXES, {}))
