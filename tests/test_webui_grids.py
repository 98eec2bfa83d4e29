"""The grids of the WebUI: the papers' schedule types, and the host's own for flow models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver.solvers import SPACINGS, make_sigmas
from webui_adapter import adapter, load_script

pytestmark = pytest.mark.usefixtures("webui")


def test_the_papers_schedules_are_the_hosts_once(webui: dict[str, Any]) -> None:
    for _ in range(2):
        load_script()
        host.forget("sd_webui_dc_solver")
    known = webui["modules.sd_schedulers"]
    own = [one for one in known.schedulers if one.label.endswith("(DC-Solver)")]
    assert [one.name for one in own] == [f"dc_{spacing}" for spacing in SPACINGS]
    for one in own:
        assert known.schedulers_map[one.name] is known.schedulers_map[one.label] is one
        assert one.need_inner_model
    assert adapter("models").scheduler_name(own[0].label) == own[0].name


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    "model",
    [host.a1111_model(), host.forge_model("v_prediction"),
     host.forge_model("const", torch.linspace(0.001, 1, 1000))],
    ids=["eps", "v", "flow"],
)  # fmt: skip
def test_a_schedule_is_the_papers(webui: dict[str, Any], spacing: str, model: Any) -> None:
    schedules, models = adapter("schedules"), adapter("models")
    schedules.register()
    table = model.wrap.sigmas
    function = webui["modules.sd_schedulers"].schedulers_map[schedules.LABELS[spacing]].function
    found = function(n=6, sigma_min=0.1, sigma_max=10.0, inner_model=model.wrap, device="cpu")
    schedule = models.schedule_of(model.wrap)
    assert found.tolist() == pytest.approx(make_sigmas(spacing, 6, table.tolist(), schedule))
    assert (found[1:] < found[:-1]).all()
    assert models.grids_of(model.wrap)(f"dc_{spacing}", 6) == found.tolist()
    if models.prediction_of(model.wrap) == "flow":
        assert adapter("grids").sound_grid(found, table) is found


def test_the_grids_of_flow_models_stay_in_their_range() -> None:
    """Forge's uniform grid for Flux: indices in place of times, and two zeros at the end."""
    table = torch.linspace(0.0001, 1.0, 10_000)
    host.KDiffusionSampler.grids["host"] = lambda n: torch.cat(
        [torch.linspace(9999.0, 0.0, n), torch.zeros(1)]
    )
    sampler = adapter("sampler").DCSolverSampler(host.forge_model("const", table))
    grid = sampler.get_sigmas(host.Processing(), 5)
    assert grid.tolist() == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.0], abs=1e-3)
    assert sampler.grid == grid.tolist()
    good = torch.tensor([1.0, 0.9, 0.5, 0.0])
    host.KDiffusionSampler.grids["host"] = lambda n: good
    assert sampler.get_sigmas(host.Processing(), 3) is good
    eps = adapter("sampler").DCSolverSampler(host.forge_model())
    odd = torch.tensor([9999.0, 3.0, 0.0])
    host.KDiffusionSampler.grids["host"] = lambda n: odd
    assert eps.get_sigmas(host.Processing(), 2) is odd, "other models are the host's business"
