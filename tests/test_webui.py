"""The WebUI adapter against stand-ins of the host: what a real Forge cannot show of the others."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule
from dc_solver.ratios.fingerprint import fingerprint
from dc_solver.ratios.prior import prior
from dc_solver.solvers import (
    SOLVERS,
    SPACINGS,
    FlowSchedule,
    Langevin,
    LearnedSteps,
    Tolerance,
    VPSchedule,
    discrete_time,
    make_sigmas,
    sample,
)
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent
FIVE = (1.0, 1.0, 1.12, 0.91, 1.05)
SIGMAS = torch.tensor([14.6, 6.0, 3.0, 1.5, 0.6, 0.0])


@pytest.fixture(autouse=True)
def webui(tmp_path: Path) -> Iterator[dict[str, ModuleType]]:
    """The host's modules in place, and the adapter loaded against them alone."""
    stand_ins = host.modules(tmp_path)
    sys.modules.update(stand_ins)
    yield stand_ins
    for name in stand_ins:
        del sys.modules[name]
    host.forget("dc_solver.scripts")
    host.forget("sd_webui_dc_solver")


def adapter(name: str) -> Any:
    return importlib.import_module(f"dc_solver.scripts.webui.{name}")


def library(tmp_path: Path) -> Path:
    folder = tmp_path / "DC-Ratios"
    folder.mkdir(exist_ok=True)
    return folder


def run(model: Any, p: host.Processing, sigmas: torch.Tensor = SIGMAS, **arguments: Any) -> Any:
    """Sample as the host does; the denoiser and the result."""
    denoiser = host.Denoiser(model.wrap, p)
    given_args = {"cond": "prompt", "cond_scale": p.cfg_scale, **arguments}
    x = 14.6 * torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    return denoiser, adapter("sampler").sample_dc_solver(denoiser, x, sigmas, given_args)


def by_library(sigmas: torch.Tensor = SIGMAS, **options: Any) -> torch.Tensor:
    x = 14.6 * torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    schedule = VPSchedule(discrete_time(host.vp_table().tolist()))
    return sample(
        lambda x, s: x / (1 + s.view(-1, 1) ** 2), x, sigmas, schedule=schedule, **options
    )


# Sampling


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


@pytest.mark.parametrize("make", [host.a1111_model, host.forge_model])
def test_both_families_tell_one_model_by_the_same_fingerprint(make: Any, tmp_path: Path) -> None:
    """That of the bare network, as ComfyUI has it; so they share their files."""
    known = Identity(fingerprint=fingerprint(dict(host.network().named_parameters())),
                     prediction="eps")  # fmt: skip
    found = RatioSchedule(FIVE, sigmas=tuple(SIGMAS.tolist()), cfg=7.0, identity=known)
    ratios.save(found, library(tmp_path) / "five.safetensors")
    p = host.Processing()
    _, result = run(make(), p)
    assert torch.allclose(result, by_library(ratios=FIVE), atol=1e-6)
    assert p.extra_generation_params["DC file"] == "five.safetensors"


def test_loras_merged_by_a1111_do_not_change_the_model() -> None:
    model = host.a1111_model()
    clean = adapter("models").identity_of(model.wrap, host.Processing())
    layer = model.model.diffusion_model[0]
    layer.network_weights_backup = layer.weight.detach().clone()
    layer.network_current_names = (("style", 1.0, 1.0, None),)
    layer.weight.data.neg_()
    patched = adapter("models").identity_of(model.wrap, host.Processing())
    assert patched.fingerprint == clean.fingerprint
    assert clean.lora is None and patched.lora is not None


@pytest.mark.parametrize(
    ("model", "prediction"),
    [
        (host.a1111_model(), "eps"),
        (host.a1111_model("v"), "v"),
        (host.a1111_model(is_sd3=True), "flow"),
        (host.forge_model("v_prediction"), "v"),
        (host.forge_model("const", torch.linspace(0.001, 1, 1000)), "flow"),
        (host.forge_model("edm"), "edm"),
    ],
)
def test_prediction_and_schedule(model: Any, prediction: str) -> None:
    models = adapter("models")
    assert models.prediction_of(model.wrap) == prediction
    model.wrap.__dict__.get("predictor", SimpleNamespace()).timestep = lambda sigma: sigma.log() / 4
    schedule = models.schedule_of(model.wrap)
    assert isinstance(schedule, FlowSchedule) == (prediction == "flow")


def test_the_cfg_is_that_of_the_pass() -> None:
    cfg_of = adapter("models").cfg_of
    p = host.Processing(cfg_scale=7.0)
    denoiser = host.Denoiser(host.a1111_model().wrap, p)
    assert cfg_of(denoiser, {"cond_scale": 6.5}) == 6.5
    p.is_hr_pass = True
    assert cfg_of(denoiser, {"cond_scale": 6.5}) == 6.5, "A1111 has one CFG"
    p.hr_cfg = 2.0  # type: ignore[attr-defined]
    assert cfg_of(denoiser, {"cond_scale": 6.5}) == 2.0
    denoiser.image_cfg_scale = 1.5  # type: ignore[assignment]
    denoiser.inner_model.inner_model.cond_stage_key = "edit"
    assert cfg_of(denoiser, {"cond_scale": 6.5}) is None


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


@pytest.mark.parametrize("change", ["NGMS", "refiner", "skip"])
def test_what_acts_beside_cfg_needs_a_calibration_of_its_own(
    webui: dict[str, Any], tmp_path: Path, change: str
) -> None:
    known = Identity(fingerprint=fingerprint(dict(host.network().named_parameters())),
                     prediction="eps")  # fmt: skip
    found = RatioSchedule(FIVE, sigmas=tuple(SIGMAS.tolist()), cfg=7.0, identity=known)
    ratios.save(found, library(tmp_path) / "five.safetensors")
    p: Any = host.Processing()
    if change == "NGMS":
        p.s_min_uncond = 1.0
    elif change == "refiner":
        p.refiner_checkpoint, p.refiner_switch_at = "other", 0.8
    else:
        webui["modules.shared"].opts.skip_early_cond = 0.1
    run(host.a1111_model(), p)
    assert p.extra_generation_params["DC ratios"] == "none"


def test_each_pass_keeps_its_own_k(tmp_path: Path) -> None:
    """The library may know the image with one K and its hires pass with another."""
    known = Identity(fingerprint=fingerprint(dict(host.network().named_parameters())),
                     prediction="eps")  # fmt: skip
    sigmas = tuple(SIGMAS.tolist())
    hires = (1.0, 1.1, 0.9, 1.2, 1.05)
    for name, values, cfg, k in (("a", FIVE, 7.0, 2), ("b", hires, 3.0, 1)):
        found = RatioSchedule(values, sigmas=sigmas, cfg=cfg, identity=known, dc_order=k)
        ratios.save(found, library(tmp_path) / f"{name}.safetensors")
    p: Any = host.Processing()
    _, first = run(host.a1111_model(), p)
    p.is_hr_pass, p.hr_cfg = True, 3.0
    _, second = run(host.a1111_model(), p)
    assert p.extra_generation_params["DC ratios"] == "1 1 1.12 0.91 1.05 | 1 1.1 0.9 1.2 1.05 K1"
    assert p.extra_generation_params["DC file"] == "a.safetensors | b.safetensors"
    again: Any = host.Processing(cfg_scale=1.0)
    asked = adapter("asked")
    asked.ask(again, asked.asked_in("As typed", p.extra_generation_params["DC ratios"]))
    assert torch.equal(run(host.a1111_model(), again)[1], first)
    again.is_hr_pass = True
    assert torch.equal(run(host.a1111_model(), again)[1], second)


def test_a_choice_that_cannot_be_followed_is_told_under_the_image(tmp_path: Path) -> None:
    asked = adapter("asked")
    library(tmp_path)
    for choice, typed, why in (
        ("gone.safetensors", "", "not in this library"),
        ("As typed", "1 1 1.2", "the typed ratios are for 3 steps, this pass has 5"),
    ):
        p = host.Processing()
        asked.ask(p, asked.asked_in(choice, typed))
        run(host.a1111_model(), p)
        assert len(p.comments) == 1 and why in p.comments[0]
    p = host.Processing()
    run(host.a1111_model(), p)
    assert not p.comments, "what nobody chose needs no comment"


def test_a_chosen_cpr_serves_its_own_schedule_alone(tmp_path: Path) -> None:
    model, asked = host.forge_model(), adapter("asked")
    grid = adapter("models").grids_of(model.wrap)("simple", 5)
    cells = [
        RatioSchedule(FIVE, sigmas=tuple(grid), cfg=cfg, identity=Identity(scheduler="simple"))
        for cfg in (2.0, 8.0)
    ]
    ratios.save(ratios.fit_cpr(cells), library(tmp_path) / "fit.safetensors")
    for sigmas, active in ((torch.tensor(grid), True), (SIGMAS, False)):
        p = host.Processing()
        asked.ask(p, asked.asked_in("fit.safetensors"))
        run(model, p, sigmas)
        assert (p.extra_generation_params["DC ratios"] != "none") == active
        assert bool(p.comments) != active


def test_reforge_keeps_patched_weights_with_a_flag() -> None:
    """Its backups are named tuples; two LoRAs on the same weight are told apart."""
    clean, lora = host.forge_model(), torch.randn(16, 2)
    identities = []
    for up in (None, lora, -lora):
        model = host.forge_model()
        unet = model.forge_objects.unet
        del unet.lora_patches, unet.lora_loader
        unet.backup = {}
        unet.patches = {}
        if up is not None:
            weight = unet.model.diffusion_model[0].weight
            kept = SimpleNamespace(weight=weight.detach().clone(), inplace_update=False)
            unet.backup["diffusion_model.0.weight"] = kept
            weight.data.neg_()
            unet.patches["diffusion_model.0.weight"] = [(1.0, ("lora", (up,)), 1.0, None, None)]
        identities.append(adapter("models").identity_of(model.wrap, host.Processing()))
    expected = adapter("models").identity_of(clean.wrap, host.Processing()).fingerprint
    assert {identity.fingerprint for identity in identities} == {expected}
    assert len({identity.lora for identity in identities}) == 3 and identities[0].lora is None


# Other solvers


def asking(**fields: Any) -> tuple[Any, host.Processing]:
    """A processing object of which the accordion asks this."""
    p = host.Processing()
    fields = {"choice": "Automatic", **fields}
    adapter("asked").ask(p, adapter("asked").asked_in(**fields))
    return p, fields


def again(p: host.Processing, **changes: Any) -> torch.Tensor:
    """The image that the pasted infotext makes."""
    second: Any = host.Processing(**changes)
    adapter("asked").ask(second, pasted_back(p))
    return run(host.a1111_model(), second)[1]


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
    [{"rtol": None}, {"rtol": 0}, {"max_calls": 2}, {"threshold": 2}, {"langevin_snr": 0,
     "langevin_steps": 1}, {"langevin_steps": -1}, {"atol": float("inf")}, {"solver": "euler"}],
)  # fmt: skip
def test_numbers_that_no_run_could_have_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        adapter("asked").asked_in("Automatic", **bad)


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


# Grids


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


def test_a_host_without_schedule_types_has_the_sampler(
    webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1111 before 1.9."""
    monkeypatch.setitem(sys.modules, "modules.sd_schedulers", None)
    monkeypatch.delattr(webui["modules"], "sd_schedulers")
    load_script()
    assert "DC-Solver" in webui["modules.sd_samplers"].all_samplers_map
    assert any("schedule types" in text for text in webui["modules.errors"].reports)
    p = host.Processing()
    _, found = run(host.a1111_model(), p)
    assert torch.allclose(found, by_library(solver="unipc"), atol=1e-6)


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


# What a user asks


def test_typed_ratios_are_of_their_pass() -> None:
    asked = adapter("asked")
    model, p = host.a1111_model(), host.Processing()
    asked.ask(p, asked.asked_in("As typed", "1 1 1.12 0.91 1.05 | none"))
    _, found = run(model, p)
    assert torch.allclose(found, by_library(ratios=FIVE), atol=1e-6)
    p.is_hr_pass = True
    _, found = run(model, p)
    assert torch.allclose(found, by_library(solver="unipc"), atol=1e-6)
    assert p.extra_generation_params["DC ratios"] == "1 1 1.12 0.91 1.05 | none"


def test_a_file_that_is_no_ones_is_told_and_sampled_without(tmp_path: Path) -> None:
    asked = adapter("asked")
    secret = tmp_path / "secret.safetensors"
    ratios.save(RatioSchedule(FIVE), secret)
    for name in ("../secret.safetensors", str(secret), "gone.safetensors", ""):
        p = host.Processing()
        asked.ask(p, asked.asked_in(name))
        library(tmp_path)
        _, found = run(host.a1111_model(), p)
        assert torch.allclose(found, by_library(solver="unipc"), atol=1e-6)
        assert p.extra_generation_params["DC ratios"] == "none"


NUMBERS = st.floats(-9, 9).map(lambda v: float(f"{v:.6g}"))
RATIOS = st.none() | st.lists(NUMBERS, min_size=3, max_size=12).filter(lambda v: set(v) != {1.0})
SETTINGS = st.fixed_dictionaries({
    "solver": st.sampled_from([name for name, entry in SOLVERS.items() if entry.compensates]),
    "order": st.sampled_from([1, 2, 3]),
    "dc_order": st.sampled_from([1, 2, 3]),
    "variant": st.sampled_from(["bh1", "bh2"]),
    "lower_order": st.sampled_from([True, "final", False]),
    "first_corrector": st.booleans(),
    "variable": st.sampled_from(["t", "lambda"]),
    "corrector": st.sampled_from([None, True, False]),
})  # fmt: skip
PASS = st.tuples(RATIOS, SETTINGS)


def pasted_back(p: Any) -> Any:
    """What the accordion asks for after the infotext was pasted into it."""
    asked, infotext = adapter("asked"), adapter("infotext")
    notes = {key: str(value) for key, value in p.extra_generation_params.items()}
    fields = [infotext.pasted(key)(notes) for key in (infotext.RATIOS, *infotext.FIELDS.values())]
    return asked.asked_in(infotext.pasted_choice(notes), *fields)


@given(PASS, PASS)
def test_what_ran_comes_back_from_what_is_written(first: Any, second: Any) -> None:
    """Of an image and of its hires pass, each with settings of its own, as files have them."""
    asked, infotext = adapter("asked"), adapter("infotext")
    p: Any = host.Processing()
    ran = []
    for hires, (values, settings) in enumerate((first, second)):
        p.is_hr_pass = bool(hires)
        found = None if values is None else RatioSchedule(tuple(values), **settings)
        ran.append(found or RatioSchedule((), **settings))
        wanted = asked.Asked(**settings) if found is None else asked.Asked()
        infotext.note_run(p, ratios_choice(found), wanted)
    back = pasted_back(p)
    for hires, expected in enumerate(ran):
        wanted, typed = back.of_pass(bool(hires))
        again = RatioSchedule(typed, **wanted.settings)
        assert again.ratios == expected.ratios
        free = () if typed else ("dc_order", "variable")
        there, here = (ratios.settings_of(one) for one in (expected, again))
        assert {k: v for k, v in here.items() if k not in free} == {
            k: v for k, v in there.items() if k not in free
        }


def test_the_words_of_one_pass() -> None:
    typed = adapter("typed")
    old = typed.parse_typed("none | 1 1.1 0.9 K1")
    assert old == (typed.Typed(()), typed.Typed((1.0, 1.1, 0.9), (("dc_order", 1),)))
    (own,) = typed.parse_typed("none dpm_2")
    assert own == typed.Typed((), (("solver", "dpm_2"),))
    assert typed.parse_typed("- | 1 1") == (None, typed.Typed((1.0, 1.0)))
    named = typed.parse_typed("schedule my, file K1.safetensors | full  b ")
    assert named == (
        typed.Typed((), file="my, file K1.safetensors"), typed.Typed((), file="b"),
    )  # fmt: skip
    assert typed.write_passes("", "none", hires=True) == "- | none"


@pytest.mark.parametrize(
    "text", ["1 1 x", "1 nan 2", "1 | 1 | 1", "inf", "1" * 400, "ddim", "full", "best a"]
)
def test_bad_ratios_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ratios: expected"):
        adapter("typed").parse_typed(text)


def test_the_infotext_pastes_back_as_the_same_settings() -> None:
    asked, infotext = adapter("asked"), adapter("infotext")
    wanted = asked.asked_in("As typed", "none", 3, 1, "bh1", "final", "no first corrector, lambda",
                            "unip", "on", 0, 0.1, 0.05, 0.0078, 200, 0.995)  # fmt: skip
    p = host.Processing()
    used = RatioSchedule(FIVE, **wanted.settings)
    infotext.note_run(p, ratios_choice(used), wanted)
    assert p.extra_generation_params == {
        "DC ratios": "1 1 1.12 0.91 1.05", "DC order": 3, "DC K": 1, "DC variant": "bh1",
        "DC lower order": "final", "DC more": "no first corrector, lambda", "DC solver": "unip",
        "DC corrector": "on", "DC threshold": 0.995,
    }  # fmt: skip
    back = pasted_back(p)
    assert back.of_pass(False) == (replace(wanted, passes=back.passes), FIVE)
    # An image without the keys puts the defaults back; one of another sampler changes nothing.
    plain = {"DC ratios": "none"}
    assert infotext.pasted("DC order")(plain) == 2 and infotext.pasted("DC order")({}) is None
    assert infotext.pasted("DC rtol")(plain) == 0.05
    assert infotext.pasted_choice({"Sampler": "Euler"}) is None


def learned() -> RatioSchedule:
    host_grid = tuple(SIGMAS.tolist())
    own = (host_grid[0], *(1.1 * sigma for sigma in host_grid[1:-1]), 0.0)
    known = Identity(fingerprint=fingerprint(dict(host.network().named_parameters())),
                     prediction="eps")  # fmt: skip
    steps = LearnedSteps(own, tuple(0.98 * sigma for sigma in own[:-1]))
    return RatioSchedule(
        FIVE, sigmas=host_grid, cfg=7.0, identity=known, learned=steps, quality="full"
    )


def test_an_image_of_learned_steps_names_their_file_and_claims_no_numbers(tmp_path: Path) -> None:
    name = "a, learned: file v2.safetensors"
    found = learned()
    ratios.save(found, library(tmp_path) / name)
    p: Any = host.Processing()
    denoiser, first = run(host.a1111_model(), p)
    assert len(denoiser.seen) == 5
    assert torch.allclose(first, by_library(ratios=found), atol=1e-5)
    assert p.extra_generation_params == {"DC ratios": f"full {name}"}
    infotext = adapter("infotext")
    assert infotext.pasted_choice(p.extra_generation_params) == name
    assert pasted_back(p).file == name and torch.equal(again(p), first)
    # Hires fix after it runs a part, which learned steps do not serve.
    p.is_hr_pass = True
    _, second = run(host.a1111_model(), p, SIGMAS[2:])
    assert p.extra_generation_params["DC ratios"] == f"full {name} | none"
    assert infotext.pasted_choice(p.extra_generation_params) == "As typed"
    back = pasted_back(p)
    for hires, sigmas, expected in ((False, SIGMAS, first), (True, SIGMAS[2:], second)):
        other: Any = host.Processing(is_hr_pass=hires)
        adapter("asked").ask(other, back)
        assert torch.equal(run(host.a1111_model(), other, sigmas)[1], expected)


def test_without_their_file_learned_steps_are_told_to_be_missing(tmp_path: Path) -> None:
    path = ratios.save(learned(), library(tmp_path) / "mine.safetensors")
    p = host.Processing()
    run(host.a1111_model(), p)
    path.unlink()
    assert adapter("infotext").pasted_choice(p.extra_generation_params) == "As typed"
    second: Any = host.Processing()
    adapter("asked").ask(second, pasted_back(p))
    run(host.a1111_model(), second)
    assert second.extra_generation_params["DC ratios"] == "none"
    assert "mine.safetensors: not in this library" in second.comments[0]


def test_chosen_learned_steps_run_image_to_image_plain_and_say_so(tmp_path: Path) -> None:
    ratios.save(learned(), library(tmp_path) / "mine.safetensors")
    p, _ = asking(choice="mine.safetensors")
    _, found = run(host.a1111_model(), p, SIGMAS[2:])
    assert torch.allclose(found, by_library(SIGMAS[2:], solver="unipc"), atol=1e-5)
    assert "learned steps hold for whole runs" in p.comments[0]
    assert p.extra_generation_params["DC ratios"] == "none"


def test_every_field_of_the_accordion_is_pasted() -> None:
    names = list(inspect.signature(adapter("asked").asked_in).parameters)
    fields = ["choice", "typed", *adapter("infotext").FIELDS]
    assert names == [{"k": "dc_order"}.get(name, name) for name in fields]


def ratios_choice(found: RatioSchedule | None) -> Any:
    from dc_solver.ratios.lookup import Choice

    return Choice(found, None)


def test_a_second_batch_writes_its_own_notes() -> None:
    infotext, asked = adapter("infotext"), adapter("asked")
    p = host.Processing()
    odd = replace(RatioSchedule(FIVE), order=3)
    infotext.note_run(p, ratios_choice(odd), asked.Asked())
    assert p.extra_generation_params["DC order"] == 3
    infotext.note_run(p, ratios_choice(RatioSchedule(FIVE)), asked.Asked())
    assert p.extra_generation_params == {"DC ratios": "1 1 1.12 0.91 1.05"}


# The way in


def load_script(pack: Path = ROOT) -> Any:
    """As the host loads it: by path, under a name that is no module's."""
    path = pack / "scripts" / "dc_solver.py"
    spec = importlib.util.spec_from_file_location("dc_solver.py", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sampler_is_there_once_whatever_else_fails(
    webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradio there is no accordion and no tab; after Reload UI there is still one entry."""
    monkeypatch.setitem(sys.modules, "gradio", None)
    before = list(sys.path)
    for _ in range(2):
        script = load_script()
    samplers = webui["modules.sd_samplers"]
    assert [data.name for data in samplers.all_samplers] == ["DC-Solver"]
    assert samplers.all_samplers_map["DC-Solver"].options == {"scheduler": "simple"}
    assert script.DCSolverScript is None
    reports = webui["modules.errors"].reports
    assert any("accordion" in text for text in reports) and any("tab" in text for text in reports)
    assert sys.path == before
    names = {"nodes", "solvers", "ratios", "scripts", "web", "demo"}
    assert not names & {name for name, m in sys.modules.items()
                        if str(ROOT) in str(getattr(m, "__file__", ""))}  # fmt: skip


def test_a_second_copy_and_a_namesake_add_nothing(webui: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to(ROOT, target_is_directory=True)
    samplers, reports = webui["modules.sd_samplers"], webui["modules.errors"].reports
    load_script()
    reports.clear()
    assert not hasattr(load_script(tmp_path / "copy"), "DCSolverScript")
    assert [data.name for data in samplers.all_samplers] == ["DC-Solver"]
    assert reports == [f"DC-Solver: it is in {ROOT} too; remove one of the two"]
    theirs = replace(samplers.all_samplers_map["DC-Solver"], constructor=print)
    samplers.all_samplers[:] = [theirs]
    samplers.all_samplers_map["DC-Solver"] = theirs
    reports.clear()
    load_script()
    assert samplers.all_samplers == [theirs]
    assert "DC-Solver: another extension has a sampler DC-Solver; ours is not added" in reports


def test_the_axes_of_a_plot(webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    common: Any = ModuleType("modules.ui_common")
    common.create_refresh_button = print
    for name, module in (("gradio", ModuleType("gradio")), ("modules.ui_common", common)):
        monkeypatch.setitem(sys.modules, name, module)
    plot = SimpleNamespace(axis_options=[], AxisOption=lambda *a, **k: SimpleNamespace(
        label=a[0], apply=a[2], **k))  # fmt: skip
    script = SimpleNamespace(module=plot, script_class=SimpleNamespace(__module__="xyz_grid.py"))
    webui["modules.scripts"].scripts_data.append(script)
    axes = adapter("axes")
    for _ in range(2):
        axes._add()
    names = [option.label.removeprefix("[DC-Solver] ") for option in plot.axis_options]
    assert names == ["Ratios", "Solver", "Order", "K"]
    axis = plot.axis_options[1]
    assert axis.choices() == list(SOLVERS)
    with pytest.raises(RuntimeError, match="expected one of dc_solver"):
        axis.confirm(None, ["dpm_2", "euler"])
    p = host.Processing()
    axis.apply(p, "dpm_2", None)
    _, found = run(host.a1111_model(), p)
    assert torch.allclose(found, by_library(solver="dpm_2"), atol=1e-6)


def test_the_packs_folder_does_not_stay_on_the_path(
    webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    adapter("registration").register_sampler()
    for callback in webui["modules.script_callbacks"].callbacks["before_ui"]:
        callback()
    assert str(ROOT) not in sys.path
