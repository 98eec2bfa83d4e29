"""The same inputs make the same bits, and a batch makes what its images alone do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from dc_solver.demo import emoji, grids
from dc_solver.ratios import QUALITIES, RatioSchedule, calibrate, save
from dc_solver.solvers import SOLVERS, Langevin, LearnedSteps, sample
from problems import schedule_of

POINTS = emoji.points(range(6))


def grid(kind: str, steps: int) -> torch.Tensor:
    return grids.make_sigmas("simple", emoji.load(kind).sigmas, steps, flow=kind == "flow")


def image(kind: str, solver: str, at: slice) -> torch.Tensor:
    model, sigmas = emoji.load(kind), grid(kind, 5)
    ratios = [1.0, 1.0, 1.1, 0.9, 1.2] if SOLVERS[solver].compensates else None
    return sample(
        model.denoiser(3.0), model.start(POINTS.noise[at], float(sigmas[0])), sigmas,
        schedule=model.schedule, solver=solver, ratios=ratios,
        extra_args={"condition": POINTS.conditions[at]}, disable=True,
    )  # fmt: skip


def calibrated(kind: str, quality: str, chunk: int | None = None) -> RatioSchedule:
    model, sigmas = emoji.load(kind), grid(kind, 4)
    arguments: dict[str, Any] = {"chunk": chunk} if chunk else {}
    return calibrate(
        model.denoiser(3.0), model.start(POINTS.noise, float(sigmas[0])), sigmas,
        schedule=model.schedule, check=2, cfg=3.0, quality=quality, reference_calls=24,
        extra_args=lambda at: {"condition": POINTS.conditions[at]}, **arguments,
    )  # fmt: skip


@pytest.mark.parametrize("kind", emoji.KINDS)
@pytest.mark.parametrize("solver", ["dc_solver", "dpmpp_3m", "deis_tab", "dpmpp_2s"])
def test_the_same_twice_and_a_batch_is_its_images(kind: str, solver: str) -> None:
    batch = image(kind, solver, slice(0, 4))
    assert torch.equal(batch, image(kind, solver, slice(0, 4)))
    alone = torch.cat([image(kind, solver, slice(k, k + 1)) for k in range(4)])
    assert float((batch - alone).norm() / alone.norm()) < 1e-5


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_calibration_twice_is_one_file(tmp_path: Path, quality: str) -> None:
    one, two = (save(calibrated("eps", quality), tmp_path / name) for name in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("kind", emoji.KINDS)
def test_a_calibration_by_parts_finds_the_same(kind: str) -> None:
    whole, parts = calibrated(kind, "paper"), calibrated(kind, "paper", chunk=1)
    assert parts.ratios == pytest.approx(whole.ratios, abs=1e-4)
    assert whole.report is not None and parts.report is not None
    assert parts.report.errors == pytest.approx(whole.report.errors, rel=1e-4)


SIGMAS = (12.0, 6.0, 3.0, 1.4, 0.6, 0.0)
LEARNED = LearnedSteps(SIGMAS, (), ((0.0,) * 5, (0.1, -0.1, 0.0, 0.0, 0.0), *[(0.0,) * 5] * 3))


def bent(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """A model that makes no tensor of its own."""
    s = sigma.to(x.dtype).view(-1, 1)
    return torch.tanh(2.0 * x / (1.0 + s * s))


@pytest.mark.parametrize(
    "how",
    [
        {}, {"ratios": [1.0, 1.0, 1.1, 0.9, 1.2]}, {"solver": "deis_tab", "order": 3},
        {"langevin": Langevin(2)}, {"threshold": 0.9}, {"solver": "dpm_12"},
        {"ratios": RatioSchedule((1.0,) * 5, sigmas=SIGMAS, learned=LEARNED)},
    ],
    ids=lambda how: next(iter(how), "plain"),
)  # fmt: skip
def test_sampling_asks_for_no_default_device(how: dict[str, Any]) -> None:
    x = SIGMAS[0] * torch.randn(4, 24, generator=torch.Generator().manual_seed(0))
    arguments: dict[str, Any] = {"schedule": schedule_of("vp"), "disable": True, **how}
    expected = sample(bent, x, SIGMAS, **arguments)
    with torch.device("meta"):
        assert torch.equal(sample(bent, x, SIGMAS, **arguments), expected)


@pytest.mark.parametrize("quality", QUALITIES)
def test_calibration_asks_for_no_default_device(quality: str) -> None:
    x = SIGMAS[0] * torch.randn(4, 20_000, generator=torch.Generator().manual_seed(0))
    arguments: dict[str, Any] = {
        "schedule": schedule_of("vp"), "check": 1, "guard": "all", "quality": quality,
    }  # fmt: skip
    expected = calibrate(bent, x, SIGMAS, **arguments)
    with torch.device("meta"):
        assert calibrate(bent, x, SIGMAS, **arguments) == expected
