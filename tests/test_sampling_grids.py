"""Odd grids in ``sample``: repeats, trailing zeros, rising ones, and those that turn."""

from __future__ import annotations

import math

import pytest
import torch
from dc_solver.solvers import SOLVERS, VPSchedule, sample
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.step import Settings
from problems import Gaussian, Mixture, schedule_of
from runs import FIXED, GRIDS, KINDS, even_grid, run, start


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_sigma_does_no_harm(kind: str, name: str) -> None:
    plain = even_grid(kind, -2.0, 2.0, 60)
    problem, x = Gaussian(kind), start(kind)
    exact = problem.exact(x, plain[0], plain[-1])
    error = float((run(kind, problem, x, plain, solver=name) - exact).abs().max())
    for place, times in ((0, 1), (30, 1), (30, 3), (59, 2), (60, 1), (60, 2), (60, 3)):
        repeated = [*plain[:place], *[plain[place]] * times, *plain[place:]]
        ratios = [1.0] * (len(repeated) - 2) + [1.01] if SOLVERS[name].compensates else None
        for given, allowed in ((None, 5e-4), (ratios, 1e-2)):
            result = run(kind, problem, x, repeated, solver=name, ratios=given)
            assert float((result - exact).abs().max()) < 2.0 * error + allowed, place


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "sigmas", [[5.0, 5.0], [5.0, 5.0, 5.0], [10.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0, 0.0]]
)
def test_a_grid_of_repeats_alone(sigmas: list[float], order: int) -> None:
    problem, x = Gaussian(), start("vp")
    result = run("vp", problem, x, sigmas, order=order)
    unique = list(dict.fromkeys(sigmas))
    expected = run("vp", problem, x, unique, order=order)
    torch.testing.assert_close(result, expected, rtol=0.0, atol=0.1)
    assert len(problem.called_at) == len(sigmas) - 1 + len(unique) - 1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("first", [[1.0, 1.0], [1.0, 1.0, 1.0], [1.0 + 1e-6, 1.0]])
def test_a_flow_grid_that_repeats_pure_noise(first: list[float], order: int) -> None:
    rest = [0.9, 0.7, 0.5, 0.3, 0.1]
    x = start("flow")
    result = run("flow", Gaussian("flow"), x, [*first, *rest], order=order)
    expected = run("flow", Gaussian("flow"), x, [1.0, *rest], order=order)
    torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_trailing_zeros_change_nothing_and_call_nothing(kind: str, name: str) -> None:
    model, x = Mixture(kind), start(kind)
    expected = run(kind, model, x, GRIDS[kind], solver=name)
    calls: list[float] = []

    def counted(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(float(sigma[0]))
        return model(x, sigma)

    result = run(kind, counted, x, [*GRIDS[kind], 0.0, 0.0], solver=name)
    assert torch.equal(result, expected)
    assert len(calls) == len(GRIDS[kind]) - 1 and calls[0] == GRIDS[kind][0]


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_rising_grids_invert_falling_ones(kind: str, name: str) -> None:
    down = even_grid(kind, -2.0, 2.0, 120)
    x = start(kind)
    low = run(kind, Gaussian(kind), x, down, solver=name)
    exact = Gaussian(kind).exact(low, down[-1], down[0])
    back = run(kind, Gaussian(kind), low, down[::-1], solver=name)
    limit = {1: 0.6, 2: 2e-2, 3: 2e-3}[SOLVERS[name].order or 2]
    assert float((back - exact).abs().max()) < limit
    assert float((back - x).abs().max()) < 2 * limit


@pytest.mark.parametrize("name", FIXED)
def test_a_flow_grid_rising_to_pure_noise_and_back(name: str) -> None:
    up = even_grid("flow", 2.0, -4.0, 100)
    x = start("flow")
    noise = run("flow", Gaussian("flow"), x, [*up, 1.0], solver=name)
    limit = 0.15 if SOLVERS[name].order == 1 else 2e-2
    assert float((noise - Gaussian("flow").exact(x, up[0], 1.0)).abs().max()) < limit
    back = run("flow", Gaussian("flow"), x, [*up, 1.0, *up[::-1]], solver=name)
    assert float((back - x).abs().max()) < 2 * limit


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_that_turns_stays_on_the_solution(kind: str, order: int) -> None:
    down = even_grid(kind, -1.0, 1.5, 60)
    sigmas = [*down, *down[::-1][1:20], *down[41:]]
    problem, x = Gaussian(kind), start(kind)
    exact = problem.exact(x, sigmas[0], sigmas[-1])
    for given in (None, [1.0 + 1e-3] * (len(sigmas) - 1)):
        result = run(kind, problem, x, sigmas, order=order, ratios=given, lower_order="final")
        assert float((result - exact).abs().max()) < (0.3 if order == 1 else 2e-2)


def test_a_turn_is_never_extrapolated_through() -> None:
    """After a turn the order starts again from one."""
    sigmas = [8.0, 4.0, 2.0, 1.0, 2.0, 4.0, 8.0, 4.0, 2.0]
    schedule = VPSchedule()
    plan = make_plan(make_grid(sigmas, schedule), schedule, Settings(order=3, lower_order=False))
    assert [step.order for step in plan] == [1, 2, 3, 1, 2, 3, 1, 2]


@pytest.mark.parametrize("kind", ["vp", "flow"])
@pytest.mark.parametrize("first", [1e-4, 1e-2])
def test_from_the_image_back_to_noise_is_stable(kind: str, first: float) -> None:
    """The first step falls far in half-logSNR; a corrector after it would multiply by exp(-h)."""
    problem = Mixture(kind)
    x = torch.tensor([[-1.1, -0.4, 0.3, 1.2]], dtype=torch.float64)
    sigmas = [first, 0.1, 0.25, 0.45, 0.65, 0.8]
    fine = torch.linspace(math.log(first), math.log(0.8), 4000, dtype=torch.float64).exp()
    truth = sample(problem, x, fine, schedule=schedule_of(kind), solver="ddim", disable=True)
    for order in (1, 2, 3):
        ours = sample(problem, x, sigmas, schedule=schedule_of(kind), solver="unipc", order=order)
        ddim = sample(problem, x, sigmas, schedule=schedule_of(kind), solver="ddim")
        assert (ours - truth).abs().max() < 1.5 * (ddim - truth).abs().max()
