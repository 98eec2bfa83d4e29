"""The WebUI adapter against stand-ins of the host: what a real Forge cannot show of the others."""

from __future__ import annotations

import importlib
import importlib.util
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
from dc_solver.solvers import FlowSchedule, VPSchedule, discrete_time, sample
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
    denoiser = host.Denoiser(host.a1111_model().wrap, host.Processing())
    x = torch.full((1, 8), float("nan"))
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


# Grids


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
PASS = st.one_of(
    st.none(),
    st.tuples(
        st.lists(NUMBERS, min_size=3, max_size=12).filter(lambda v: set(v) != {1.0}),
        st.sampled_from([1, 2, 3]),
    ),
)


@given(PASS, st.none() | PASS)
def test_typed_ratios_come_back_from_what_is_written(first: Any, second: Any) -> None:
    """Of an image and of its hires pass, each with a K of its own; None is plain UniPC."""
    asked = adapter("asked")

    def words(one: Any) -> str:
        found = None if one is None else RatioSchedule(tuple(one[0]), dc_order=one[1])
        return str(asked.write_pass(found, 2))

    def expected(one: Any) -> Any:
        if one is None:
            return asked.Typed(())
        return asked.Typed(tuple(one[0]), None if one[1] == 2 else one[1])

    text = asked.write_passes("", words(first), hires=False)
    assert asked.parse_typed(text) == (expected(first),)
    text = asked.write_passes(text, words(second), hires=True)
    assert asked.parse_typed(text) == (expected(first), expected(second))
    alone = asked.write_passes("", words(second), hires=True)
    assert asked.parse_typed(alone) == (None, expected(second))


@pytest.mark.parametrize("text", ["1 1 x", "1 nan 2", "1 | 1 | 1", "inf", "1" * 400])
def test_bad_ratios_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="ratios: expected"):
        adapter("asked").parse_typed(text)


def test_the_infotext_pastes_back_as_the_same_settings() -> None:
    asked, infotext = adapter("asked"), adapter("infotext")
    wanted = asked.asked_in("As typed", "none", 3, 1, "bh1", "final", "no first corrector, lambda")
    p = host.Processing()
    used = RatioSchedule(FIVE, **wanted.settings)
    infotext.note_run(p, ratios_choice(used), wanted)
    notes = {key: str(value) for key, value in p.extra_generation_params.items()}
    keys = ("DC order", "DC K", "DC variant", "DC lower order", "DC more")
    back = asked.asked_in(
        infotext.pasted_choice(notes),
        infotext.pasted("DC ratios")(notes),
        *(infotext.pasted(key)(notes) for key in keys),
    )
    assert back.passes == (asked.Typed(FIVE),) and back.settings == wanted.settings
    # An image without the keys puts the defaults back; one of another sampler changes nothing.
    plain = {"DC ratios": "none"}
    assert infotext.pasted("DC order")(plain) == 2 and infotext.pasted("DC order")({}) is None
    assert infotext.pasted_choice({"Sampler": "Euler"}) is None


def ratios_choice(found: RatioSchedule) -> Any:
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


def load_script() -> Any:
    """As the host loads it: by path, under a name that is no module's."""
    path = ROOT / "scripts" / "dc_solver.py"
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


def test_the_packs_folder_does_not_stay_on_the_path(
    webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    adapter("registration").register_sampler()
    for callback in webui["modules.script_callbacks"].callbacks["before_ui"]:
        callback()
    assert str(ROOT) not in sys.path
