"""The singlestep solvers: DPM-Solver-1, -2, -3 on noise, DPM-Solver++(2S) and (3S) on data.

2206.00927, algorithms 1 and 2 and appendix; 2211.01095, algorithm 1 and appendix.  The points in
between stand at a half, or at a third and two thirds, of the step in half-logSNR.

The updates take differences of outputs, ``o_k - o_0``.  Those of noise are written in x0: with the
state ``u_k`` made of the step's own outputs they are

    eps_k - eps_0 = (signal_k / sigma_k) (m_0 - m_k) + (what u_k has on top of DDIM) / sigma_k,

where the difference of two noises that agree in nearly all digits, as they do next to a flow's pure
noise, never appears.
"""

from __future__ import annotations

import math
from functools import partial

from ..exponential import phi
from ..grid import Point
from ..solver import PointAt, Solver, Stage


def stages(
    order: int, here: Point, target: Point, point_at: PointAt, *, noise: bool
) -> list[Stage]:
    """The updates of one step of order 1, 2 or 3."""
    if order == 1:
        return [Stage(target, ())]
    if order == 2:
        middle = point_at(here.lam + 0.5 * (target.lam - here.lam))
        return [Stage(middle, ()), second_order(here, middle, target, 0.5, noise=noise)]
    h = target.lam - here.lam
    s1, s2 = point_at(here.lam + h / 3), point_at(here.lam + 2 * h / 3)
    scale, eta = _scale(here, s2, noise)
    weight = -2.0 * scale * phi(eta, 1) * _per_data(s1, noise)
    return [Stage(s1, ()), *third_order(here, s2, target, weight, noise=noise)]


def second_order(here: Point, middle: Point, target: Point, r: float, *, noise: bool) -> Stage:
    """The second-order update with an output at ``middle``, at ``r`` of the step."""
    scale, eta = _scale(here, target, noise)
    weight = -scale * math.expm1(eta) / (2.0 * r) * _per_data(middle, noise)
    return Stage(target, (-weight, weight))


def third_order(
    here: Point, s2: Point, target: Point, middle: float, *, noise: bool
) -> tuple[Stage, Stage]:
    """To two thirds with the weight ``middle`` of the x0 at one third, and to the end with that at
    two thirds."""
    scale, eta = _scale(here, target, noise)
    weight = -1.5 * scale * phi(eta, 1)
    first = weight * middle / s2.sigma if noise else 0.0
    second = weight * _per_data(s2, noise)
    return Stage(s2, (-middle, middle)), Stage(target, (-first - second, first, second))


def _scale(here: Point, target: Point, noise: bool) -> tuple[float, float]:
    h = target.lam - here.lam
    return (target.sigma, h) if noise else (target.signal, -h)


def _per_data(point: Point, noise: bool) -> float:
    """How much the integrated output at a point changes with x0."""
    return -point.signal / point.sigma if noise else 1.0


on_noise, on_data = partial(stages, noise=True), partial(stages, noise=False)


def _solver(name: str, label: str, source: str, order: int, noise: bool) -> Solver:
    return Solver(
        name, label, source, kind="singlestep", order=order, max_order=order, spans=order,
        parameterisation="noise" if noise else "data", stages=on_noise if noise else on_data,
    )  # fmt: skip


SOLVERS = (
    _solver("dpm_1", "DPM-Solver-1", "2206.00927, equation 3.7", 1, True),
    _solver("dpm_2", "DPM-Solver-2", "2206.00927, algorithm 1", 2, True),
    _solver("dpm_3", "DPM-Solver-3", "2206.00927, algorithm 2", 3, True),
    _solver("dpmpp_2s", "DPM-Solver++(2S)", "2211.01095, algorithm 1", 2, False),
    _solver("dpmpp_3s", "DPM-Solver++(3S)", "2211.01095, third order", 3, False),
)
