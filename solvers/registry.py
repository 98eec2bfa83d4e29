"""The solvers by name.  A new multistep solver is one line here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Solver:
    """What a caller may want to know of a solver before running it.

    ``order`` is the fixed order, or None where the caller chooses it up to ``max_order``.
    ``calls_per_step`` is the number of model calls a step.  ``compensates`` tells whether it takes
    ratios.
    """

    name: str
    label: str
    order: int | None
    max_order: int
    corrector: bool
    compensates: bool
    source: str
    calls_per_step: int = 1


_ALL = (
    Solver("ddim", "DDIM", 1, 1, False, True, "2010.02502; order 1 of 2206.00927"),
    Solver("dpmpp_2m", "DPM-Solver++(2M)", 2, 2, False, True, "2211.01095, algorithm 2"),
    Solver("dpmpp_3m", "DPM-Solver++(3M)", 3, 3, False, True, "2211.01095, third order"),
    Solver("unipc", "UniPC", None, 4, True, False, "2302.04867"),
    Solver("dc_solver", "DC-Solver", None, 4, True, True, "2409.03755"),
)

SOLVERS: dict[str, Solver] = {solver.name: solver for solver in _ALL}


def get_solver(name: str) -> Solver:
    """The solver of this name.  Raises ValueError listing the known ones."""
    try:
        return SOLVERS[name]
    except (KeyError, TypeError):
        raise ValueError(f"solver: expected one of {', '.join(SOLVERS)}, got {name!r}.") from None
