"""The ends of a run of ``sample``: sigma 0, the exact solution, pure noise, and few steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dc_solver.solvers import SOLVERS
from problems import Gaussian, Mixture, schedule_of
from runs import FIXED, GRIDS, KINDS, even_grid, run, start

# Ends


def remembering(kind: str) -> tuple[Callable[..., torch.Tensor], list[torch.Tensor]]:
    """A model, and the outputs that it has given so far."""
    outputs: list[torch.Tensor] = []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        outputs.append(Mixture(kind)(x, sigma))
        return outputs[-1]

    return model, outputs


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_sigma_zero_returns_the_last_output_to_the_bit(kind: str, name: str) -> None:
    model, outputs = remembering(kind)
    for lower_order in (True, "final", False):
        result = run(kind, model, start(kind), GRIDS[kind], solver=name, lower_order=lower_order)
        assert torch.equal(result, outputs[-1])


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("kind", KINDS)
def test_sigma_zero_returns_the_last_compensated_output(kind: str, variable: str) -> None:
    model, outputs = remembering(kind)
    rho = 1.7
    ratios = [1.0] * 5 + [rho]
    result = run(kind, model, start(kind), GRIDS[kind], ratios=ratios, variable=variable)
    schedule = schedule_of(kind)
    label = schedule.model_time if variable == "t" else schedule.half_logsnr
    c, b, a = (label(sigma) for sigma in GRIDS[kind][3:6])
    t = rho * a + (1 - rho) * b
    expected = (
        (t - b) * (t - c) / ((a - b) * (a - c)) * outputs[-1]
        + (t - a) * (t - c) / ((b - a) * (b - c)) * outputs[-2]
        + (t - a) * (t - b) / ((c - a) * (c - b)) * outputs[-3]
    )
    torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_many_steps_reach_the_exact_solution_above_zero(kind: str, name: str) -> None:
    sigmas = even_grid(kind, -2.0, 2.0, 200)
    problem, x = Gaussian(kind), start(kind)
    result = run(kind, problem, x, sigmas, solver=name)
    exact = problem.exact(x, sigmas[0], sigmas[-1])
    order = SOLVERS[name].order or 2
    limit = {1: 3e-2, 2: 3e-4, 3: 3e-5}[order] * (10.0 if kind == "vp" else 1.0)
    assert float((result - exact).abs().max()) < limit


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_flow_from_pure_noise_is_finite(
    order: int, variant: str, dc_order: int, variable: str
) -> None:
    x = start("flow")
    for lower_order, end in itertools.product((True, "final", False), (0.0, 0.1)):
        sigmas = [1.0, 0.9, 0.75, 0.6, 0.45, 0.3, end]
        result = run(
            "flow",
            Gaussian("flow"),
            x,
            sigmas,
            ratios=[1.2] * 6,
            order=order,
            variant=variant,
            dc_order=dc_order,
            variable=variable,
            lower_order=lower_order,
        )
        assert result.isfinite().all()
        assert float((result - Gaussian("flow").exact(x, 1.0, end)).abs().max()) < 1.0


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_flow_from_pure_noise_reaches_the_exact_solution(order: int, variant: str) -> None:
    sigmas = [1.0, *even_grid("flow", -6.0, 4.0, 150)]
    problem, x = Gaussian("flow"), start("flow")
    result = run("flow", problem, x, sigmas, solver="unipc", order=order, variant=variant)
    exact = problem.exact(x, 1.0, sigmas[-1])
    assert float((result - exact).abs().max()) < (3e-3 if order == 1 else 3e-4)


def test_a_flow_sigma_just_above_one_counts_as_one() -> None:
    sigmas = [1.0, 0.8, 0.5, 0.2, 0.0]
    x = start("flow")
    rounded = run("flow", Gaussian("flow"), x, [1.0 + 1e-7, *sigmas[1:]], order=3)
    torch.testing.assert_close(
        rounded, run("flow", Gaussian("flow"), x, sigmas, order=3), rtol=0.0, atol=1e-5
    )


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize(
    ("kind", "first"), [("flow", 1.0), ("flow", 1.0 - 1e-4), ("flow", 1.0 - 1e-6), ("vp", 4500.0)]
)
def test_a_small_signal_costs_no_digits(kind: str, first: float, name: str) -> None:
    """From next to no signal, in 32-bit floats, every solver is where it is in 64-bit ones."""
    sigmas = [first, *GRIDS[kind][1:]]
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)) * first
    exact = run(kind, Mixture(kind), x.double(), sigmas, solver=name)
    rounded = run(kind, Mixture(kind), x, sigmas, solver=name)
    # Of a state of 4500, digits are already gone; on noise a step of third order from 1 - 1e-6 is
    # itself that sensitive to the model's outputs.
    tolerance = 2e-4 if kind == "flow" and first != 1.0 - 1e-6 else 5e-3
    torch.testing.assert_close(rounded.double(), exact, rtol=0.0, atol=tolerance)


# Few steps


@pytest.mark.parametrize("sigmas", [[], [5.0], torch.tensor([5.0])])
def test_no_step_returns_a_copy_and_calls_nothing(sigmas: Any) -> None:
    model, x = Gaussian(), start("vp")
    result = run("vp", model, x, sigmas)
    assert torch.equal(result, x)
    assert result.data_ptr() != x.data_ptr()
    assert model.called_at == []


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_ddim(kind: str, name: str) -> None:
    high, low = GRIDS[kind][1], GRIDS[kind][3]
    x = start(kind)
    result = run(kind, Gaussian(kind), x, [high, low], solver=name)
    data = Gaussian(kind)(x, torch.full((3,), high, dtype=torch.float64))
    a, b = (1 - high, 1 - low) if kind == "flow" else (1.0, 1.0)
    expected = b * data + low * (x - a * data) / high
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(run(kind, Gaussian(kind), x, [high, 0.0], solver=name), data)


@pytest.mark.parametrize("name", FIXED)
def test_two_steps_to_zero(name: str) -> None:
    """The second step is first order by its limit: the output at the first step's state."""
    x = start("vp")
    model = Gaussian()
    middle = run("vp", model, x, [6.0, 2.0], solver=name)
    expected = model(middle, torch.full((3,), 2.0, dtype=torch.float64))
    result = run("vp", model, x, [6.0, 2.0, 0.0], solver=name)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
