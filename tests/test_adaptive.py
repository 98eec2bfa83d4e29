"""DPM-Solver-12 and -23: the error follows the tolerance, and every call is counted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dc_solver.solvers import SOLVERS, RunReport, Tolerance, sample
from problems import Gaussian, Mixture, schedule_of

ADAPTIVE = [entry.name for entry in SOLVERS.values() if entry.kind == "adaptive"]
KINDS = ("vp", "flow")
ENDS = {"vp": (14.6, 0.05), "flow": (0.98, 0.05)}


def start(kind: str) -> torch.Tensor:
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x * ENDS[kind][0]


def run(kind: str, name: str, model: Any, x: torch.Tensor, sigmas: Any, **options: Any):
    reports: list[RunReport] = []
    result = sample(
        model, x, sigmas, solver=name, schedule=schedule_of(kind), disable=True,
        report=reports.append, **options,
    )  # fmt: skip
    return result, reports[0]


def tight(tolerance: float, **more: Any) -> Tolerance:
    return Tolerance(atol=0.1 * tolerance, rtol=tolerance, max_calls=20_000, **more)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_error_follows_the_tolerance(name: str, kind: str) -> None:
    """A tenth of the tolerance: less than a third of the error, for 10^(1/order) times the calls.

    The local error of the lower order is held to the tolerance, so steps shrink as its root, and
    the higher order that is kept gains more than the tolerance asks for.
    """
    problem, x = Gaussian(kind, variance=0.05), start(kind)
    exact = problem.exact(x, *ENDS[kind])
    errors, calls = [], []
    for rtol in (3e-2, 3e-3, 3e-4, 3e-5):
        result, report = run(kind, name, problem, x, ENDS[kind], tolerance=tight(rtol))
        errors.append(float((result - exact).square().mean().sqrt()))
        calls.append(report.calls)
        assert not report.capped

    assert all(after < before / 3 for before, after in zip(errors, errors[1:]))
    growth = (calls[-1] / calls[-2]) / 10 ** (1 / (SOLVERS[name].order or 1))
    assert 0.7 < growth < 1.4
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_calls_and_steps_are_counted(name: str, kind: str) -> None:
    """A step that is tried again knows its first output already."""
    model = Gaussian(kind, variance=0.01)
    first_step = 2.0  # too long, so that some are rejected
    _, report = run(
        kind, name, model, start(kind), ENDS[kind], tolerance=tight(1e-2, first_step=first_step)
    )
    order = SOLVERS[name].order or 0
    assert report.rejected > 0 and report.accepted > 2
    assert report.calls == len(model.called_at)
    assert report.calls == order * report.accepted + (order - 1) * report.rejected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_to_sigma_zero_and_from_pure_noise(name: str, kind: str) -> None:
    """Both ends that are infinite in half-logSNR take a call of their own."""
    first = 1.0 if kind == "flow" else 14.6
    model, x = Gaussian(kind), start(kind) / ENDS[kind][0] * first
    order = SOLVERS[name].order or 0
    result, report = run(kind, name, model, x, [first, 0.5, 0.0], tolerance=tight(1e-3))
    own = 1 + (kind == "flow")
    assert report.calls == order * report.accepted + (order - 1) * report.rejected + own
    exact = model.exact(x, first, 0.0)
    assert float((result - exact).abs().max()) < 2e-2
    assert model.called_at[0] == first and 0.0 < model.called_at[-1] <= 0.031


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_papers_tolerance_takes_the_papers_number_of_calls(name: str) -> None:
    """2206.00927, table 6: on images some 30 to 60 calls; here an image of two modes."""
    model, x = Mixture("vp"), start("vp")
    _, report = run("vp", name, model, x, ENDS["vp"])
    assert 15 <= report.calls <= 80 and not report.capped


@pytest.mark.parametrize("cap", [4, 5, 7, 10, 23, 40])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_cap_on_calls_holds(name: str, kind: str, cap: int) -> None:
    first = 1.0 if kind == "flow" else 14.6
    model, x = Gaussian(kind), start(kind) / ENDS[kind][0] * first
    tolerance = Tolerance(atol=1e-7, rtol=1e-7, max_calls=cap)
    result, report = run(kind, name, model, x, [first, 0.0], tolerance=tolerance)
    assert report.capped and report.calls == len(model.called_at) <= cap
    assert result.isfinite().all()
    assert float((result - model.exact(x, first, 0.0)).abs().max()) < 5.0


@pytest.mark.parametrize("name", ADAPTIVE)
def test_progress_is_the_share_of_the_way(name: str) -> None:
    infos: list[dict[str, Any]] = []
    model, x = Gaussian(), start("vp")
    sigmas = [14.6 * (0.05 / 14.6) ** (k / 20) for k in range(21)]  # even in half-logSNR
    _, report = run("vp", name, model, x, sigmas, callback=infos.append, tolerance=tight(1e-2))
    assert len(infos) == report.calls
    assert [info["i"] for info in infos] == sorted(info["i"] for info in infos)
    assert infos[0]["i"] == 0 and infos[-1]["i"] >= 16
    for info in infos:  # never ahead of where the run is
        lam = -math.log(float(info["sigma"]))
        behind = 20 * (lam + math.log(14.6)) / math.log(14.6 / 0.05)
        assert info["i"] <= behind + 1e-6


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_wild_step_is_tried_again_and_a_broken_model_is_named(name: str) -> None:
    model, x = Gaussian(variance=0.01), start("vp")
    result, report = run("vp", name, model, x, ENDS["vp"], tolerance=tight(1e-3, first_step=500.0))
    assert report.rejected > 0
    assert float((result - model.exact(x, *ENDS["vp"])).abs().max()) < 1e-2

    def broken(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return model(x, sigma) if float(sigma[0]) > 2.0 else x * math.nan

    with pytest.raises(ValueError, match=r"NaN or infinity in step \d+ of 1 \(sigma [01]\."):
        run("vp", name, broken, x, ENDS["vp"])


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_caller_s_tensors_are_left_alone(name: str) -> None:
    x = start("vp").float()
    before = x.clone()
    result, _ = run("vp", name, Mixture(), x, [14.6, 1.0, 0.0])
    assert torch.equal(x, before) and result.dtype == torch.float32
    again, _ = run("vp", name, Mixture(), x, [14.6, 1.0, 0.0])
    assert torch.equal(result, again)
