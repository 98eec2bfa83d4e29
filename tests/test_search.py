"""The search for a ratio against dense scans."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from dc_solver.ratios import calibrate
from dc_solver.ratios.greedy import LOSSES
from dc_solver.ratios.search import BOUNDS, MOST_TRIES, VectorSearch, closed_form
from dc_solver.solvers import Schedule, sample
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.run import run_plan
from dc_solver.solvers.step import Settings
from problems import Gaussian, Mixture, schedule_of

Residual = Callable[[float], torch.Tensor]


def loss_of(residual: torch.Tensor) -> float:
    return float(residual.double().square().mean())


def scan(residual: Residual, count: int = 2001) -> tuple[float, float]:
    """The best ratio of an even scan of the bounds, and its loss."""
    ratios = np.linspace(*BOUNDS, count)
    losses = [loss_of(residual(float(ratio))) for ratio in ratios]
    return float(ratios[int(np.argmin(losses))]), min(losses)


def polynomial(degree: int, seed: int) -> Residual:
    coefficients = torch.from_numpy(np.random.default_rng(seed).normal(size=(degree + 1, 40)))

    def residual(ratio: float) -> torch.Tensor:
        return sum(c * (ratio - 1.0) ** k for k, c in enumerate(coefficients))  # type: ignore[return-value]

    return residual


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_closed_form_is_the_minimum_of_a_polynomial(degree: int, seed: int) -> None:
    residual = polynomial(degree, seed)
    calls: list[float] = []

    def counted(ratio: float) -> torch.Tensor:
        calls.append(ratio)
        return residual(ratio)

    ratio, search = closed_form(degree, counted)
    best, best_loss = scan(residual)
    assert BOUNDS[0] <= ratio <= BOUNDS[1]
    assert abs(ratio - best) < 5e-3
    assert loss_of(residual(ratio)) <= best_loss * (1 + 1e-9)
    assert len(calls) == degree + 2
    assert search.ratios[0] == 1.0
    assert search.losses[0] == pytest.approx(loss_of(residual(1.0)), rel=1e-12)


def test_closed_form_finds_an_exact_zero_and_a_minimum_at_the_bound() -> None:
    direction = torch.linspace(1.0, 2.0, 7, dtype=torch.float64)
    ratio, search = closed_form(2, lambda r: (r - 1.75) * direction)
    assert ratio == pytest.approx(1.75, abs=1e-7)
    assert min(search.losses) < 1e-12
    beyond, _ = closed_form(1, lambda r: (r - 9.0) * direction)
    assert beyond == BOUNDS[1]


def test_closed_form_keeps_one_where_the_ratio_does_nothing_or_breaks() -> None:
    ratio, _ = closed_form(2, lambda r: torch.full((5,), 0.3))
    assert ratio == 1.0
    ratio, _ = closed_form(2, lambda r: torch.zeros(5))
    assert ratio == 1.0
    ratio, _ = closed_form(2, lambda r: torch.full((5,), math.nan if r < 0.7 else 0.1))
    assert ratio == 1.0


def search_on(residual: Residual) -> VectorSearch:
    search = VectorSearch()
    while (ratio := search.propose()) is not None:
        assert len(search.ratios) < MOST_TRIES
        assert BOUNDS[0] <= ratio <= BOUNDS[1]
        search.add(ratio, residual(ratio))
    return search


SMOOTH: dict[str, Residual] = {
    "linear": lambda r: torch.tensor([r - 1.3, 0.2, 2 * r - 2.4], dtype=torch.float64),
    "quadratic": lambda r: torch.tensor([r * r - 1.7, 0.1 * r], dtype=torch.float64),
    "sine": lambda r: torch.tensor([math.sin(r) - 0.6, 0.3 * math.cos(r)], dtype=torch.float64),
    "decay": lambda r: torch.tensor([math.exp(-r) - 0.25, 0.02 * r], dtype=torch.float64),
    "already best": lambda r: torch.tensor([r - 1.0, 0.5], dtype=torch.float64),
    "below": lambda r: torch.tensor([math.tanh(r - 0.4), 0.1 + 0.05 * r], dtype=torch.float64),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_search_reaches_the_minimum_of_smooth_functions(name: str) -> None:
    residual = SMOOTH[name]
    search = search_on(residual)
    _, best_loss = scan(residual, 5001)
    assert search.ratios[0] == 1.0
    assert len(search.ratios) == len(search.losses) <= MOST_TRIES
    assert search.losses[search.best] <= 1.01 * best_loss + 1e-9
    for ratio, loss in zip(search.ratios, search.losses):
        assert loss == pytest.approx(loss_of(residual(ratio)), rel=1e-9, abs=1e-15)


def test_search_stops_at_once_where_nothing_is_to_be_gained() -> None:
    flat = search_on(lambda r: torch.full((4,), 0.5))
    assert len(flat.ratios) == 2
    assert flat.ratios[flat.best] == 1.0
    broken = search_on(lambda r: torch.full((4,), 0.5 if r == 1.0 else math.nan))
    assert broken.ratios[broken.best] == 1.0


def test_search_never_ends_worse_than_a_ratio_of_one() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        waves = torch.from_numpy(rng.normal(size=(6, 20)))

        def residual(r: float, waves: torch.Tensor = waves) -> torch.Tensor:
            return sum(w * math.cos(k * r + k) for k, w in enumerate(waves))  # type: ignore[return-value]

        search = search_on(residual)
        assert search.losses[search.best] <= search.losses[0]


# Against calibrate, on an exact problem


def states_after(
    model: Mixture,
    x: torch.Tensor,
    sigmas: list[float],
    schedule: Schedule,
    settings: Settings,
    ratios: list[float],
    step: int,
) -> torch.Tensor:
    """The corrected states after ``step`` of a whole run with these ratios."""
    seen: dict[int, torch.Tensor] = {}
    plan = make_plan(make_grid(sigmas, schedule), schedule, settings, ratios)
    final = run_plan(plan, model, x, callback=lambda i: seen.update({i["i"]: i["x"]}))
    return seen.get(step + 1, final)


@pytest.mark.parametrize(
    ("solver", "corrector"), [("dc_solver", True), ("dpmpp_2m", False)], ids=["uni", "2m"]
)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_each_calibrated_ratio_is_the_best_of_a_dense_scan(
    kind: str, loss: str, solver: str, corrector: bool
) -> None:
    """Greedy step by step: within 1% of the loss of the best of 51 ratios."""
    schedule, model = schedule_of(kind), Mixture(kind)
    lambdas = [-2.2, -1.2, -0.4, 0.3, 1.1, 2.0]
    sigmas = [schedule.sigma_at(value) for value in lambdas]
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(4, 12, generator=generator, dtype=torch.float64)
    x = x * (sigmas[0] if kind == "vp" else 1.0)
    x[0] *= 6.0  # one point far outside, whose distance outweighs all others
    found = calibrate(
        model, x, sigmas, schedule=schedule, solver=solver, loss=loss, reference_calls=200,
        held_back=1.0,
    )  # fmt: skip
    assert found.active
    fine = [
        schedule.sigma_at(a + (b - a) * k / 80)
        for a, b in itertools.pairwise(lambdas)
        for k in range(80)
    ] + [sigmas[-1]]
    truth: dict[int, torch.Tensor] = {}
    exact = sample(
        model,
        x,
        fine,
        schedule=schedule,
        solver="unipc",
        order=3,
        callback=lambda info: truth.update({info["i"]: info["x"]}),
        disable=True,
    )
    settings = Settings(order=2, corrector=corrector, dc_order=2)
    chosen: list[float] = []
    for step, ratio in enumerate(found.ratios):
        target = truth.get(80 * (step + 1), exact)

        def distances(r: float, step: int = step, target: torch.Tensor = target) -> torch.Tensor:
            ratios = [*chosen, r, *[1.0] * (4 - step)]
            state = states_after(model, x, sigmas, schedule, settings, ratios, step)
            return (state - target).square().mean(dim=1)

        plain = distances(1.0)
        weights = plain ** -{"relative": 1.0, "balanced": 0.5, "mean": 0.0}[loss]
        if step < 2:
            assert ratio == 1.0
        else:
            dense = [float((weights * distances(r)).mean()) for r in np.linspace(*BOUNDS, 51)]
            assert float((weights * distances(ratio)).mean()) <= 1.01 * min(dense)
        chosen.append(ratio)


def test_a_calibrated_step_costs_no_more_than_the_bound() -> None:
    sigmas = [9.0, 5.0, 2.6, 1.3, 0.6, 0.25, 0.0]
    generator = torch.Generator().manual_seed(0)
    x = 9.0 * torch.randn(4, 16, generator=generator, dtype=torch.float64)
    report = calibrate(Mixture(), x, sigmas, schedule=schedule_of("vp"), dc_order=2).report
    assert report is not None
    # One call at the start, one at each of the two steps that only wait, then the searched ones.
    assert 6 <= report.search_calls <= 1 + 2 + 3 * MOST_TRIES


def test_a_predictor_is_calibrated_without_a_single_extra_call() -> None:
    """Closed form: as many search calls as steps."""
    sigmas = [9.0, 5.0, 2.6, 1.3, 0.6, 0.25, 0.0]
    generator = torch.Generator().manual_seed(0)
    x = 9.0 * torch.randn(4, 16, generator=generator, dtype=torch.float64)
    for problem in (Mixture(), Gaussian()):
        for solver in ("ddim", "dpmpp_2m", "dpmpp_3m"):
            report = calibrate(problem, x, sigmas, schedule=schedule_of("vp"), solver=solver).report
            assert report is not None and report.search_calls == 6


def test_a_ratio_of_one_is_held_back_as_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no ratio gains enough to be taken, each acting one but the last is a tenth less."""
    for module in ("search", "greedy"):
        monkeypatch.setattr(f"dc_solver.ratios.{module}.SMALL_GAIN", 1.0)
    schedule, model = schedule_of("vp"), Mixture("vp")
    sigmas = [schedule.sigma_at(value) for value in (-2.2, -1.4, -0.6, 0.1, 0.8, 1.4, 2.0)]
    x = torch.randn(4, 12, generator=torch.Generator().manual_seed(3)) * sigmas[0]
    found = calibrate(model, x, sigmas, schedule=schedule, held_back=0.9)
    assert found.ratios[:5] == (1.0, 1.0, 0.9, 0.9, 0.9)
