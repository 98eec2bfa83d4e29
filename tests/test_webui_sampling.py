"""A pass of the WebUI: the calls, the prompts, interrupts, and what it runs without ratios."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import RatioSchedule
from dc_solver.ratios.prior import prior
from dc_solver.solvers import VPSchedule, discrete_time
from webui_adapter import SIGMAS, adapter, by_library, run

pytestmark = pytest.mark.usefixtures("webui")


@pytest.mark.parametrize("make", [host.a1111_model, host.forge_model])
def test_without_ratios_it_is_unipc_at_one_call_a_step(make: Any) -> None:
    p = host.Processing()
    denoiser, found = run(make(), p)
    assert torch.allclose(found, by_library(solver="unipc"), atol=1e-6)
    assert len(denoiser.seen) == 5
    assert p.extra_generation_params == {"DC ratios": "none"}


def test_a_model_that_nothing_is_known_of_takes_the_prior_and_says_so() -> None:
    p, model = host.Processing(cfg_scale=3.0), host.forge_model()
    sigmas = torch.tensor(adapter("models").grids_of(model.wrap)("simple", 5))
    _, found = run(model, p, sigmas)
    schedule = VPSchedule(discrete_time(host.vp_table().tolist()))
    settings = ratios.settings_of(RatioSchedule(()))
    expected = prior(sigmas.tolist(), 3.0, schedule, settings)
    assert expected is not None
    assert torch.allclose(found, by_library(sigmas, ratios=expected), atol=1e-6)
    last = f"{expected.ratios[-1]:g}"
    assert p.extra_generation_params == {
        "DC ratios": f"1 1 1 1 {last}", "DC file": "prior",
    }  # fmt: skip


def test_the_refiners_prompt_is_seen_from_its_step_on() -> None:
    """The host puts it into the same dictionary while it samples."""
    p = host.Processing()
    model = host.a1111_model()
    denoiser = host.Denoiser(model.wrap, p)
    arguments = {"cond": "base", "cond_scale": 7.0}

    def switch(call: int) -> None:
        if call == 2:
            arguments["cond"] = "refiner"

    denoiser.before = switch
    adapter("sampler").sample_dc_solver(denoiser, torch.ones(1, 8), SIGMAS, arguments)
    assert denoiser.seen == ["base", "base", "base", "refiner", "refiner"]


def test_an_interrupt_is_not_caught() -> None:
    denoiser = host.Denoiser(host.a1111_model().wrap, host.Processing())

    def stop(call: int) -> None:
        if call == 3:
            raise host.Interrupted

    denoiser.before = stop
    with pytest.raises(host.Interrupted):
        adapter("sampler").sample_dc_solver(
            denoiser, torch.ones(1, 8), SIGMAS, {"cond": "", "cond_scale": 7.0}
        )
    assert len(denoiser.seen) == 3


def test_a_damaged_model_is_named_with_its_step() -> None:
    class Damaged(host.Denoiser):
        def __call__(self, x: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
            return super().__call__(x, *rest, **more) * float("nan")

    denoiser = Damaged(host.a1111_model().wrap, host.Processing())
    x = torch.ones(1, 8)
    with pytest.raises(ValueError, match="NaN or infinity in step 1 of 5"):
        adapter("sampler").sample_dc_solver(denoiser, x, SIGMAS, {"cond": "", "cond_scale": 7.0})
