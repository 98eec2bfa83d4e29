"""Every solver has the order it claims: the slope of log error against log step."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from dc_solver.solvers import SOLVERS
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.loop import run_plan
from dc_solver.solvers.plan import Settings, make_plan
from problems import Gaussian, schedule_of

#: Several at once: the error of a single one may pass through zero and spoil the slope.
VARIANCES = (0.02, 0.05, 0.1, 0.3, 1.0, 4.0)
FIRST, LAST = -0.5, 1.5  # half-logSNR
STEPS = (32, 64, 128)


def exact(kind: str, x: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    """Row j is the solution for ``VARIANCES[j]``."""
    rows = [
        Gaussian(kind, 0.7, variance).exact(row, sigma, target)
        for variance, row in zip(VARIANCES, x)
    ]
    return torch.stack(rows)


def final_error(kind: str, settings: Settings, steps: int, compensation: float) -> float:
    """Root mean square error at the end, with exact outputs known before the start."""
    schedule = schedule_of(kind)
    d = (LAST - FIRST) / steps
    sigmas = [schedule.sigma_at(FIRST + k * d) for k in range(steps + 1)]
    earlier = [schedule.sigma_at(FIRST - k * d) for k in range(1, 5)]
    generator = torch.Generator().manual_seed(0)
    x = 0.3 + 2.0 * torch.randn(len(VARIANCES), 16, generator=generator, dtype=torch.float64)
    model = Gaussian(kind, 0.7)
    model.variance = torch.tensor(VARIANCES, dtype=x.dtype).view(-1, 1)  # type: ignore[assignment]
    history = [
        model(exact(kind, x, sigmas[0], s), torch.full((len(x),), s, dtype=torch.float64))
        for s in earlier
    ]
    ratios = [1.0 + compensation * d**settings.order] * steps
    plan = make_plan(make_grid(sigmas, schedule), schedule, settings, ratios, earlier)
    final = run_plan(plan, sigmas, model, x, outputs=history)
    return float((final - exact(kind, x, sigmas[0], sigmas[-1])).square().mean().sqrt())


def slope(kind: str, settings: Settings, compensation: float = 0.0) -> float:
    errors = [final_error(kind, settings, steps, compensation) for steps in STEPS]
    return -float(np.polyfit(np.log(STEPS), np.log(errors), 1)[0])


def every_solver() -> list[tuple[str, int, str]]:
    """(name, order, variant) of all that the registry holds."""
    cases = []
    for solver in SOLVERS.values():
        if solver.order is not None:
            cases.append((solver.name, solver.order, "bh2"))
        else:
            orders = range(1, solver.max_order + 1)
            cases += [(solver.name, p, variant) for p in orders for variant in ("bh1", "bh2")]
    return cases


def settings_for(name: str, order: int, variant: str) -> Settings:
    return Settings(
        order=order, variant=variant, corrector=SOLVERS[name].corrector, lower_order=False
    )


@pytest.mark.parametrize(("name", "order", "variant"), every_solver())
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_order_of_convergence(kind: str, name: str, order: int, variant: str) -> None:
    """Predictors of order p have p, the corrector adds one."""
    settings = settings_for(name, order, variant)
    assert abs(slope(kind, settings) - (order + SOLVERS[name].corrector)) < 0.3


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize(
    ("name", "order"),
    [
        (name, order)
        for name, order, variant in every_solver()
        if variant == "bh2" and SOLVERS[name].compensates
    ],
)
def test_compensation_near_one_keeps_the_order(
    name: str, order: int, dc_order: int, variable: str
) -> None:
    """Theorem of DC-Solver: rho = 1 + O(h^p) costs no order."""
    settings = replace(settings_for(name, order, "bh2"), dc_order=dc_order, variable=variable)
    expected = order + SOLVERS[name].corrector
    for kind in ("vp", "flow"):
        assert abs(slope(kind, settings, compensation=-1.0) - expected) < 0.3


def test_a_constant_ratio_lowers_the_order() -> None:
    """The theorem's condition matters: a ratio that stays away from 1 leaves first order."""
    settings = Settings(order=3, lower_order=False, dc_order=2)
    errors = []
    for steps in STEPS:
        d = (LAST - FIRST) / steps
        errors.append(final_error("vp", settings, steps, 0.2 / d**3))
    measured = -float(np.polyfit(np.log(STEPS), np.log(errors), 1)[0])
    assert measured < 2.0
    assert math.isfinite(measured)
