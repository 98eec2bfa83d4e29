"""What the WebUI adapter reads of the hosts' models: which one it is, what it predicts, its CFG."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule
from dc_solver.ratios.fingerprint import fingerprint
from dc_solver.solvers import FlowSchedule
from webui_adapter import FIVE, SIGMAS, adapter, by_library, library, run

pytestmark = pytest.mark.usefixtures("webui")


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
