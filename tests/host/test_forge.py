"""DC-Solver in a real Forge: every model call recorded, and held against the library's own run."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule
from dc_solver.ratios.prior import prior
from dc_solver.solvers import (
    SOLVERS,
    SPACINGS,
    Langevin,
    VPSchedule,
    discrete_time,
    make_sigmas,
    sample,
)
from forge_server import ForgeServer, Sampled
from PIL import Image

BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ALPHAS = np.cumprod(1 - BETAS)
TABLE = np.sqrt((1 - ALPHAS) / ALPHAS)
SCHEDULE = VPSchedule(discrete_time(TABLE.tolist()))
FIVE = (1.0, 1.0, 1.12, 0.91, 1.05)
SCHEDULES = ["Simple", "Karras", "Exponential", "SGM Uniform", "Normal", "DDIM", "Beta", "Uniform",
             "KL Optimal", "Align Your Steps", "Polyexponential", "Turbo"]  # fmt: skip


@pytest.fixture(autouse=True)
def empty(forge: ForgeServer) -> None:
    forge.library.mkdir(parents=True, exist_ok=True)
    for file in forge.library.iterdir():
        file.unlink()


def asking(choice: str, typed: str = "", order: int = 2, k: int = 2, variant: str = "bh2",
           lower: str = "automatic", more: str = "", **rest: Any) -> dict[str, Any]:  # fmt: skip
    others = {"solver": "dc_solver", "corrector": "automatic", "langevin_steps": 0,
              "langevin_snr": 0.1, "rtol": 0.05, "atol": 0.0078, "max_calls": 200,
              "threshold": 0.0, **rest}  # fmt: skip
    args = [choice, typed, order, k, variant, lower, more, *others.values()]
    return {"alwayson_scripts": {"DC-Solver": {"args": args}}}


def pasted(forge: ForgeServer, run: Sampled) -> Sampled:
    """The image of the same settings whose accordion was filled from an infotext."""
    # The host's API fails on fields of lists that are not given.
    return forge.txt2img(infotext=run.infotext, styles=[], hr_additional_modules=[])


def replayed(run: Sampled, sigmas: Sequence[float], first: int = 0, **options: Any) -> torch.Tensor:
    """The library's run with Forge's model outputs in place of a model.

    Each state that it asks the model about must be the one that Forge's model was asked about.
    """
    calls = iter(range(first, len(run.x)))

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        k = next(calls)
        assert float(sigma[0]) == pytest.approx(run.sigmas[k], rel=1e-5)
        assert (x - run.x[k]).abs().max() < 1e-4 * max(1.0, float(sigma[0]))
        return run.denoised[k]

    found = sample(model, run.x[first], sigmas, schedule=SCHEDULE, **options)
    assert next(calls, None) is None, "Forge made more model calls"
    return found


def check(run: Sampled, steps: int, **options: Any) -> None:
    """One model call a step, and the latents are the library's."""
    assert len(run.x) == steps
    latents = replayed(run, [*run.sigmas, run.grid[-1]], **options)
    assert run.latents is not None and torch.isfinite(run.latents).all()
    assert (latents - run.latents).abs().max() < 1e-4


def picture(run: Sampled) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(run.images[0]))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def encoded(value: int = 120, size: int = 64) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (value, 255 - value, 90)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_the_dropdown_has_it_once(forge: ForgeServer) -> None:
    names = [sampler["name"] for sampler in forge.get("/sdapi/v1/samplers")]
    assert names.count("DC-Solver") == 1
    titles = forge.get("/sdapi/v1/scripts")
    assert "dc-solver" in titles["txt2img"] and "dc-solver" in titles["img2img"]


@pytest.mark.parametrize("scheduler", SCHEDULES)
def test_txt2img_is_the_librarys_on_every_schedule(forge: ForgeServer, scheduler: str) -> None:
    run = forge.txt2img(scheduler=scheduler, steps=6)
    assert "Sampler: DC-Solver" in run.infotext and "DC ratios: none" in run.infotext
    check(run, len(run.x), solver="unipc")
    assert len(run.x) == 6 or scheduler == "DDIM"  # whose grid may have a step more


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_is_the_librarys_with_the_calls_it_claims(
    forge: ForgeServer, name: str
) -> None:
    run = forge.txt2img(steps=6, **asking("Automatic", solver=name))
    each = SOLVERS[name].calls_per_step
    if each is None:
        assert f"DC calls: {len(run.x)}" in run.infotext
    else:
        assert len(run.x) == 6 * each
    assert (f"DC solver: {name}" in run.infotext) == (name != "dc_solver")
    latents = replayed(run, run.grid, solver=name)
    assert run.latents is not None and torch.isfinite(run.latents).all()
    assert (latents - run.latents).abs().max() < 1e-4


def test_langevin_steps(forge: ForgeServer) -> None:
    run = forge.txt2img(**asking("Automatic", langevin_steps=2, solver="dpmpp_2m"))
    assert len(run.x) == 5 + 2 * 4
    langevin = Langevin(2, 0.1, 3)
    latents = replayed(run, run.grid, solver="dpmpp_2m", langevin=langevin)
    assert run.latents is not None and (latents - run.latents).abs().max() < 1e-4
    other = forge.txt2img(seed=4, **asking("Automatic", langevin_steps=2, solver="dpmpp_2m"))
    assert (picture(other) != picture(run)).any()


@pytest.mark.parametrize(
    "fields",
    [
        {"solver": "dpmpp_3s"},
        {"solver": "ipndm", "order": 4, "corrector": "on", "variant": "bh1"},
        {"langevin_steps": 1, "langevin_snr": 0.12},
        {"solver": "dpm_12", "rtol": 0.0234567, "max_calls": 50},
        {"threshold": 0.9},
    ],
    ids=str,
)
def test_other_settings_come_back_from_a_pasted_infotext(
    forge: ForgeServer, fields: dict[str, Any]
) -> None:
    run = forge.txt2img(**asking("Automatic", **fields))
    assert (picture(run) != picture(forge.txt2img())).any()
    again = pasted(forge, run)
    assert again.infotext == run.infotext
    assert (picture(again) == picture(run)).all()


def test_ratios_of_another_solver(forge: ForgeServer) -> None:
    """Found by themselves for it alone; chosen, they bring it; a solver that takes none says so."""
    ratios.save(calibration(forge, solver="ddim", order=1), forge.library / "ddim.safetensors")
    assert "DC ratios: none" in forge.txt2img().infotext
    for choice in (asking("Automatic", solver="ddim"), asking("ddim.safetensors")):
        run = forge.txt2img(**choice)
        check(run, 5, ratios=FIVE, solver="ddim")
        assert "DC solver: ddim, DC ratios: 1 1 1.12 0.91 1.05" in run.infotext
        assert (picture(pasted(forge, run)) == picture(run)).all()
    run = forge.txt2img(**asking("ddim.safetensors", solver="dpm_2"))
    latents = replayed(run, run.grid, solver="dpm_2")
    assert run.latents is not None and (latents - run.latents).abs().max() < 1e-4
    assert "DC ratios: none" in run.infotext


def test_the_schedules_of_the_papers(forge: ForgeServer) -> None:
    labels = [one["label"] for one in forge.get("/sdapi/v1/schedulers")]
    ours = [label for label in labels if label.endswith("(DC-Solver)")]
    assert len(ours) == len(set(ours)) == len(SPACINGS)
    for spacing, label in zip(SPACINGS, ours):
        expected = make_sigmas(spacing, 5, TABLE.tolist(), SCHEDULE)
        run = forge.txt2img(scheduler=label)
        assert run.grid == pytest.approx(expected, rel=1e-4)
        check(run, 5, solver="unipc")
        assert f"Schedule type: {label}" in run.infotext
        euler = forge.txt2img(scheduler=label, sampler_name="Euler")
        assert euler.sigmas == pytest.approx(expected[:-1], rel=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_step_counts(forge: ForgeServer, steps: int) -> None:
    check(forge.txt2img(steps=steps), steps, solver="unipc")


def test_automatic_is_simple(forge: ForgeServer) -> None:
    named, automatic = forge.txt2img(), forge.txt2img(scheduler="Automatic")
    assert automatic.sigmas == named.sigmas
    simple = [TABLE[-1 - int(k * 1000 / 5)] for k in range(5)]
    assert automatic.sigmas == pytest.approx(simple, rel=1e-5)


def test_typed_ratios_and_settings(forge: ForgeServer) -> None:
    run = forge.txt2img(**asking("As typed", "1, 1 1.12 0.91 1.05"))
    check(run, 5, ratios=FIVE)
    assert "DC ratios: 1 1 1.12 0.91 1.05" in run.infotext
    more = ("none", 3, 2, "bh1", "final", "no first corrector")
    run = forge.txt2img(steps=8, **asking("As typed", *more))
    options = {"order": 3, "variant": "bh1", "lower_order": "final", "first_corrector": False}
    check(run, 8, solver="unipc", **options)
    for words in ("DC order: 3", "DC variant: bh1", "DC lower order: final",
                  "DC more: no first corrector"):  # fmt: skip
        assert words in run.infotext


def test_the_image_is_made_again_from_its_infotext(forge: ForgeServer) -> None:
    ratios.save(calibration(forge), forge.library / "five.safetensors")
    run = forge.txt2img()
    assert "DC ratios: 1 1 1.12 0.91 1.05, DC file: five.safetensors" in run.infotext
    (forge.library / "five.safetensors").unlink()
    found = re.search(r"DC ratios: ([^,]+)", run.infotext)
    assert found
    again = forge.txt2img(**asking("As typed", found[1]))
    assert (picture(again) == picture(run)).all()
    assert (picture(forge.txt2img()) != picture(run)).any()


def calibration(forge: ForgeServer, **changes: Any) -> RatioSchedule:
    sigmas = tuple(forge.txt2img().grid)
    known = Identity(fingerprint=fingerprint(forge), prediction="eps", scheduler="simple")
    return replace(RatioSchedule(FIVE, sigmas=sigmas, cfg=7.0, identity=known), **changes)


def fingerprint(forge: ForgeServer) -> str | None:
    """Of the checkpoint's file, by the names that it has there."""
    from dc_solver.ratios.fingerprint import fingerprint as of_weights
    from safetensors.torch import load_file

    prefix = "model.diffusion_model."
    weights = load_file(forge.checkpoint)
    return of_weights({k.removeprefix(prefix): w for k, w in weights.items() if prefix in k})


def test_ratios_are_found_by_themselves(forge: ForgeServer) -> None:
    ratios.save(calibration(forge), forge.library / "five.safetensors")
    (forge.library / "broken.safetensors").write_bytes(b"\x00" * 40)
    run = forge.txt2img()
    check(run, 5, ratios=FIVE)
    assert "DC file: five.safetensors" in run.infotext
    other = forge.txt2img(cfg_scale=3.0)
    guess = prior(other.grid, 3.0, SCHEDULE, ratios.settings_of(ratios.RatioSchedule(())))
    assert guess is not None and "DC file: prior" in other.infotext
    check(other, 5, ratios=guess)
    assert "DC ratios: none" in forge.txt2img(**asking("Off"), cfg_scale=3.0).infotext
    chosen = forge.txt2img(cfg_scale=3.0, **asking("five.safetensors"))
    check(chosen, 5, ratios=FIVE)
    missing = forge.txt2img(**asking("../../secret.safetensors"))
    assert "DC ratios: none" in missing.infotext


def test_a_cpr_serves_any_cfg_and_the_tail_of_img2img(forge: ForgeServer) -> None:
    cells = [
        calibration(
            forge, ratios=tuple(1.0 if k < 2 else 1 + c * 0.01 * k for k in range(5)), cfg=c
        )
        for c in (4.0, 8.0)
    ]
    fitted = ratios.fit_cpr(cells)
    ratios.save(fitted, forge.library / "fit.safetensors")
    expected = fitted.predict(5, 6.0)
    check(forge.txt2img(cfg_scale=6.0), 5, ratios=expected)
    chosen = forge.txt2img(cfg_scale=6.0, **asking("fit.safetensors"))
    check(chosen, 5, ratios=expected)
    image = {"init_images": [encoded()], "denoising_strength": 0.75, "cfg_scale": 6.0}
    tail = forge.img2img(**image, **asking("fit.safetensors"))
    start = 5 - len(tail.x)
    assert 0 < start < 3
    kept = tuple(1.0 if k < 2 else expected.ratios[start + k] for k in range(len(tail.x)))
    check(tail, len(tail.x), ratios=kept)


@pytest.mark.parametrize("strength", [0.3, 0.6, 1.0])
def test_img2img(forge: ForgeServer, strength: float) -> None:
    run = forge.img2img(init_images=[encoded()], denoising_strength=strength, steps=10)
    check(run, len(run.x), solver="unipc")
    assert len(run.x) == min(int(strength * 10) + 1, 10)


def test_inpainting_keeps_what_is_outside_the_mask(forge: ForgeServer) -> None:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    run = forge.img2img(
        init_images=[encoded()], mask=base64.b64encode(buffer.getvalue()).decode(), mask_blur=0,
        denoising_strength=1.0, inpainting_fill=1, steps=5,
    )  # fmt: skip
    check(run, 5, solver="unipc")
    seen = picture(run)
    assert (seen[:8] == [120, 135, 90]).all() and (seen[24:40, 24:40] != [120, 135, 90]).any()


def test_hires_fix_has_its_own_cfg_and_ratios(forge: ForgeServer) -> None:
    hires = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7,
             "hr_cfg": 3.0, "hr_additional_modules": [], "hr_second_pass_steps": 5}  # fmt: skip
    plain = forge.txt2img(**hires)
    second = len(plain.x) - 5
    assert 0 < second <= 5 and plain.x[5].shape[-1] == 16
    assert "DC ratios: none | none" in plain.infotext
    replayed(plain, [*plain.sigmas[5:], 0.0], first=5, solver="unipc")

    # The second pass runs the end of a longer schedule.
    whole = len(plain.grid) - 1
    known = tuple(1.0 if k < 2 else 1 + 0.03 * k for k in range(whole))
    found = calibration(forge, ratios=known, sigmas=tuple(plain.grid), cfg=3.0)
    ratios.save(found, forge.library / "three.safetensors")
    run = forge.txt2img(**hires)
    tail = [1.0 if k < 2 else known[whole - second + k] for k in range(second)]
    expected = "none | " + " ".join(f"{value:g}" for value in tail)
    assert f"DC ratios: {expected}" in run.infotext
    replayed(run, [*run.sigmas[5:], 0.0], first=5, ratios=tail)
    again = forge.txt2img(**hires, **asking("As typed", expected))
    assert (picture(again) == picture(run)).all()


def test_a_batch_is_its_images(forge: ForgeServer) -> None:
    both = forge.txt2img(batch_size=2)
    check(both, 5, solver="unipc")
    alone = forge.txt2img(seed=4)
    assert both.latents is not None and alone.latents is not None
    assert (both.latents[1] - alone.latents[0]).abs().max() < 1e-3


def test_bad_input_is_told_and_samples(forge: ForgeServer) -> None:
    run = forge.txt2img(**asking("As typed", "1 1 x"))
    check(run, 5, solver="unipc")
    assert "expected numbers such as" in forge.log.read_text()
    wrong = forge.txt2img(**asking("As typed", "1 1 1.2"))
    check(wrong, 5, solver="unipc")


def test_xyz_plot_has_the_axes(forge: ForgeServer) -> None:
    titles = forge.get("/sdapi/v1/script-info")
    xyz = next(info for info in titles if info["name"] == "x/y/z plot" and not info["is_img2img"])
    labels = next(a["choices"] for a in xyz["args"] if a["label"] == "X type")
    ratios.save(calibration(forge), forge.library / "five.safetensors")

    def infotexts(axis: str, values: list[str]) -> list[str]:
        x, nothing = [labels.index(axis), "", values], [0, "", []]
        switches: list[Any] = [True, False, False, False, False, False, False, 0, False]
        answer = forge.post(
            "/sdapi/v1/txt2img",
            {"prompt": "a fox", "steps": 5, "width": 64, "height": 64, "cfg_scale": 7, "seed": 3,
             "sampler_name": "DC-Solver", "scheduler": "Simple", "script_name": "x/y/z plot",
             "script_args": [*x, *nothing, *nothing, *switches]}, 300,
        )  # fmt: skip
        return list(json.loads(answer["info"])["infotexts"])[-len(values) :]

    off, found = infotexts("[DC-Solver] Ratios", ["Off", "Automatic"])
    assert "DC ratios: none" in off and "DC ratios: 1 1 1.12 0.91 1.05" in found
    first, second = infotexts("[DC-Solver] Solver", ["dpm_2", "dc_solver"])
    assert "DC solver: dpm_2" in first and "DC ratios: none" in first
    assert "DC solver" not in second and "DC ratios: 1 1 1.12 0.91 1.05" in second
    second, third = infotexts("[DC-Solver] Order", ["2", "3"])
    assert "DC order" not in second and "DC order: 3" in third and "DC ratios: none" in third
    (one,) = infotexts("[DC-Solver] K", ["1"])
    assert "DC ratios: 1 1 1.12 0.91 1.05" in one, "the ratios bring their own K"
