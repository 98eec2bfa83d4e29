"""Langevin steps: they keep the right distribution, mend a wrong one, and are counted."""

from __future__ import annotations

import pytest
import torch
from dc_solver.solvers import SOLVERS, Langevin, RunReport, sample
from dc_solver.solvers.langevin import generators
from problems import Gaussian, schedule_of

FIXED = [entry.name for entry in SOLVERS.values() if entry.kind != "adaptive"]
GRIDS = {"vp": [12.0, 6.0, 3.1, 1.4, 0.6, 0.2], "flow": [0.97, 0.9, 0.78, 0.6, 0.4, 0.15]}


def marginal(kind: str, problem: Gaussian, sigma: float, count: int = 200_000) -> torch.Tensor:
    """Draws of the noisy data at a sigma."""
    generator = torch.Generator().manual_seed(5)
    a = 1.0 - sigma if kind == "flow" else 1.0
    spread = (a * a * problem.variance + sigma * sigma) ** 0.5
    return a * problem.mean + spread * torch.randn(1, count, generator=generator)


@pytest.mark.parametrize("kind", ["vp", "flow"])
@pytest.mark.parametrize("sigma", [0.2, 0.7])
def test_the_marginal_is_mended(kind: str, sigma: float) -> None:
    """A state of the wrong mean and spread goes over to the model's distribution at its sigma."""
    problem = Gaussian(kind, 0.7, 0.3)
    right = marginal(kind, problem, sigma)
    wrong = 0.6 * (right - right.mean()) + right.mean() + 0.3 * right.std()
    sigmas = [sigma, sigma]  # a step that changes nothing, and Langevin steps after it

    def run(x: torch.Tensor, steps: int) -> torch.Tensor:
        return sample(
            problem, x, sigmas, schedule=schedule_of(kind), solver="ddim", disable=True,
            langevin=Langevin(steps, snr=0.15, seed=1),
        )  # fmt: skip

    for x in (right, wrong):
        settled = run(x, 200)
        assert abs(float(settled.mean() - right.mean())) < 0.02 * float(right.std())
        # The step is finite: of order snr^2 too wide.
        assert abs(float(settled.std() / right.std()) - 1.0) < 0.05
    few = run(wrong, 5)
    assert abs(float(few.std() - right.std())) < abs(float(wrong.std() - right.std()))


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_seeded_counted_and_finite(kind: str, name: str) -> None:
    problem = Gaussian(kind)
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)) * GRIDS[kind][0]
    reports: list[RunReport] = []

    def run(langevin: Langevin | None, sigmas: list[float]) -> torch.Tensor:
        return sample(
            problem, x, sigmas, schedule=schedule_of(kind), solver=name, disable=True,
            langevin=langevin, report=reports.append,
        )  # fmt: skip

    state = torch.random.get_rng_state()
    to_zero = [*GRIDS[kind], 0.0]
    first, again = run(Langevin(2, seed=7), to_zero), run(Langevin(2, seed=7), to_zero)
    other = run(Langevin(2, seed=8), to_zero)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first.isfinite().all()
    # None at sigma 0; a singlestep solver's points in between are not corrected.
    completed = {1: 5, 2: 3, 3: 2}[SOLVERS[name].spans]
    assert reports[0].calls == 6 + 2 * completed
    assert torch.equal(run(Langevin(0), to_zero), run(None, to_zero))


def test_a_sample_of_a_batch_has_the_noise_that_it_has_alone() -> None:
    """Image k of a batch of a WebUI is that of the seed k further; its start is other noise."""
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(7)) * 12.0

    def run(x: torch.Tensor, seed: int) -> torch.Tensor:
        return sample(
            Gaussian(), x, GRIDS["vp"], schedule=schedule_of("vp"), disable=True,
            langevin=Langevin(2, seed=seed),
        )  # fmt: skip

    batch = run(x, 7)
    for k in range(3):
        torch.testing.assert_close(run(x[k : k + 1], 7 + k), batch[k : k + 1])
    for seed in (0, 7, 2**32 - 1, 2**63):
        drawn = torch.randn(64, generator=generators(seed, 1)[0])
        start = torch.randn(64, generator=torch.Generator().manual_seed(seed))
        assert abs(float(torch.corrcoef(torch.stack([drawn, start]))[0, 1])) < 0.5


def test_langevin_takes_the_place_of_unic() -> None:
    """Two corrections of one step would be one too many: with Langevin steps UniPC is UniP."""
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0)) * 12.0
    results = [
        sample(
            Gaussian(), x, GRIDS["vp"], schedule=schedule_of("vp"), solver=solver, disable=True,
            langevin=Langevin(1, seed=3),
        )
        for solver in ("unipc", "unip")
    ]  # fmt: skip
    assert torch.equal(*results)
