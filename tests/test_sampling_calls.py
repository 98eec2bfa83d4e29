"""What a run of ``sample`` calls and tells: the model at each step's sigma, and the callback."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from dc_solver.solvers import SOLVERS, Langevin, RunReport
from problems import Gaussian
from runs import FIXED, GRIDS, KINDS, MULTISTEP, even_grid, run, start, with_ratios


@pytest.mark.parametrize("end", [0.0, 0.05])
@pytest.mark.parametrize("name", MULTISTEP)
@pytest.mark.parametrize("kind", KINDS)
def test_one_call_a_step_at_its_sigma(kind: str, name: str, end: float) -> None:
    sigmas = [*GRIDS[kind][:-1], end]
    model = Gaussian(kind)
    run(kind, model, start(kind), sigmas, solver=name, ratios=with_ratios(name, 6))
    assert model.called_at == sigmas[:-1]


@pytest.mark.parametrize("ends", [(0.97, 0.0), (0.97, 0.05), (1.0, 0.0), (1.0, 0.05)])
@pytest.mark.parametrize("name", FIXED)
def test_a_grid_of_n_intervals_is_a_budget_of_n_calls(name: str, ends: tuple[float, float]) -> None:
    first, last = ends
    for steps, lower_order in itertools.product(range(1, 13), (True, "final", False)):
        sigmas = [first + (last - first) * k / steps for k in range(steps)] + [last]
        model, x = Gaussian("flow"), start("flow")
        reports: list[RunReport] = []
        infos: list[dict[str, Any]] = []
        result = run(
            "flow", model, x, sigmas, solver=name, lower_order=lower_order, report=reports.append,
            callback=infos.append,
        )  # fmt: skip
        assert result.isfinite().all()
        assert len(model.called_at) == steps * (SOLVERS[name].calls_per_step or 0)
        assert reports == [RunReport(steps)]
        assert [info["i"] for info in infos] == list(range(steps))
        assert [float(info["sigma"]) for info in infos] == model.called_at
        assert model.called_at == sorted(model.called_at, reverse=True)


def test_the_model_receives_one_sigma_a_sample_and_the_extra_arguments() -> None:
    seen: list[tuple[tuple[int, ...], torch.dtype, Any]] = []

    def model(x: torch.Tensor, sigma: torch.Tensor, *, cond: str) -> torch.Tensor:
        seen.append((tuple(sigma.shape), sigma.dtype, cond))
        assert torch.equal(sigma, sigma[:1].expand_as(sigma))
        return x * 0.5

    run("vp", model, start("vp", 4, 2, dtype=torch.float16), [5.0, 1.0], extra_args={"cond": "a"})
    assert seen == [((4,), torch.float32, "a")]


@pytest.mark.parametrize("name", MULTISTEP)
@pytest.mark.parametrize("kind", KINDS)
def test_callback_contents(kind: str, name: str) -> None:
    inputs, outputs, infos = [], [], []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        inputs.append(x.clone())
        outputs.append(Gaussian(kind)(x, sigma))
        return outputs[-1]

    x = start(kind)
    sigmas = even_grid(kind, -2.0, 2.0, 40)
    run(kind, model, x, sigmas, solver=name, callback=infos.append)
    assert [info["i"] for info in infos] == list(range(40))
    for info, sigma, output in zip(infos, sigmas, outputs):
        assert set(info) == {"x", "i", "sigma", "sigma_hat", "denoised"}
        assert float(info["sigma"]) == float(info["sigma_hat"]) == sigma
        assert torch.equal(info["denoised"], output)
    assert torch.equal(infos[0]["x"], x)
    for info, seen in zip(infos, inputs):
        if not SOLVERS[name].corrector:
            assert torch.equal(info["x"], seen)
    # The state shown is that after the corrector: no further from the solution than its input.
    if SOLVERS[name].corrector:
        exact = [Gaussian(kind).exact(x, sigmas[0], sigma) for sigma in sigmas]
        shown = max(float((info["x"] - e).abs().max()) for info, e in zip(infos, exact))
        predicted = max(float((seen - e).abs().max()) for seen, e in zip(inputs, exact))
        assert shown < predicted


def test_callback_after_sigma_zero_shows_the_result() -> None:
    infos: list[dict[str, Any]] = []
    result = run("vp", Gaussian(), start("vp"), [2.0, 0.0, 0.0], callback=infos.append)
    assert [info["i"] for info in infos] == [0, 1]
    assert torch.equal(infos[1]["denoised"], result)
    assert float(infos[1]["sigma"]) == 0.0


def test_callbacks_come_once_an_interval_of_an_adaptive_solver_once_a_call() -> None:
    def counted(sigmas: list[float], **how: Any) -> tuple[int, int]:
        model, infos = Gaussian(), list[dict[str, Any]]()
        run("vp", model, start("vp"), sigmas, callback=infos.append, **how)
        return len(model.called_at), len(infos)

    assert counted([12.0, 3.0, 0.6, 0.0]) == (3, 3)
    assert counted([12.0, 3.0, 0.6, 0.0, 0.0]) == (3, 4)
    assert counted([12.0, 3.0, 0.6, 0.0], langevin=Langevin(2)) == (7, 3)
    calls, infos = counted([12.0, 3.0, 0.6, 0.0], solver="dpm_12")
    assert calls == infos
