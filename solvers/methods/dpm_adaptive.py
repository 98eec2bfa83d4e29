"""DPM-Solver-12 and -23 (2206.00927, appendix C): steps chosen by an embedded error estimate."""

from __future__ import annotations

from ..grid import Point
from ..solver import PointAt, Solver, Stage
from .dpm_singlestep import on_noise, second_order


def _first_order(here: Point, target: Point, at: PointAt) -> Stage:
    return Stage(target, ())


def _second_order(here: Point, target: Point, at: PointAt) -> Stage:
    """DPM-Solver-2 with the point at a third, where DPM-Solver-3 has its first output."""
    middle = at(here.lam + (target.lam - here.lam) / 3.0)
    return second_order(here, middle, target, 1.0 / 3.0, noise=True)


SOLVERS = (
    Solver(
        "dpm_12", "DPM-Solver-12", "2206.00927, appendix C", kind="adaptive", order=2, max_order=2,
        parameterisation="noise", calls_per_step=None, stages=on_noise, embedded=_first_order,
    ),
    Solver(
        "dpm_23", "DPM-Solver-23", "2206.00927, appendix C", kind="adaptive", order=3, max_order=3,
        parameterisation="noise", calls_per_step=None, stages=on_noise, embedded=_second_order,
    ),
)  # fmt: skip
