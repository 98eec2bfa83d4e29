"""The singlestep solvers against the papers' equations, in the papers' scaling."""

from __future__ import annotations

import math

import pytest
import torch
from dc_solver.solvers import FlowSchedule, VPSchedule, sample
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.singlestep import order_list
from dc_solver.solvers.step import Settings
from problems import Mixture, schedule_of


class Paper:
    """alpha, sigma and the two predictions of a model, in the papers' scaling at a lambda."""

    def __init__(self, kind: str) -> None:
        self.kind, self.model = kind, Mixture(kind)

    def alpha_sigma(self, lam: float) -> tuple[float, float]:
        if self.kind == "flow":
            return 1 / (1 + math.exp(-lam)), 1 / (1 + math.exp(lam))
        return 1 / math.sqrt(1 + math.exp(-2 * lam)), 1 / math.sqrt(1 + math.exp(2 * lam))

    def data(self, u: torch.Tensor, lam: float) -> torch.Tensor:
        alpha, sigma = self.alpha_sigma(lam)
        host, x = (sigma, u) if self.kind == "flow" else (math.exp(-lam), u / alpha)
        return self.model(x, torch.full((len(x),), host, dtype=x.dtype))

    def noise(self, u: torch.Tensor, lam: float) -> torch.Tensor:
        alpha, sigma = self.alpha_sigma(lam)
        return (u - alpha * self.data(u, lam)) / sigma


def dpm_2(p: Paper, x: torch.Tensor, s: float, t: float) -> torch.Tensor:
    """2206.00927, algorithm 1, r1 = 1/2."""
    h = t - s
    m = s + h / 2
    (a, _), (am, sm), (at, st) = (p.alpha_sigma(lam) for lam in (s, m, t))
    u = am / a * x - sm * (math.exp(h / 2) - 1) * p.noise(x, s)
    return at / a * x - st * (math.exp(h) - 1) * p.noise(u, m)


def dpm_3(p: Paper, x: torch.Tensor, s: float, t: float) -> torch.Tensor:
    """2206.00927, algorithm 2, r1 = 1/3, r2 = 2/3."""
    h, r1, r2 = t - s, 1 / 3, 2 / 3
    l1, l2 = s + r1 * h, s + r2 * h
    (a, _), (a1, s1), (a2, s2), (at, st) = (p.alpha_sigma(lam) for lam in (s, l1, l2, t))
    eps = p.noise(x, s)
    u1 = a1 / a * x - s1 * (math.exp(r1 * h) - 1) * eps
    d1 = p.noise(u1, l1) - eps
    u2 = (a2 / a * x - s2 * (math.exp(r2 * h) - 1) * eps
          - s2 * r2 / r1 * ((math.exp(r2 * h) - 1) / (r2 * h) - 1) * d1)  # fmt: skip
    d2 = p.noise(u2, l2) - eps
    return (at / a * x - st * (math.exp(h) - 1) * eps
            - st / r2 * ((math.exp(h) - 1) / h - 1) * d2)  # fmt: skip


def dpmpp_2s(p: Paper, x: torch.Tensor, s: float, t: float) -> torch.Tensor:
    """2211.01095, algorithm 1, r = 1/2."""
    h, r = t - s, 0.5
    m = s + r * h
    (_, ss), (am, sm), (at, st) = (p.alpha_sigma(lam) for lam in (s, m, t))
    data = p.data(x, s)
    u = sm / ss * x - am * (math.exp(-r * h) - 1) * data
    d = (1 - 1 / (2 * r)) * data + 1 / (2 * r) * p.data(u, m)
    return st / ss * x - at * (math.exp(-h) - 1) * d


def dpmpp_3s(p: Paper, x: torch.Tensor, s: float, t: float) -> torch.Tensor:
    """The third-order update of 2211.01095, r1 = 1/3, r2 = 2/3."""
    h, r1, r2 = t - s, 1 / 3, 2 / 3
    l1, l2 = s + r1 * h, s + r2 * h
    (_, ss), (a1, s1), (a2, s2), (at, st) = (p.alpha_sigma(lam) for lam in (s, l1, l2, t))
    data = p.data(x, s)
    u1 = s1 / ss * x - a1 * (math.exp(-r1 * h) - 1) * data
    d1 = p.data(u1, l1) - data
    u2 = (s2 / ss * x - a2 * (math.exp(-r2 * h) - 1) * data
          + a2 * r2 / r1 * ((math.exp(-r2 * h) - 1) / (r2 * h) + 1) * d1)  # fmt: skip
    d2 = p.data(u2, l2) - data
    return (st / ss * x - at * (math.exp(-h) - 1) * data
            + at / r2 * ((math.exp(-h) - 1) / h + 1) * d2)  # fmt: skip


PAPERS = {"dpm_2": (dpm_2, 2), "dpm_3": (dpm_3, 3), "dpmpp_2s": (dpmpp_2s, 2),
          "dpmpp_3s": (dpmpp_3s, 3)}  # fmt: skip


@pytest.mark.parametrize("kind", ["vp", "flow"])
@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_equations(name: str, kind: str) -> None:
    """Two full steps over a grid whose inner sigmas play no part."""
    step, order = PAPERS[name]
    paper, schedule = Paper(kind), schedule_of(kind)
    lambdas = [-1.5, -0.4, 1.7]
    sigmas = [schedule.sigma_at(lam) for lam in lambdas]
    grid = []
    for here, after in zip(sigmas, sigmas[1:]):  # not the solver's own points in between
        grid += [here + (after - here) * (k / order) ** 2 for k in range(order)]
    grid.append(sigmas[-1])
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    result = sample(
        Mixture(kind), x, grid, solver=name, schedule=schedule, lower_order=False, disable=True
    )
    scale = [1.0 if kind == "flow" else paper.alpha_sigma(lam)[0] for lam in lambdas]
    u = x * scale[0]
    for here, after in zip(lambdas, lambdas[1:]):
        u = step(paper, u, here, after)
    torch.testing.assert_close(result, u / scale[-1], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize(
    ("order", "calls", "orders"),
    [  # 2206.00927, appendix D.3, and the authors' code
        (3, 15, [3, 3, 3, 3, 2, 1]), (3, 16, [3] * 5 + [1]), (3, 17, [3] * 5 + [2]),
        (3, 3, [2, 1]), (3, 2, [2]), (3, 1, [1]), (2, 6, [2, 2, 2]), (2, 7, [2, 2, 2, 1]),
        (1, 3, [1, 1, 1]),
    ],
)  # fmt: skip
def test_the_papers_lists_of_orders(order: int, calls: int, orders: list[int]) -> None:
    assert order_list(calls, order, lower_last=True) == orders


def orders_of(kind: str, sigmas: list[float], solver: str, lower_order: bool) -> list[int]:
    schedule = FlowSchedule() if kind == "flow" else VPSchedule()
    settings = Settings(solver=solver, lower_order=lower_order)
    plan = make_plan(make_grid(sigmas, schedule), schedule, settings)
    return [step.order for step in plan if step.starts and step.calls_model]


def test_an_infinite_end_takes_a_step_of_order_one() -> None:
    """Between sigma 0, or pure noise of a flow, and any other there is no point in between."""
    vp = [9.0, 7.0, 5.0, 3.0, 2.0, 1.0]
    assert orders_of("vp", [*vp, 0.5, 0.2, 0.1], "dpm_3", True) == [3, 3, 2]
    assert orders_of("vp", [*vp, 0.5, 0.2, 0.0], "dpm_3", True) == [3, 3, 1, 1]
    assert orders_of("vp", [*vp, 0.0], "dpm_2", True) == [2, 2, 1, 1]
    assert orders_of("flow", [1.0, 0.9, 0.7, 0.5, 0.3, 0.1, 0.0], "dpm_3", False) == [1, 3, 1, 1]
    assert orders_of("flow", [1.0, 0.0], "dpm_3", True) == [1]


def test_a_grid_that_turns_is_followed() -> None:
    """No step reaches across the place where a grid turns or repeats."""
    assert orders_of("vp", [5.0, 3.0, 1.0, 2.0, 3.0, 1.0], "dpm_2", False) == [2, 2, 1]
    assert orders_of("vp", [5.0, 3.0, 1.0, 1.0, 0.5, 0.2], "dpm_3", True) == [2, 1, 2]
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    down = [2.0 * 0.95**k for k in range(31)]
    there_and_back = [*down, *down[::-1][1:]]
    for name in ("dpm_3", "dpmpp_3s"):
        result = sample(
            Mixture(), x, there_and_back, solver=name, schedule=VPSchedule(), disable=True
        )
        torch.testing.assert_close(result, x, rtol=0.0, atol=3e-3)
