"""Every solver has the order it claims: the slope of log error against log step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from convergence import SMOOTH, final_error, settings_for, slope
from dc_solver.solvers import SOLVERS
from dc_solver.solvers.step import Settings

#: All but the adaptive ones, which have tests of their own, with each order and variant.
CASES = [
    (entry.name, order, variant)
    for entry in SOLVERS.values()
    if entry.kind != "adaptive"
    for order in entry.orders
    for variant in (("bh1", "bh2") if entry.max_order == 4 and entry.parameterisation == "data"
                    else ("bh2",))
]  # fmt: skip
COMPENSATING = [case for case in CASES if SOLVERS[case[0]].compensates and case[2] == "bh2"]
KINDS = ("vp", "flow")


@pytest.mark.parametrize(("name", "order", "variant"), CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_order_of_convergence(kind: str, name: str, order: int, variant: str) -> None:
    """Predictors of order p have p, the corrector adds one."""
    settings = settings_for(name, order, variant)
    assert abs(slope(kind, settings) - (order + SOLVERS[name].corrector)) < 0.3


@pytest.mark.parametrize(
    ("name", "order", "variant"), [case for case in COMPENSATING if not SOLVERS[case[0]].corrector]
)
@pytest.mark.parametrize("kind", KINDS)
def test_unic_adds_an_order_to_any_predictor(
    kind: str, name: str, order: int, variant: str
) -> None:
    """Theorem 3.1 of UniPC, and the Adams-Moulton method of the solvers that are Adams'."""
    settings = replace(settings_for(name, order, variant), corrector=True)
    assert abs(slope(kind, settings) - (order + 1)) < 0.3


@pytest.mark.parametrize("order", [3, 4])
def test_ipndm_is_of_order_two_on_other_smooth_grids(order: int) -> None:
    """Its coefficients are those of even steps: what the registry says of it is not more."""
    measured = slope("vp", settings_for("ipndm", order, "bh2"), even_in=SMOOTH)
    assert abs(measured - 2.0) < 0.3


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize(("name", "order", "variant"), COMPENSATING)
def test_compensation_near_one_keeps_the_order(
    name: str, order: int, variant: str, dc_order: int, variable: str
) -> None:
    """Theorem of DC-Solver: rho = 1 + O(h^p) costs no order."""
    settings = replace(settings_for(name, order, variant), dc_order=dc_order, variable=variable)
    expected = order + SOLVERS[name].corrector
    for kind in KINDS:
        assert abs(slope(kind, settings, compensation=-1.0) - expected) < 0.3


def test_a_constant_ratio_lowers_the_order() -> None:
    """The theorem's condition matters: a ratio that stays away from 1 leaves first order."""
    settings = Settings(order=3, lower_order=False, dc_order=2)
    steps = (32, 64, 128)
    errors = [final_error("vp", settings, n, ratio=0.2) for n in steps]
    slopes = torch.tensor(errors).log().diff() / -math.log(2)
    assert math.isfinite(float(slopes.mean())) and float(slopes.mean()) < 2.0
