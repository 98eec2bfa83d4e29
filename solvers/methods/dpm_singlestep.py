"""The singlestep solvers: DPM-Solver-1, -2, -3 on noise, DPM-Solver++(2S) and (3S) on data.

2206.00927, algorithms 1 and 2 and appendix; 2211.01095, algorithm 1 and appendix.  The points in
between stand at a half, or at a third and two thirds, of the step in half-logSNR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from ..exponential import phi
from ..grid import Point
from ..solver import Solver, Stage, Weights

PointAt = Callable[[float], Point]


def stages(
    order: int, here: Point, target: Point, point_at: PointAt, *, noise: bool
) -> list[Stage]:
    """The updates of one step of order 1, 2 or 3."""
    if order == 1:
        return [Stage(target, ())]
    if order == 2:
        middle = point_at(here.lam + 0.5 * (target.lam - here.lam))
        return [Stage(middle, ()), second_order(here, target, 0.5, noise=noise)]
    h = target.lam - here.lam
    s1, s2 = point_at(here.lam + h / 3), point_at(here.lam + 2 * h / 3)
    return [Stage(s1, ()), Stage(s2, _third_middle(here, s2, noise)), _third(here, target, noise)]


def second_order(here: Point, target: Point, r: float, *, noise: bool) -> Stage:
    """The second-order update with an output at ``r`` of the step, which -23 compares with."""
    scale, eta = _scale(here, target, noise)
    weight = -scale * math.expm1(eta) / (2.0 * r)
    return Stage(target, (-weight, weight))


def _third_middle(here: Point, s2: Point, noise: bool) -> Weights:
    """On the way to two thirds, with the output at one third: ``r2 / r1 = 2``."""
    scale, eta = _scale(here, s2, noise)
    weight = -2.0 * scale * phi(eta, 1)
    return (-weight, weight)


def _third(here: Point, target: Point, noise: bool) -> Stage:
    """With the output at two thirds; that at one third has done its part."""
    scale, eta = _scale(here, target, noise)
    weight = -1.5 * scale * phi(eta, 1)
    return Stage(target, (-weight, 0.0, weight))


def _scale(here: Point, target: Point, noise: bool) -> tuple[float, float]:
    h = target.lam - here.lam
    return (target.sigma, h) if noise else (target.signal, -h)


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
