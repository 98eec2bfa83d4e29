"""The order of each step: its history, long steps, and the end of the grid."""

from __future__ import annotations

import math

import pytest
from dc_solver.solvers import FlowSchedule, VPSchedule
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.orders import LONGEST_STEP, step_order
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.step import Settings


@pytest.mark.parametrize(
    ("history", "target", "order", "expected"),
    [
        ([0.0], 1.0, 3, 1),
        ([0.0, -1.0], 1.0, 3, 2),
        ([0.0, -1.0, -2.0], 1.0, 3, 3),
        ([0.0, -1.0, -2.0], 1.0, 2, 2),
        ([0.0, -0.1], LONGEST_STEP * 0.1, 2, 2),
        ([0.0, -0.1], LONGEST_STEP * 0.1 + 1e-9, 2, 1),
        ([0.0, -0.5, -1.0], LONGEST_STEP * 0.75, 3, 3),
        ([0.0, -0.5, -1.0], LONGEST_STEP * 1.0 + 1e-9, 3, 1),
        ([0.0, 0.5, 1.0], -LONGEST_STEP * 0.75, 3, 3),
        ([0.0, -1.0], math.inf, 2, 1),
        ([-math.inf], 0.0, 2, 1),
    ],
)
def test_order_rule(history: list[float], target: float, order: int, expected: int) -> None:
    assert step_order(history, target, order=order, lower_long_steps=True) == expected


def test_without_the_rule_only_the_history_and_infinite_ends_limit_the_order() -> None:
    assert step_order([0.0, -0.1, -0.2], 50.0, order=3, lower_long_steps=False) == 3
    assert step_order([0.0, -0.1], 50.0, order=3, lower_long_steps=False) == 2
    assert step_order([0.0, -0.1], math.inf, order=3, lower_long_steps=False) == 1


def test_the_rule_looks_at_half_logsnr_alone() -> None:
    """The same half-logSNRs give the same orders in both families."""
    lambdas = [-3.0, -1.0, 0.0, 0.3, 0.4, 1.5, 1.9, 2.3, 6.0]
    orders = []
    for schedule in (VPSchedule(), FlowSchedule()):
        grid = make_grid([schedule.sigma_at(value) for value in lambdas], schedule)
        orders.append([step.order for step in make_plan(grid, schedule, Settings(order=3))])
    # By hand: a step drops an order while longer than twice the span of what it would use.
    assert orders[0] == orders[1] == [1, 2, 3, 3, 1, 3, 2, 1]


def test_lowering_at_the_end() -> None:
    sigmas = [8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.0, 0.0]
    grid = make_grid(sigmas, VPSchedule())
    for lower, expected in (
        (True, [1, 2, 3, 3, 2, 1, 0]),
        ("final", [1, 2, 3, 3, 2, 1, 0]),
        (False, [1, 2, 3, 3, 3, 1, 0]),
    ):
        plan = make_plan(grid, VPSchedule(), Settings(order=3, lower_order=lower))
        assert [step.order for step in plan] == expected
