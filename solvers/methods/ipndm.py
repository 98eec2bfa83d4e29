"""iPNDM (2204.13902, appendix H): Adams-Bashforth with the coefficients of even steps.

It takes them whatever the steps: of its full order where they are even in sigma, of order 2 on
other smooth grids.
"""

from __future__ import annotations

from .. import adams
from ..solver import Solver, Span, Weights

_COEFFICIENTS = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def _predict(span: Span) -> Weights:
    step = span.target.sigma - span.known[0].sigma
    return tuple(step * weight for weight in _COEFFICIENTS[len(span.known)])


def _correct(span: Span) -> Weights:
    return adams.change(adams.implicit(span, float), _predict(span))


SOLVERS = (
    Solver(
        "ipndm", "iPNDM", "2204.13902, appendix H",
        max_order=4, parameterisation="derivative", compensates=True, even_in="sigma",
        predict=_predict, correct=_correct,
    ),
)  # fmt: skip
