"""Whose ratios a pass of the WebUI takes: of the library, of a chosen file, or typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule, Report
from dc_solver.ratios.fingerprint import fingerprint
from webui_adapter import FIVE, SIGMAS, adapter, again, by_library, library, run

pytestmark = pytest.mark.usefixtures("webui")


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


def test_a_solver_that_a_tournament_chose_runs_and_is_pasted_back(tmp_path: Path) -> None:
    """Also where none of its ratios differs from 1."""
    known = Identity(fingerprint=fingerprint(dict(host.network().named_parameters())),
                     prediction="eps")  # fmt: skip
    report = Report(errors=(0.5,), errors_plain=(1.0,), errors_dpmpp_2m=(0.5,), points=10,
                    check_points=1, found=(1.0,) * 5, verdict="better")  # fmt: skip
    won = RatioSchedule((1.0,) * 5, sigmas=tuple(SIGMAS.tolist()), cfg=7.0, identity=known,
                        solver="dpmpp_2m", quality="tournament", report=report)  # fmt: skip
    file = library(tmp_path) / "won.safetensors"
    ratios.save(won, file)
    p = host.Processing()
    _, image = run(host.a1111_model(), p)
    assert torch.allclose(image, by_library(solver="dpmpp_2m"), atol=1e-6)
    file.unlink()
    assert torch.equal(again(p), image)
