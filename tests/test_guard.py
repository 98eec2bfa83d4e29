"""The guard: what it keeps, whom it hears, and what it says of that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from dc_solver.ratios import RatioSchedule, Report, calibrate
from dc_solver.ratios.reference import reference_sigmas
from dc_solver.solvers import Schedule, sample
from problems import Gaussian, Mixture, schedule_of

GRIDS = {
    "vp": [12.0, 6.0, 3.0, 1.4, 0.6, 0.0],
    "flow": [1.0, 0.9, 0.75, 0.55, 0.3, 0.0],
}
KINDS = ("vp", "flow")


def points(kind: str, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return GRIDS[kind][0] * torch.randn(count, 24, generator=generator, dtype=torch.float64)


def whole(
    model: Any, x: torch.Tensor, sigmas: Sequence[float], schedule: Schedule, **options: Any
) -> torch.Tensor:
    return sample(model, x, sigmas, schedule=schedule, disable=True, **options)


def test_without_check_points_the_verdict_is_unchecked() -> None:
    result = calibrate(Mixture(), points("vp", 4), GRIDS["vp"], schedule=schedule_of("vp"))
    assert result.report is not None
    assert result.report.verdict == "unchecked"
    assert result.report.gain is None
    assert result.active


@pytest.mark.parametrize("kind", KINDS)
def test_helpful_ratios_pass_the_guard(kind: str) -> None:
    x = points(kind, 9)
    result = calibrate(
        Mixture(kind), x, GRIDS[kind], schedule=schedule_of(kind), reference_calls=64, check=4
    )
    report = result.report
    assert report is not None
    assert report.verdict == "better" and result.active
    assert report.gain is not None and report.gain < 1.0
    searched = calibrate(
        Mixture(kind), x[:5], GRIDS[kind], schedule=schedule_of(kind), reference_calls=64
    )
    assert result.ratios == pytest.approx(searched.ratios, abs=1e-9)
    fine, _ = reference_sigmas(GRIDS[kind], schedule_of(kind), 64)
    exact = whole(Mixture(kind), x[5:], fine, schedule_of(kind), solver="unipc", order=3)
    for ratios, solver, kept in (
        (result.ratios, "dc_solver", report.errors),
        (None, "dc_solver", report.errors_plain),
        (None, "dpmpp_2m", report.errors_dpmpp_2m),
    ):
        final = sample(
            Mixture(kind),
            x[5:],
            GRIDS[kind],
            schedule=schedule_of(kind),
            solver=solver,
            ratios=ratios,
            lower_order="final" if solver == "dpmpp_2m" else True,
            disable=True,
        )
        errors = (final - exact).square().mean(dim=1).tolist()
        assert kept == pytest.approx(errors, rel=1e-9)


def lagging(shifts: Sequence[float], check: int, **options: Any) -> RatioSchedule:
    """Each point with a problem of its own: the larger its shift, the lower its best last ratio."""
    all_shifts = torch.tensor(shifts, dtype=torch.float64)

    def model(x: torch.Tensor, sigma: torch.Tensor, *, shift: torch.Tensor) -> torch.Tensor:
        lag = 0.6 * torch.log(1.0 + sigma).view(-1, 1) * shift.view(-1, 1)
        return Gaussian()(x, sigma) + lag * torch.where(sigma < 0.5, -6.0, 1.0).view(-1, 1)

    return calibrate(
        model, points("vp", len(shifts)), GRIDS["vp"], schedule=schedule_of("vp"), check=check,
        extra_args=lambda which: {"shift": all_shifts[which]}, **options,
    )  # fmt: skip


def test_ratios_that_harm_the_check_points_are_not_kept() -> None:
    """Search on one problem, check on another whose best last ratio lies below 1."""
    result = lagging([0.0] * 3 + [1.0] * 3, 3)
    report = result.report
    assert report is not None
    assert any(ratio != 1.0 for ratio in report.found)
    assert report.verdict == "not better"
    assert report.gain is not None and report.gain >= 1.0
    assert result.ratios == (1.0,) * 5
    assert not result.active
    assert any("did not help" in note for note in result.notes)


def test_points_that_nothing_can_improve_leave_the_ratios_at_one() -> None:
    """A constant denoiser is solved exactly by any ratios."""
    result = calibrate(
        lambda x, sigma: torch.full_like(x, 0.25),
        points("vp", 4),
        GRIDS["vp"],
        schedule=schedule_of("vp"),
        check=2,
    )
    assert result.report is not None and result.report.verdict == "not better"
    assert result.ratios == (1.0,) * 5


def report_of(gain: float, searched: float | None, check: int = 6) -> Report:
    return Report(
        points=10, check_points=check, errors=(gain,) * check, errors_plain=(1.0,) * check,
        search_gain=searched,
    )  # fmt: skip


def test_the_estimate_counts_a_search_seed_half() -> None:
    assert report_of(0.8, None).estimate == report_of(0.8, None).gain == pytest.approx(0.8)
    expected = math.exp((6 * math.log(1.1) + 5 * math.log(0.7)) / 11)
    assert report_of(1.1, 0.7).estimate == pytest.approx(expected)
    assert report_of(0.9, 0.9).estimate == pytest.approx(0.9)
    assert report_of(0.0, 0.5).estimate == pytest.approx(0.0, abs=1e-9)
    assert Report(search_gain=0.5).estimate is None


@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_the_gain_on_the_search_points_is_that_of_whole_runs(kind: str) -> None:
    problem, x, schedule = Mixture(kind), points(kind, 9), schedule_of(kind)
    report = calibrate(
        problem, x, GRIDS[kind], schedule=schedule, check=3, guard="all", reference_calls=200
    ).report
    assert report is not None and report.search_gain is not None

    def final(sigmas: Sequence[float], **how: Any) -> torch.Tensor:
        return sample(problem, x[:6], sigmas, schedule=schedule, disable=True, **how)

    fine, _ = reference_sigmas(GRIDS[kind], schedule, 300)
    exact = final(fine, solver="unipc", order=3)
    logs = [
        (state - exact).square().mean(dim=1).log()
        for state in (final(GRIDS[kind], ratios=report.found), final(GRIDS[kind], solver="unipc"))
    ]
    assert report.search_gain == pytest.approx(float((logs[0] - logs[1]).mean().exp()), rel=0.05)


def gains(found: RatioSchedule) -> tuple[float, float | None]:
    report = found.report
    assert report is not None and report.gain is not None
    return report.gain, report.search_gain


@pytest.mark.parametrize(("guard", "kept"), [("check", False), ("all", True)])
def test_the_search_points_speak_where_the_check_points_lose_little(guard: str, kept: bool) -> None:
    found = lagging([0.0] * 3 + [0.2] * 3, 3, guard=guard)
    gain, searched = gains(found)
    assert 1.0 < gain < 1.25
    assert (searched is not None) == kept and (searched is None or searched < 1e-6)
    assert found.active == kept


def test_where_the_check_points_lose_more_nobody_else_is_heard() -> None:
    found = lagging([0.0] * 3 + [0.5] * 3, 3, guard="all")
    gain, searched = gains(found)
    assert gain > 1.25 and searched is not None and searched < 1e-6
    assert found.report is not None and found.report.estimate is not None
    assert found.report.estimate < 0.01
    assert not found.active
    assert found.notes[-1] == "compensation did not help on the check seeds: the ratios stay 1"


def test_search_points_that_lose_speak_against_a_small_gain() -> None:
    """One far point decides the paper's mean, against the five others."""
    shifts = [5.0, *[0.0] * 5, *[1.5] * 3]
    found = lagging(shifts, 3, guard="all", loss="mean")
    gain, searched = gains(found)
    assert gain < 1.0 < 1.1 < (searched or 0.0)
    assert not found.active
    assert found.notes[-1] == (
        "compensation did not help on the check and search seeds together: the ratios stay 1"
    )
    assert lagging(shifts, 3, guard="check", loss="mean").active


def test_many_search_points_do_not_drown_the_check_points() -> None:
    def report(points: int) -> Report:
        return Report(
            points=points, check_points=6, errors=(1.2,) * 6, errors_plain=(1.0,) * 6,
            search_gain=0.9,
        )  # fmt: skip

    estimates = [report(count).estimate for count in (1, 6, 12, 100)]
    assert estimates[2] == estimates[3] == pytest.approx(math.sqrt(1.2 * 0.9))
    assert all(value is not None and value > 1.0 for value in estimates)


def test_what_the_guard_runs_counts_as_check() -> None:
    quiet, heard = (lagging([0.0] * 6, 3, guard=guard).report for guard in ("check", "all"))
    assert quiet is not None and heard is not None
    assert heard.calls["search"] == quiet.calls["search"]
    assert heard.calls["check"] == quiet.calls["check"] + 5 * 3


def test_whom_it_can_hear() -> None:
    with pytest.raises(ValueError, match=r"^guard: expected one of check, all, got 'both'\.$"):
        lagging([0.0] * 3, 1, guard="both")


def test_what_a_schedule_gains() -> None:
    """None where nobody looked, 1 where the guard kept ratios of 1."""
    better = Report(check_points=1, errors=(0.5,), errors_plain=(1.0,), verdict="better")
    assert RatioSchedule((1.0, 1.0, 1.2)).gain is None
    assert RatioSchedule((1.0, 1.0, 1.2), report=Report()).gain is None
    assert RatioSchedule((1.0, 1.0, 1.2), report=better).gain == pytest.approx(0.5)
    assert RatioSchedule((1.0, 1.0, 1.0), report=better).gain == 1.0
    assert RatioSchedule((1.0, 1.0, 1.0)).gain is None
