"""The multistep solvers DPM-Solver-2M, on noise, and DPM-Solver++(2M) and (3M), on data."""

from __future__ import annotations

from ..exponential import correct_data, correct_noise, predict_data, predict_noise
from ..solver import Solver

SOLVERS = (
    Solver(
        "dpmpp_2m", "DPM-Solver++(2M)", "2211.01095, algorithm 2",
        order=2, max_order=2, compensates=True, predict=predict_data, correct=correct_data,
    ),
    Solver(
        "dpmpp_3m", "DPM-Solver++(3M)", "2211.01095, third order",
        order=3, max_order=3, compensates=True, predict=predict_data, correct=correct_data,
    ),
    Solver(
        "dpm_2m", "DPM-Solver-2M", "2211.01095, algorithm 2 on noise",
        order=2, max_order=2, parameterisation="noise", compensates=True,
        predict=predict_noise, correct=correct_noise,
    ),
)  # fmt: skip
