"""One conversion for what networks predict, and dynamic thresholding."""

from __future__ import annotations

import math

import pytest
import torch
from dc_solver.solvers import PREDICTIONS, FlowSchedule, VPSchedule, denoiser, sample
from dc_solver.solvers.grid import Point
from dc_solver.solvers.parameterisation import output_weights
from dc_solver.solvers.run import converted
from dc_solver.solvers.threshold import dynamic_threshold
from problems import Gaussian

SIGMAS = {"vp": (80.0, 14.6, 1.0, 0.03, 1e-4), "flow": (1.0, 0.9999, 0.5, 0.03, 1e-4)}


def noisy(kind: str, sigma: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x0, noise and their mixture in the hosts' scaling."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 3, 4, 5, 5, generator=generator, dtype=torch.float64)
    signal = 1.0 - sigma if kind == "flow" else 1.0
    return x0, noise, signal * x0 + sigma * noise


def predicted(prediction: str, x0: torch.Tensor, noise: torch.Tensor, sigma: float):
    """What a perfect network answers, by its definition."""
    alpha = 1.0 / math.sqrt(1.0 + sigma * sigma)
    return {
        "eps": noise, "x0": x0, "flow": noise - x0,
        "v": alpha * noise - alpha * sigma * x0,
    }[prediction]  # fmt: skip


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_every_prediction_gives_x0(kind: str, prediction: str) -> None:
    schedule = FlowSchedule() if kind == "flow" else VPSchedule()
    for sigma in SIGMAS[kind]:
        x0, noise, x = noisy(kind, sigma)
        seen = []

        def network(u: torch.Tensor, s: torch.Tensor, gain: float) -> torch.Tensor:
            seen.append((u, s))  # noqa: B023
            return predicted(prediction, x0, noise, sigma) * gain  # noqa: B023

        model = denoiser(network, prediction, schedule)
        batch = torch.full((3,), sigma, dtype=torch.float64)
        lost = (
            (prediction == "flow") != (kind == "flow") if prediction in ("v", "flow")
            else prediction == "eps" and sigma == 1.0 and kind == "flow"
        )  # fmt: skip
        if lost:
            with pytest.raises(ValueError, match=f"prediction: .* got '{prediction}'; eps and v"):
                model(x, batch, gain=1.0)
            continue
        # In single precision that would be 1e-5 at worst: eps at a flow's 0.9999.
        torch.testing.assert_close(model(x, batch, gain=1.0), x0, rtol=0.0, atol=1e-10)
        scale = 1.0 if kind == "flow" else 1.0 / math.sqrt(1.0 + sigma * sigma)
        torch.testing.assert_close(seen[0][0], x * scale, rtol=1e-12, atol=0.0)
        assert torch.equal(seen[0][1], batch)


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="prediction: expected one of eps, x0, v, flow, got 'z'"):
        denoiser(lambda x, sigma: x, "z", VPSchedule())


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_sampling_does_not_depend_on_what_the_network_predicts(prediction: str) -> None:
    data = Gaussian()
    schedule = VPSchedule(math.atan)

    def network(u: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        s = float(sigma[0])
        x = u * math.sqrt(1.0 + s * s)
        x0 = data(x, sigma)
        return predicted(prediction, x0, (x - x0) / s, s)

    x = 12.0 * torch.randn(2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = [12.0, 5.0, 2.0, 0.7, 0.0]
    expected = sample(data, x, sigmas, schedule=schedule, disable=True)
    got = sample(
        denoiser(network, prediction, schedule), x, sigmas, schedule=schedule, disable=True
    )
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_what_a_solver_integrates(kind: str) -> None:
    """Noise is noise; the derivative is that of the exact trajectory, by finite differences."""
    schedule = FlowSchedule() if kind == "flow" else VPSchedule()
    problem, sigma, d = Gaussian(kind), 0.4, 1e-5
    x0, noise, x = noisy(kind, sigma)
    here = Point.at(sigma, schedule)
    assert output_weights("data", here) is None
    torch.testing.assert_close(converted(output_weights("noise", here), x, x0), noise)
    denoised = problem(x, torch.full((3,), sigma, dtype=torch.float64))
    slope = problem.exact(x, sigma, sigma + d) - problem.exact(x, sigma, sigma - d)
    derivative = converted(output_weights("derivative", here), x, denoised)
    torch.testing.assert_close(derivative, slope / (2 * d), rtol=1e-6, atol=1e-6)


def test_thresholding_by_its_definition() -> None:
    """Against torch.quantile, sample by sample; what lies inside the range is left as it is."""
    x = torch.randn(3, 2, 7, 9, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([0.1, 1.0, 5.0]).view(3, 1, 1, 1)
    got = dynamic_threshold(x, 0.9)
    for sample_in, sample_out in zip(x, got):
        s = max(float(torch.quantile(sample_in.abs().flatten(), 0.9)), 1.0)
        torch.testing.assert_close(sample_out, sample_in.clamp(-s, s) / s)
    assert float(got.abs().max()) <= 1.0 + 1e-6
    assert torch.equal(got[0], x[0])


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_thresholding_hides_nothing_that_is_not_finite(value: float) -> None:
    """A few such pixels lie above the quantile, and would come out as the largest."""

    def broken(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        denoised = torch.zeros_like(x)
        denoised[0, 0] = value
        return denoised

    with pytest.raises(ValueError, match="model: expected finite outputs, got NaN or infinity in"):
        sample(broken, torch.randn(2, 64), [12.0, 2.0, 0.0], schedule=VPSchedule(), disable=True,
               threshold=0.9)  # fmt: skip


def test_thresholding_acts_on_every_output() -> None:
    """A model that burns out is held in range at every step, and so is the result."""

    def burning(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return 8.0 * Gaussian()(x, sigma)

    x = 12.0 * torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    sigmas = [12.0, 5.0, 2.0, 0.7, 0.0]
    for solver in ("dc_solver", "dpm_2m", "dpmpp_2s", "dpm_12"):
        shown: list[torch.Tensor] = []
        result = sample(
            burning, x, sigmas, schedule=VPSchedule(), solver=solver, threshold=0.995,
            disable=True, callback=lambda info, shown=shown: shown.append(info["denoised"]),
        )  # fmt: skip
        assert all(float(denoised.abs().max()) <= 1.0 + 1e-6 for denoised in shown)
        assert float(result.abs().max()) <= 1.0 + 1e-5
    free = sample(burning, x, sigmas, schedule=VPSchedule(), disable=True)
    assert float(free.abs().max()) > 3.0
