"""What a user asks of DC-Solver for one image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ...ratios import settings_of
from ...ratios.schedule import ForSolver
from ...solvers import Langevin, Tolerance, get_solver
from ...solvers.inputs import check_langevin, check_threshold, check_tolerance
from .typed import CORRECTOR, LOWER_ORDER, Typed, parse_typed

AUTOMATIC, OFF, TYPED = "Automatic", "Off", "As typed"
_ASKED, _AXES = "dc_solver_asked", "dc_solver_axes"


@dataclass(frozen=True, kw_only=True)
class Asked(ForSolver):
    """Which ratios, and the solver with its settings where no ratios bring their own.

    ``passes`` are typed ratios, the first for the image, the second for hires fix; None where the
    library is to be looked in.  ``file`` is a file of the library, for passes without typed ones.
    """

    file: str | None = None
    off: bool = False
    passes: tuple[Typed | None, ...] = ()
    langevin_steps: int = 0
    langevin_snr: float = Langevin.snr
    rtol: float = Tolerance.rtol
    atol: float = Tolerance.atol
    max_calls: int = Tolerance.max_calls
    threshold: float | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The solver and its settings as keyword arguments of ``sample``."""
        return settings_of(self)

    def extras(self, seed: int | tuple[int, ...] = 0) -> dict[str, Any]:
        """The other keyword arguments of ``sample``, which ratios say nothing of."""
        langevin = Langevin(self.langevin_steps, self.langevin_snr, seed)
        return {
            "langevin": langevin if self.langevin_steps else None,
            "tolerance": Tolerance(atol=self.atol, rtol=self.rtol, max_calls=self.max_calls),
            "threshold": self.threshold,
        }

    def of_pass(self, hires: bool) -> tuple[Asked, tuple[float, ...] | None]:
        """This with the settings of a pass, and its ratios.

        () is a plain run; None leaves the ratios to the file or the library.
        """
        number = 1 if hires else 0
        typed = self.passes[number] if number < len(self.passes) else None
        if self.off or typed is None:
            return self, () if self.off else None
        if typed.file is not None:
            return replace(self, file=typed.file), None
        return replace(self, **dict(typed.own)), typed.ratios

    def possible(self) -> tuple[Asked, list[str]]:
        """What of this its solver can do, and in words what it cannot."""
        entry = get_solver(self.solver)
        found, notes = self, []
        if entry.order is None and self.order > entry.max_order:
            found = replace(found, order=entry.max_order)
            notes.append(f"{entry.label} has the orders up to {entry.max_order}")
        if self.corrector and entry.kind != "multistep":
            found = replace(found, corrector=None)
            notes.append(f"{entry.label} takes no corrector")
        if self.langevin_steps and entry.kind == "adaptive":
            found = replace(found, langevin_steps=0)
            notes.append(f"{entry.label} takes no Langevin steps")
        return found, notes


def asked_in(
    choice: str,
    typed: str = "",
    order: Any = 2,
    dc_order: Any = 2,
    variant: str = "bh2",
    lower_order: str = "automatic",
    more: str = "",
    solver: str = "dc_solver",
    corrector: str = "automatic",
    langevin_steps: Any = 0,
    langevin_snr: Any = Langevin.snr,
    rtol: Any = Tolerance.rtol,
    atol: Any = Tolerance.atol,
    max_calls: Any = Tolerance.max_calls,
    threshold: Any = 0.0,
) -> Asked:
    """What the fields of the accordion ask for.

    ``more`` belongs to typed ratios alone.  Raises ValueError for typed ratios that are none, and
    for numbers that no run could have.
    """
    words = {word.strip() for word in more.split(",")} if choice == TYPED else set()
    entry = get_solver(solver)
    # A field that the run does not use may be empty; an axis or typed words may use what is in it.
    if entry.kind != "adaptive":
        rtol = _filled(rtol, Tolerance.rtol)
        atol = _filled(atol, Tolerance.atol)
        max_calls = _filled(max_calls, Tolerance.max_calls)
    if langevin_steps == 0:
        langevin_snr = _filled(langevin_snr, Langevin.snr)
    asked = Asked(
        solver=entry.name,
        order=int(order),
        dc_order=int(dc_order),
        variant=variant,
        lower_order=LOWER_ORDER[lower_order],
        first_corrector="no first corrector" not in words,
        variable="lambda" if "lambda" in words else "t",
        corrector=CORRECTOR[corrector],
        langevin_steps=int(_number("Langevin steps", langevin_steps)),
        langevin_snr=_number("Langevin strength", langevin_snr),
        rtol=_number("error relative to the image", rtol),
        atol=_number("error always allowed", atol),
        max_calls=int(_number("most model calls", max_calls)),
        threshold=_number("threshold", threshold) or None,
    )
    extras = asked.extras()
    check_langevin(get_solver("dc_solver"), extras["langevin"], None)
    check_tolerance(extras["tolerance"])
    check_threshold(extras["threshold"])
    if choice in (OFF, AUTOMATIC):
        return replace(asked, off=choice == OFF)
    if choice == TYPED:
        return replace(asked, passes=parse_typed(typed))
    return replace(asked, file=choice)


def _filled(value: Any, default: Any) -> Any:
    """What is in a field, where it is not empty."""
    return default if value in (None, "") else value


def _number(field: str, value: Any) -> float:
    """Raises ValueError for what is no number, such as an empty field."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{field}: expected a number, got {value!r}.")
    return found


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
