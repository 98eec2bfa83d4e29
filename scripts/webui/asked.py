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
_ASKED, _AXES = "dc_solver_asked", "dc_solver_axes"


@dataclass(frozen=True)
class Asked:
    """Which ratios, and the settings of the solver where no ratios bring their own.

    ``passes`` are typed ratios, the first for the image, the second for hires fix; None where the
    library is to be looked in, () for plain UniPC.  ``file`` is a file of the library.
    """

    file: str | None = None
    off: bool = False
    passes: tuple[tuple[float, ...] | None, ...] = ()
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
        if typed is None or typed == ():
            return None, typed == ()
        return RatioSchedule(typed, origin="imported", **self.settings), False


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

    Raises ValueError for typed ratios that are none.
    """
    words = {word.strip() for word in more.split(",")}
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


def parse_typed(text: str) -> tuple[tuple[float, ...] | None, ...]:
    """Ratios such as ``1 1 1.12 0.91``, those of hires fix after a ``|``.

    ``none`` stands for plain UniPC and ``-`` for what the library has.  Raises ValueError for
    anything else.
    """
    passes = [part.replace(",", " ").split() for part in text.split(_PASSES)]
    if len(passes) > 2 or sum(map(len, passes)) > _MOST_TYPED:
        raise ValueError(f"ratios: expected at most two lists with one {_PASSES} between.")
    return tuple(_parse_pass(words) for words in passes)


def _parse_pass(words: list[str]) -> tuple[float, ...] | None:
    if not words or words == [_AT_WILL]:
        return None
    if words == [_PLAIN]:
        return ()
    try:
        found = tuple(float(word) for word in words)
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(value) for value in found):
        raise ValueError(
            f"ratios: expected numbers such as 1 1 1.12 0.91, one a step, got {' '.join(words)!r}."
        )
    return found


def write_pass(ratios: RatioSchedule | None) -> str:
    """One pass as :func:`parse_typed` reads it."""
    if ratios is None or not ratios.active:
        return _PLAIN
    return " ".join(f"{ratio:.6g}" for ratio in ratios.ratios)


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
