"""DEIS (2204.13902): Adams-Bashforth with polynomials in the model's time or in sigma.

In the paper's notation ``rho = sigma / alpha``, which is the hosts' sigma for variance preserving
models.  For a rectified flow the same integrals run over the velocity in sigma, where time and
sigma are one.
"""

from __future__ import annotations

from .. import adams
from ..solver import Solver, Span, Weights


def _predict_in_time(span: Span) -> Weights:
    return adams.explicit(span, span.schedule.model_time)


def _correct_in_time(span: Span) -> Weights:
    corrected = adams.implicit(span, span.schedule.model_time)
    return adams.change(corrected, _predict_in_time(span))


SOLVERS = (
    Solver(
        "deis_tab", "DEIS (tAB)", "2204.13902, equation 15",
        max_order=3, parameterisation="derivative", compensates=True, timed=True,
        predict=_predict_in_time, correct=_correct_in_time,
    ),
    Solver(
        "deis_rhoab", "DEIS (rhoAB)", "2204.13902, section 3.3",
        max_order=3, parameterisation="derivative", compensates=True,
        predict=adams.in_sigma, correct=adams.corrected_in_sigma,
    ),
)  # fmt: skip
