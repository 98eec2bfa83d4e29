"""Adams methods on ``d = dx/dsigma``: integrals of polynomials through the known outputs.

    x_next = x + sum_j w_j d_j,   w_j = integral of l_j(u(sigma)) dsigma over the step,

where ``l_j`` are the Lagrange polynomials at the outputs' places in a coordinate ``u``: sigma
itself, or the model's time (DEIS, 2204.13902, section 3.3).  With the new output among the nodes
that is the implicit method, which serves as the corrector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch

from .grid import Point
from .solver import Span, Weights

#: Enough for time ~ log sigma over a step that divides sigma by a hundred.
_NODES = 64

Coordinate = Callable[[float], float]


def integrals(
    places: Sequence[float], start: float, stop: float, coordinate: Coordinate
) -> Weights:
    """The integral over sigma from ``start`` to ``stop`` of each Lagrange polynomial."""
    middle, half = 0.5 * (start + stop), 0.5 * (stop - start)
    nodes, weights = gauss_legendre(_NODES)
    at = [coordinate(middle + half * node) for node in nodes]
    return tuple(
        half * math.fsum(w * _lagrange(places, j, u) for w, u in zip(weights, at))
        for j in range(len(places))
    )


def _lagrange(places: Sequence[float], j: int, u: float) -> float:
    return math.prod((u - other) / (places[j] - other) for k, other in enumerate(places) if k != j)


def in_sigma(span: Span) -> Weights:
    """The explicit method in sigma."""
    return explicit(span, float)


def corrected_in_sigma(span: Span) -> Weights:
    """The implicit method in sigma, less the explicit one."""
    return change(implicit(span, float), in_sigma(span))


def explicit(span: Span, coordinate: Coordinate) -> Weights:
    """The weights of the known outputs, newest first, interpolated in a coordinate of sigma."""
    places = _places(span.known, coordinate)
    return integrals(places, span.known[0].sigma, span.target.sigma, coordinate)


def implicit(span: Span, coordinate: Coordinate) -> Weights:
    """The weights of the new output and the known ones."""
    places = _places((span.target, *span.known), coordinate)
    return integrals(places, span.known[0].sigma, span.target.sigma, coordinate)


def _places(points: Sequence[Point], coordinate: Coordinate) -> list[float]:
    """Raises ValueError for points that the coordinate does not tell apart."""
    places = [coordinate(point.sigma) for point in points]
    if len(set(places)) < len(places):
        raise ValueError(
            f"sigmas: expected outputs at different times, got {tuple(places)}; the sigma_to_t of "
            "the schedule must not round, or take deis_rhoab, which interpolates in sigma."
        )
    return places


def change(corrected: Sequence[float], predicted: Sequence[float]) -> Weights:
    """Weights of the new and the known outputs in corrected less predicted."""
    new, *older = corrected
    return (new, *(after - before for after, before in zip(older, predicted)))


@cache
def gauss_legendre(count: int) -> tuple[list[float], list[float]]:
    """Nodes and weights on [-1, 1], by the eigenvalues of the Jacobi matrix (Golub, Welsch)."""
    k = torch.arange(1, count, dtype=torch.float64, device="cpu")
    beside = k / (4.0 * k * k - 1.0).sqrt()
    values, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return values.tolist(), (2.0 * vectors[0] ** 2).tolist()
