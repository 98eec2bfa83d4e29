"""Learned steps in the WebUI: run from their file alone, and named by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule
from dc_solver.ratios.fingerprint import fingerprint
from dc_solver.solvers import LearnedSteps
from webui_adapter import (
    FIVE,
    SIGMAS,
    adapter,
    again,
    asking,
    by_library,
    library,
    pasted_back,
    run,
)

pytestmark = pytest.mark.usefixtures("webui")


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
