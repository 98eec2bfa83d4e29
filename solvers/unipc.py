"""UniPC's coefficients (2302.04867, sections 3.1 to 3.3, data prediction).

With ``h`` the step in half-logSNR and ``eta = -h``,

    x = base - signal * B * [ sum_k a_k D_k ]                           (UniP, predictor)
    x = base - signal * B * [ sum_k c_k D_k + c_p (m_new - m_0) ]       (UniC, corrector)

where ``D_k = (m_k - m_0) / r_k``, ``m_0`` is the newest known output, ``m_k`` the one ``k`` steps
before, and ``r_k`` their distance in units of ``h``.  ``B`` is ``eta`` (bh1) or ``expm1(eta)``
(bh2).  UniP of order 1 is DDIM, of order 2 with bh2 DPM-Solver++(2M), and of order 3 the exact
third-order exponential integrator, DPM-Solver++(3M).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

VARIANTS = ("bh1", "bh2")


def predictor_weights(distances: Sequence[float], h: float, variant: str) -> tuple[float, ...]:
    """UniP of order ``p``: the weights of ``m_0 .. m_{p-1}`` in ``x - base``, over ``signal``.

    ``distances`` are the half-logSNRs of ``m_1 .. m_{p-1}`` less that of ``m_0``.
    """
    order = len(distances) + 1
    if order == 1:
        return (0.0,)
    ratios = [distance / h for distance in distances]
    a = [0.5] if order == 2 else _solve(ratios, _moments(-h, order - 1, variant))
    scale = -_b(-h, variant)
    older = [scale * a_k / r_k for a_k, r_k in zip(a, ratios)]
    return (-math.fsum(older), *older)


def corrector_weights(distances: Sequence[float], h: float, variant: str) -> tuple[float, ...]:
    """UniC of order ``p`` as a change of the predicted state, over ``signal``.

    The weights of ``m_new, m_0 .. m_{p-1}`` in ``x_corrected - x_predicted``.  A step of infinite
    length has order 1 and takes the limit of bh2, since bh1 has none.
    """
    order = len(distances) + 1
    if order == 1:
        new = 0.5 * (1.0 if math.isinf(h) else -_b(-h, variant))
        return (new, -new)
    ratios = [distance / h for distance in distances]
    *c, c_new = _solve([*ratios, 1.0], _moments(-h, order, variant))
    scale = -_b(-h, variant)
    older = [scale * c_k / r_k for c_k, r_k in zip(c, ratios)]
    new = scale * c_new
    corrected = (-math.fsum([*older, new]), *older)
    predicted = predictor_weights(distances, h, variant)
    return (new, *(after - before for after, before in zip(corrected, predicted)))


def _b(eta: float, variant: str) -> float:
    return eta if variant == "bh1" else math.expm1(eta)


def _moments(eta: float, count: int, variant: str) -> list[float]:
    """``b_n = n! g_n / B``, the right-hand side of the order conditions (2302.04867, eq. 11)."""
    b = _b(eta, variant)
    return [math.factorial(n) * _g(eta, n) / b for n in range(1, count + 1)]


def _g(eta: float, n: int) -> float:
    """``g_1 = expm1(eta)/eta - 1``, ``g_{n+1} = g_n/eta - 1/(n+1)!``; a series near 0."""
    if abs(eta) < 1.0:
        return math.fsum(eta**k / math.factorial(k + n) for k in range(1, 24))
    g = math.expm1(eta) / eta - 1.0
    for m in range(2, n + 1):
        g = g / eta - 1.0 / math.factorial(m)
    return g


def _solve(ratios: Sequence[float], moments: Sequence[float]) -> list[float]:
    """Solve ``sum_k r_k^(n-1) c_k = b_n``."""
    r = torch.tensor(ratios, dtype=torch.float64, device="cpu")
    powers = torch.arange(len(ratios), dtype=torch.float64, device="cpu")
    b = torch.tensor(moments, dtype=torch.float64, device="cpu")
    return torch.linalg.solve(r[None, :] ** powers[:, None], b).tolist()
