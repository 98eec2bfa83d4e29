"""The papers' grids, against their formulas and diffusers' own timesteps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dc_solver.demo.emoji import eps_sigmas, flow_sigmas
from dc_solver.solvers import SPACINGS, FlowSchedule, VPSchedule, make_sigmas
from problems import Gaussian

TABLES = {"vp": eps_sigmas().tolist(), "flow": flow_sigmas().tolist()}
SCHEDULES = {"vp": VPSchedule(), "flow": FlowSchedule()}
KINDS = ("vp", "flow")


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_falling_from_the_largest_to_the_smallest_or_to_zero(kind: str, spacing: str) -> None:
    table = TABLES[kind]
    for steps in (1, 2, 5, 8, 50, 999):
        for to_zero in (True, False):
            sigmas = make_sigmas(spacing, steps, table, SCHEDULES[kind], to_zero=to_zero)
            assert len(sigmas) == steps + 1
            assert sigmas[0] == table[-1]
            zero = to_zero and spacing != "authors"
            assert sigmas[-1] == (0.0 if zero else table[0])
            assert all(after < here for here, after in zip(sigmas, sigmas[1:]))


@pytest.mark.parametrize("kind", KINDS)
def test_even_in_time(kind: str) -> None:
    """Of a table of 1000, ten steps to the smallest are 99.9 timesteps each."""
    table = TABLES[kind]
    sigmas = make_sigmas("time_uniform", 9, table, SCHEDULES[kind], to_zero=False)
    assert sigmas == pytest.approx([table[999 - 111 * k] for k in range(10)], rel=1e-12)
    between = make_sigmas("time_uniform", 10, table, SCHEDULES[kind], to_zero=False)[1]
    low, high = table[899], table[900]  # place 899.1
    assert between == pytest.approx(math.exp(0.9 * math.log(low) + 0.1 * math.log(high)))


def test_even_in_time_of_a_flow_follows_its_shift() -> None:
    t = np.linspace(1.0, 0.001, 6)
    expected = 3.0 * t / (1.0 + 2.0 * t)
    got = make_sigmas("time_uniform", 5, TABLES["flow"], FlowSchedule(), to_zero=False)
    assert got == pytest.approx(expected.tolist(), rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_even_in_half_logsnr(kind: str) -> None:
    sigmas = make_sigmas("logsnr", 8, TABLES[kind], SCHEDULES[kind], to_zero=False)
    lambdas = np.array([SCHEDULES[kind].half_logsnr(sigma) for sigma in sigmas[1:]])
    assert np.ptp(np.diff(lambdas)) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_quadratic_is_even_in_the_root_of_time(kind: str) -> None:
    table = TABLES[kind]
    sigmas = make_sigmas("time_quadratic", 7, table, SCHEDULES[kind], to_zero=False)
    places = np.interp(np.log(sigmas[::-1]), np.log(table), np.arange(1000))
    roots = np.sqrt((places + 1.0) / 1000.0)
    assert np.ptp(np.diff(roots)) < 1e-6 and roots[-1] == pytest.approx(1.0)


def test_the_authors_grid_is_that_of_their_scheduler() -> None:
    """Theirs is diffusers' UniPC on "linspace" with the last timestep for the last sigma."""
    diffusers = pytest.importorskip("diffusers", reason="needs diffusers, of requirements-dev.txt")
    scheduler = diffusers.UniPCMultistepScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        timestep_spacing="linspace", final_sigmas_type="sigma_min",
    )  # fmt: skip
    for steps in (1, 5, 6, 7, 8, 10, 20, 26, 30, 46, 50, 60):
        scheduler.set_timesteps(steps)
        got = make_sigmas("authors", steps, TABLES["vp"], VPSchedule())
        torch.testing.assert_close(torch.tensor(got), scheduler.sigmas.float(), rtol=1e-4, atol=0.0)


def test_what_cannot_be_made_is_refused() -> None:
    table = TABLES["vp"]
    for arguments, words in (
        (("even", 5, table), "spacing: expected one of time_uniform, .*authors, got 'even'"),
        (("logsnr", 0, table), "steps: expected 1 to 10000 on this schedule, got 0"),
        (("authors", 1000, table), "steps: expected 1 to 999 on this schedule, got 1000"),
        (("logsnr", 2.5, table), "steps: .* got 2.5"),
        (("logsnr", 5, table[::-1]), "positive sigmas in strictly ascending order"),
    ):
        with pytest.raises(ValueError, match=words):
            make_sigmas(*arguments, VPSchedule())


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_exact_solution_is_reached_on_each(kind: str, spacing: str) -> None:
    from dc_solver.solvers import sample

    sigmas = make_sigmas(spacing, 200, TABLES[kind], SCHEDULES[kind])
    problem = Gaussian(kind)
    x = sigmas[0] * torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    result = sample(problem, x, sigmas, schedule=SCHEDULES[kind], disable=True)
    exact = problem.exact(x, sigmas[0], sigmas[-1])
    assert float((result - exact).abs().max()) < 2e-2
