"""Every solver and its options in the WebUI: run, told, written, and made again."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule
from dc_solver.ratios.fingerprint import fingerprint
from dc_solver.solvers import SOLVERS, Langevin, Tolerance, VPSchedule, discrete_time, sample
from webui_adapter import FIVE, SIGMAS, adapter, again, asking, by_library, library, run

pytestmark = pytest.mark.usefixtures("webui")


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_runs_with_the_calls_it_claims(name: str) -> None:
    p, _ = asking(solver=name)
    denoiser, found = run(host.a1111_model(), p)
    assert torch.allclose(found, by_library(solver=name), atol=1e-6)
    each = SOLVERS[name].calls_per_step
    if each is not None:
        assert len(denoiser.seen) == 5 * each
    else:
        assert p.extra_generation_params["DC calls"] == str(len(denoiser.seen))
    known = (
        {"DC ratios": "none"} if name == "dc_solver" else {"DC ratios": "none", "DC solver": name}
    )
    assert {k: v for k, v in p.extra_generation_params.items() if k != "DC calls"} == known
    assert torch.equal(again(p), found)


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({"corrector": "off"}, {"DC corrector": "off"}),
        ({"solver": "ddim", "corrector": "on"}, {"DC solver": "ddim", "DC corrector": "on"}),
        ({"solver": "ipndm", "order": 3}, {"DC solver": "ipndm", "DC order": 3}),
        ({"langevin_steps": 2, "langevin_snr": 0.16},
         {"DC Langevin steps": 2, "DC Langevin strength": 0.16}),
        ({"solver": "dpm_12", "rtol": 0.0123456789},
         {"DC solver": "dpm_12", "DC rtol": 0.0123456789}),
        ({"solver": "dpm_23", "atol": 0.1}, {"DC solver": "dpm_23", "DC atol": 0.1}),
        ({"solver": "dpm_12", "max_calls": 9}, {"DC solver": "dpm_12", "DC max calls": 9}),
        ({"threshold": 0.6}, {"DC threshold": 0.6}),
    ],
)  # fmt: skip
def test_what_differs_is_written_and_makes_the_image_again(
    fields: dict[str, Any], written: dict[str, Any]
) -> None:
    p, _ = asking(**fields)
    _, found = run(host.a1111_model(), p)
    notes = {k: v for k, v in p.extra_generation_params.items() if k != "DC calls"}
    assert notes == {"DC ratios": "none", **written}
    solver = fields.get("solver", "dc_solver")
    _, plain = run(host.a1111_model(), asking(solver=solver)[0])
    assert not torch.equal(found, plain), "it does nothing"
    assert torch.equal(again(p), found)


def test_what_does_nothing_is_not_written() -> None:
    p, _ = asking(rtol=0.01, langevin_snr=0.3, solver="ddim", order=3, variant="bh1")
    run(host.a1111_model(), p)
    assert p.extra_generation_params == {"DC ratios": "none", "DC solver": "ddim"}


@pytest.mark.parametrize(
    ("fields", "why", "runs"),
    [
        ({"solver": "deis_rhoab", "order": 4}, "DEIS (rhoAB) has the orders up to 3",
         {"solver": "deis_rhoab", "order": 3}),
        ({"solver": "dpm_2", "corrector": "on"}, "DPM-Solver-2 takes no corrector",
         {"solver": "dpm_2"}),
        ({"solver": "dpm_12", "langevin_steps": 1}, "takes no Langevin steps",
         {"solver": "dpm_12"}),
    ],
)  # fmt: skip
def test_what_a_solver_cannot_do_is_told(fields: Any, why: str, runs: Any) -> None:
    p, _ = asking(**fields)
    denoiser = host.Denoiser(host.a1111_model().wrap, p)
    x = 14.6 * torch.randn(1, 8, generator=torch.Generator().manual_seed(1))
    found = adapter("sampler").sample_dc_solver(denoiser, x, SIGMAS, {"cond": 0, "cond_scale": 7.0})
    assert why in p.comments[0]
    schedule = VPSchedule(discrete_time(host.vp_table().tolist()))
    model = lambda x, s: x / (1 + s.view(-1, 1) ** 2)  # noqa: E731
    assert torch.allclose(found, sample(model, x, SIGMAS, schedule=schedule, **runs), atol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [*({"solver": "dpm_12", **own} for own in (
        {"rtol": None}, {"rtol": 0}, {"max_calls": 2}, {"atol": float("inf")})),
     {"threshold": 2}, {"threshold": None}, {"langevin_snr": 0, "langevin_steps": 1},
     {"langevin_snr": None, "langevin_steps": 1}, {"langevin_steps": -1}, {"solver": "euler"}],
)  # fmt: skip
def test_numbers_that_no_run_could_have_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        adapter("asked").asked_in("Automatic", **bad)


def test_fields_that_the_run_does_not_use_may_be_empty() -> None:
    empty = dict.fromkeys(("rtol", "atol", "max_calls", "langevin_snr"))
    asked = adapter("asked")
    assert asked.asked_in("Off", **empty) == asked.asked_in("Off")


def test_what_is_in_fields_is_kept_for_a_solver_that_comes_from_elsewhere() -> None:
    """From an axis of a plot, or from typed words for the second pass."""
    p, _ = asking(rtol=0.01, atol=0.002, max_calls=50, langevin_snr=0.3)
    adapter("asked").ask_on_axis(p, "solver", "dpm_12")
    found = adapter("asked").asked_of(p)
    assert (found.solver, found.rtol, found.atol, found.max_calls) == ("dpm_12", 0.01, 0.002, 50)
    assert found.langevin_snr == 0.3


@pytest.mark.parametrize(("choice", "off"), [("Off", True), ("Automatic", False)])
def test_off_stays_off_where_another_field_is_wrong(
    choice: str, off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    refresh = SimpleNamespace(create_refresh_button=print)
    monkeypatch.setitem(sys.modules, "modules.ui_common", refresh)
    monkeypatch.setattr(sys.modules["modules"], "scripts", None, raising=False)
    p = host.Processing()
    script = adapter("accordion").make(object)()
    script.process(p, choice, "", "many")
    assert adapter("asked").asked_of(p).off is off
    (comment,) = p.comments
    assert ("plain UniPC" if off else "the library is looked in") in comment


@pytest.mark.parametrize(
    "extra", [{"solver": "dpmpp_2s"}, {"solver": "dpm_12"}, {"langevin_steps": 1}]
)
def test_ratios_beside_what_takes_none_are_told(extra: dict[str, Any], tmp_path: Path) -> None:
    ratios.save(
        RatioSchedule(FIVE, sigmas=tuple(SIGMAS.tolist())), library(tmp_path) / "a.safetensors"
    )
    _, plain = run(host.a1111_model(), asking(**extra)[0])
    for choice in (
        {"choice": "As typed", "typed": "1 1 1.12 0.91 1.05"},
        {"choice": "a.safetensors"},
    ):
        p, _ = asking(**choice, **extra)
        _, found = run(host.a1111_model(), p)
        assert torch.equal(found, plain)
        assert any("plain" in text and "no ratios" in text for text in p.comments)
        assert p.extra_generation_params["DC ratios"] == "none"
    p, _ = asking(**extra)
    run(host.a1111_model(), p)
    assert not any("ratios" in text for text in p.comments), "nobody asked for any"


def test_a_files_ratios_bring_their_solver(tmp_path: Path) -> None:
    sigmas = tuple(SIGMAS.tolist())
    known = RatioSchedule(FIVE, sigmas=sigmas, solver="ddim", corrector=True)
    ratios.save(known, library(tmp_path) / "ddim.safetensors")
    for solver in ("dc_solver", "ddim", "ipndm"):
        p, _ = asking(choice="ddim.safetensors", solver=solver, order=3)
        _, found = run(host.a1111_model(), p)
        assert torch.allclose(found, by_library(ratios=known), atol=1e-6)
        told = [text for text in p.comments if "which runs in place of ipndm" in text]
        assert bool(told) == (solver == "ipndm")
        assert p.extra_generation_params["DC solver"] == "ddim"
        assert "DC order" not in p.extra_generation_params
        assert torch.equal(again(p), found)


def test_the_solvers_own_ratios_are_found_by_themselves(tmp_path: Path) -> None:
    """DDIM has one order, whatever the dropdown says."""
    known = Identity(fingerprint=fingerprint(dict(host.network().named_parameters())),
                     prediction="eps")  # fmt: skip
    found = RatioSchedule(
        FIVE, sigmas=tuple(SIGMAS.tolist()), cfg=7.0, identity=known, solver="ddim"
    )
    ratios.save(found, library(tmp_path) / "ddim.safetensors")
    for solver, expected in (
        ("ddim", "1 1 1.12 0.91 1.05"),
        ("dc_solver", "none"),
        ("dpm_2", "none"),
    ):
        p, _ = asking(solver=solver)
        _, result = run(host.a1111_model(), p)
        assert p.extra_generation_params["DC ratios"] == expected
        assert torch.equal(again(p), result)


def test_langevin_noise_is_the_images_own() -> None:
    """By its seed; that of the second image by the next."""

    def noisy(*seeds: int) -> torch.Tensor:
        p: Any = asking(langevin_steps=1)[0]
        p.seeds = list(seeds)
        return run(host.a1111_model(), p)[1]

    assert torch.equal(noisy(5, 6), noisy(5, 6)) and not torch.equal(noisy(5, 6), noisy(6, 7))
    assert torch.equal(noisy(5, 6), by_library(solver="unipc", langevin=Langevin(seed=5)))
    p: Any = asking(langevin_steps=1)[0]
    p.seed = 5
    assert torch.equal(run(host.a1111_model(), p)[1], noisy(5, 6))
    assert not p.comments


def test_the_bars_and_the_prompts_of_an_adaptive_run_follow_its_way() -> None:
    p, _ = asking(solver="dpm_12")
    denoiser: Any = host.Denoiser(host.a1111_model().wrap, p)
    told: list[int] = []
    at: list[int] = []
    denoiser.before = lambda call: at.append(denoiser.step)
    adapter("sampler").sample_dc_solver(
        denoiser, torch.ones(1, 8), SIGMAS, {"cond": 0, "cond_scale": 7.0},
        callback=lambda state: told.append(state["i"]),
    )  # fmt: skip
    assert told == [0, 1, 2, 3, 4], "the host's bar counts what it is told"
    assert len(at) > 5 and at[0] == 0 and at[-1] == 4 and set(at) >= {1, 2, 3}
    (comment,) = p.comments
    assert f"{len(at)} model calls" in comment and p.extra_generation_params["DC calls"] == str(
        len(at)
    )


def test_the_prompts_of_langevin_steps_keep_to_the_grid() -> None:
    p, _ = asking(langevin_steps=2)
    denoiser: Any = host.Denoiser(host.a1111_model().wrap, p)
    at: list[int] = []
    denoiser.before = lambda call: at.append(denoiser.step)
    told: list[int] = []
    adapter("sampler").sample_dc_solver(
        denoiser, torch.ones(1, 8), SIGMAS, {"cond": 0, "cond_scale": 7.0},
        callback=lambda state: told.append(state["i"]),
    )  # fmt: skip
    assert at == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4] and told == [0, 1, 2, 3, 4]


def test_calls_that_run_out_are_told() -> None:
    p, _ = asking(solver="dpm_23", max_calls=6)
    run(host.a1111_model(), p)
    assert any("the calls ran out" in text for text in p.comments)
    assert torch.equal(again(p), by_library(solver="dpm_23", tolerance=Tolerance(max_calls=6)))
