"""The solvers by name.  A new one is a file of :mod:`solvers.methods` and its line here."""

from __future__ import annotations

from importlib import import_module

from .choices import check_one_of
from .solver import Solver

#: The files of ``methods/``, in the order of the dropdowns.
_FAMILIES = (
    "unipc",
    "ddim",
    "dpm_multistep",
    "deis",
    "ipndm",
    "dpm_singlestep",
    "dpm_adaptive",
)

SOLVERS: dict[str, Solver] = {
    solver.name: solver
    for family in _FAMILIES
    for solver in import_module(f".methods.{family}", __package__).SOLVERS
}


def compensating() -> list[str]:
    """The names of those that take ratios."""
    return [name for name, solver in SOLVERS.items() if solver.compensates]


def get_solver(name: str) -> Solver:
    """The solver of this name.  Raises ValueError listing the known ones."""
    check_one_of("solver", name, SOLVERS)
    return SOLVERS[name]
