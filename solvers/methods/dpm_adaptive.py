"""DPM-Solver-12 and -23 (2206.00927, appendix C): steps chosen by an embedded error estimate."""

from __future__ import annotations

from ..solver import Solver
from .dpm_singlestep import on_noise


def _solver(name: str, label: str, order: int) -> Solver:
    return Solver(
        name, label, "2206.00927, appendix C", kind="adaptive", order=order, max_order=order,
        parameterisation="noise", calls_per_step=None, stages=on_noise,
    )  # fmt: skip


SOLVERS = (
    _solver("dpm_12", "DPM-Solver-12", 2),
    _solver("dpm_23", "DPM-Solver-23", 3),
)
