"""UniPC (2302.04867), its predictor alone, and DC-Solver (2409.03755), which compensates it."""

from __future__ import annotations

from ..exponential import correct_data, predict_data
from ..solver import Solver

SOLVERS = (
    Solver(
        "dc_solver", "DC-Solver", "2409.03755",
        max_order=4, corrector=True, compensates=True, predict=predict_data, correct=correct_data,
    ),
    Solver(
        "unipc", "UniPC", "2302.04867",
        max_order=4, corrector=True, predict=predict_data, correct=correct_data,
    ),
    Solver(
        "unip", "UniP", "2302.04867, predictor alone",
        max_order=4, compensates=True, predict=predict_data, correct=correct_data,
    ),
)  # fmt: skip
