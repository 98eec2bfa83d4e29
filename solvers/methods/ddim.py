"""DDIM (2010.02502), which is DPM-Solver-1, multistep of order 1."""

from __future__ import annotations

from ..exponential import correct_data, predict_data
from ..solver import Solver

SOLVERS = (
    Solver(
        "ddim", "DDIM", "2010.02502; order 1 of 2206.00927",
        order=1, compensates=True, predict=predict_data, correct=correct_data,
    ),
)  # fmt: skip
