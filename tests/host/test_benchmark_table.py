"""The benchmark's ComfyUI process: its samplers on the benchmark's models and points."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from table.axes import Seeds
from table.bench import Bench
from table.comfy import Host, HostError, Install
from table.entries import COMFY, PLAIN, check_host
from table.task import Subject

SEEDS = Seeds(2, 1)


@pytest.fixture(scope="module", params=["emoji_eps", "emoji_flow", "emoji_v"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    install = Install.from_environment()
    if install is None:
        pytest.skip("needs a ComfyUI: set COMFYUI_PATH to its folder and COMFYUI_PYTHON to its "
                    "Python")  # fmt: skip
    subject = Subject(request.param, fast=False)
    with Host(install, subject, SEEDS, threads=1) as host:
        yield Bench(subject, 3.0, SEEDS, host)


def test_its_euler_is_our_ddim(bench: Bench) -> None:
    """On a schedule that begins below the largest sigma too, whose start is another."""
    assert check_host(bench) < 1e-4
    euler, ddim = COMFY[0], PLAIN[0]
    for scheduler in ("ddim_uniform", "beta"):
        theirs, ours = (entry.run(bench, 6, scheduler) for entry in (euler, ddim))
        assert theirs.calls == ours.calls
        assert float((theirs.latents - ours.latents).abs().max()) < 1e-4


def test_every_sampler_runs_and_its_calls_are_counted(bench: Bench) -> None:
    ends = {}
    for entry in COMFY:
        outcome = entry.run(bench, 5, "simple")
        assert outcome.calls == 5, entry.name
        ends[entry.name] = outcome.latents
        assert outcome.latents.shape == bench.points.noise.shape
        again = entry.run(bench, 5, "simple").latents
        assert torch.equal(outcome.latents, again), f"{entry.name}: as the stochastic one's seed"
    assert len({float(latents.sum()) for latents in ends.values()}) == len(COMFY)


def test_an_error_is_told_and_the_process_goes_on(bench: Bench) -> None:
    assert bench.host is not None
    with pytest.raises(HostError, match="has no sampler nonesuch"):
        bench.host.sample("nonesuch", "simple", 5, 3.0)
    assert bench.host.sample("euler", "simple", 2, 3.0)[1] == 2
