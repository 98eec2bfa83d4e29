"""Coefficients of the exponential integrators: DDIM, DPM-Solver, DPM-Solver++, UniPC.

UniPC (2302.04867, sections 3.1 to 3.3) holds them all.  With ``h`` the step in half-logSNR,

    x = first-order step - scale * B * [ sum_k a_k D_k ]                         (UniP, predictor)
    x = first-order step - scale * B * [ sum_k c_k D_k + c_p (o_new - o_0) ]     (UniC, corrector)

where ``D_k = (o_k - o_0) / r_k``, ``o_0`` is the newest known output, ``o_k`` the one ``k`` steps
before, and ``r_k`` their distance in units of ``h``.  Outputs are x0 with ``eta = -h`` and the
signal for the scale, or noise with ``eta = h`` and sigma for the scale; ``B`` is ``eta`` (bh1) or
``expm1(eta)`` (bh2).  UniP of order 1 is DDIM; of order 2 with bh2 it is DPM-Solver-2M for noise
and DPM-Solver++(2M) for data; of order 3 the exact third-order integrator, DPM-Solver++(3M).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .grid import Point
from .parameterisation import transfer
from .solver import Span, Weights

VARIANTS = ("bh1", "bh2")


def predict_data(span: Span) -> Weights:
    """UniP on x0: the weights of the outputs in the state at the target."""
    return _predict(span, "data")


def predict_noise(span: Span) -> Weights:
    """UniP on noise."""
    return _predict(span, "noise")


def correct_data(span: Span) -> Weights:
    """UniC on x0: the weights of the new and the known outputs in corrected less predicted."""
    h = span.h
    return tuple(span.target.signal * w for w in _corrector(span, h, -h))


def correct_noise(span: Span) -> Weights:
    """UniC on noise."""
    h = span.h
    return tuple(span.target.sigma * w for w in _corrector(span, h, h))


def _predict(span: Span, kind: str) -> Weights:
    _, newest = transfer(kind, span.known[0], span.target)
    h = span.h
    scale, eta = (span.target.signal, -h) if kind == "data" else (span.target.sigma, h)
    first, *older = (scale * weight for weight in _predictor(span, h, eta))
    return (newest + first, *older)


def _predictor(span: Span, h: float, eta: float) -> Weights:
    """The weights beside the first-order step, over the scale."""
    order, variant = len(span.known), span.variant
    if order == 1:
        return (0.0,)
    ratios = _ratios(span.known, h)
    a = [0.5] if order == 2 else _solve(ratios, _moments(eta, order - 1, variant))
    scale = -_b(eta, variant)
    older = [scale * a_k / r_k for a_k, r_k in zip(a, ratios)]
    return (-math.fsum(older), *older)


def _corrector(span: Span, h: float, eta: float) -> Weights:
    """Corrected less predicted, over the scale.

    A step of infinite length has order 1.  On x0 it takes the limit of bh2, since bh1 has none; on
    noise there is no limit, and no correction.
    """
    order, variant = len(span.known), span.variant
    if order == 1 and math.isinf(h):
        return (0.5, -0.5) if eta < 0.0 else (0.0, 0.0)
    if order == 1:
        new = -0.5 * _b(eta, variant)
        return (new, -new)
    ratios = _ratios(span.known, h)
    *c, c_new = _solve([*ratios, 1.0], _moments(eta, order, variant))
    scale = -_b(eta, variant)
    older = [scale * c_k / r_k for c_k, r_k in zip(c, ratios)]
    new = scale * c_new
    corrected = (-math.fsum([*older, new]), *older)
    predicted = _predictor(span, h, eta)
    return (new, *(after - before for after, before in zip(corrected, predicted)))


def _ratios(known: Sequence[Point], h: float) -> list[float]:
    return [(point.lam - known[0].lam) / h for point in known[1:]]


def phi(eta: float, n: int) -> float:
    """``g_n``: ``g_1 = expm1(eta)/eta - 1``, ``g_{n+1} = g_n/eta - 1/(n+1)!``; a series near 0."""
    if abs(eta) < 1.0:
        return math.fsum(eta**k / math.factorial(k + n) for k in range(1, 24))
    g = math.expm1(eta) / eta - 1.0
    for m in range(2, n + 1):
        g = g / eta - 1.0 / math.factorial(m)
    return g


def _b(eta: float, variant: str) -> float:
    return eta if variant == "bh1" else math.expm1(eta)


def _moments(eta: float, count: int, variant: str) -> list[float]:
    """``b_n = n! g_n / B``, the right-hand side of the order conditions (2302.04867, eq. 11)."""
    b = _b(eta, variant)
    return [math.factorial(n) * phi(eta, n) / b for n in range(1, count + 1)]


def _solve(ratios: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Solve ``sum_k r_k^(n-1) c_k = b_n``."""
    r = torch.tensor(ratios, dtype=torch.float64, device="cpu")
    powers = torch.arange(len(ratios), dtype=torch.float64, device="cpu")
    b = torch.tensor(moments, dtype=torch.float64, device="cpu")
    return torch.linalg.solve(r[None, :] ** powers[:, None], b).tolist()
