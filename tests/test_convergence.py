"""Every solver has the order it claims: the slope of log error against log step."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from convergence import SMOOTH, final_error, settings_for, slope
from dc_solver.solvers import SOLVERS, FlowSchedule, sample
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.step import Settings
from problems import Gaussian, schedule_of

#: All but the adaptive ones, which have tests of their own, with each order and variant.
CASES = [
    (entry.name, order, variant)
    for entry in SOLVERS.values()
    if entry.kind != "adaptive"
    for order in entry.orders
    for variant in (("bh1", "bh2") if entry.has_variants
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


#: Grids that begin at or next to a flow's pure noise, or pass through it.
STEEP = {
    "logsnr": [1.0, *(FlowSchedule().sigma_at(lam) for lam in (-4.5, -2.0, 0.5, 3.0, 5.5))],
    "next to noise": [1.0, 0.9999, 0.75, 0.5, 0.2, 0.0],
    "from beside it": [0.999, 0.75, 0.5, 0.2, 0.0],
    "linear_quadratic": [1.0, 0.995, 0.99, 0.985, 0.98, 0.975, 0.9, 0.75, 0.5, 0.25, 0.0],
    "up and down": [0.3, 0.5, 1.0, 0.4, 0.0],
}


@pytest.mark.parametrize("corrector", [None, True, False])
@pytest.mark.parametrize("grid", STEEP)
@pytest.mark.parametrize("name", [e.name for e in SOLVERS.values() if e.kind == "multistep"])
def test_no_multistep_solver_explodes_next_to_pure_noise(
    name: str, grid: str, corrector: bool | None
) -> None:
    """Where half-logSNR is infinitely far away: within a few times DDIM's distance."""
    problem, sigmas = Gaussian("flow", 0.7, 0.05), STEEP[grid]
    noise = torch.randn(4, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = sigmas[0] * noise + (1.0 - sigmas[0]) * 0.7

    def distance(solver: str, given: bool | None) -> float:
        result = sample(
            problem, x, sigmas, solver=solver, schedule=schedule_of("flow"), corrector=given,
            order=min(2, SOLVERS[solver].max_order), disable=True,
        )  # fmt: skip
        exact = problem.exact(x, sigmas[0], sigmas[-1])
        return float((result - exact).square().mean().sqrt())

    assert distance(name, corrector) < 3.0 * distance("ddim", None) + 1e-3


@pytest.mark.parametrize("name", ["deis_tab", "deis_rhoab", "ipndm"])
def test_a_long_step_after_pure_noise_lowers_the_order_of_adams_methods(name: str) -> None:
    """In half-logSNR every step is short beside the one from pure noise, so sigma decides."""
    settings = Settings(solver=name, order=2)

    def orders(sigmas: list[float]) -> list[int]:
        plan = make_plan(make_grid(sigmas, FlowSchedule()), FlowSchedule(), settings)
        return [step.order for step in plan]

    assert orders([1.0, 0.9999, 0.5, 0.3, 0.1, 0.0])[1] == 1
    assert orders([1.0, 0.9, 0.75, 0.5, 0.3, 0.0])[1] == 2
