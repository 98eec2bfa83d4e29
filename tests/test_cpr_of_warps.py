"""A regression over calibrations that moved their steps: planes, predictions, runs, files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dc_solver.demo import emoji
from dc_solver.demo.experiment import Experiment, compare
from dc_solver.demo.grids import make_sigmas
from dc_solver.ratios import CPR, Identity, RatioSchedule, Warp, carry_over, fit_cpr, load, save
from dc_solver.ratios.edits import apply_edits
from dc_solver.ratios.lookup import Run, choose
from dc_solver.ratios.schedule import settings_of
from dc_solver.ratios.text import describe_ratios
from dc_solver.ratios.warp import LEAST, MOST, warped
from dc_solver.solvers import LearnedSteps, VPSchedule, discrete_time, sample

TABLE = emoji.load("eps").sigmas
SCHEDULE = VPSchedule(discrete_time(TABLE.tolist()))
ME = Identity(fingerprint="me", prediction="eps", scheduler="simple")
CELLS = [(steps, cfg) for steps in (5, 6, 8, 10) for cfg in (2.0, 4.0, 7.0)]


def grid(steps: int, scheduler: str = "simple") -> tuple[float, ...]:
    return tuple(make_sigmas(scheduler, TABLE, steps, flow=False).tolist())


def plane(steps: int, cfg: float) -> Warp:
    return Warp(math.exp(0.3 - 0.02 * cfg + 0.01 * steps), math.exp(0.5 - 0.03 * cfg))


def calibration(steps: int, cfg: float, warp: Warp | None = None) -> RatioSchedule:
    warp = plane(steps, cfg) if warp is None else warp
    own = warped(grid(steps), SCHEDULE, warp)
    assert own is not None
    return RatioSchedule(
        ratios=(1.0, 1.0, *(1.0 + 0.02 * k for k in range(steps - 2))),
        sigmas=grid(steps),
        cfg=cfg,
        identity=ME,
        learned=LearnedSteps(own),
        warp=warp,
        quality="schedule",
    )


def regression() -> CPR:
    return fit_cpr([calibration(*cell) for cell in CELLS])


@pytest.mark.parametrize(("steps", "cfg"), [(5, 2.0), (7, 3.0), (9, 6.1), (10, 7.0)])
def test_warps_on_a_plane_are_found_again(steps: int, cfg: float) -> None:
    got = regression().predict(steps, cfg)
    assert got.warp is not None and got.quality == "schedule" and got.learned is None
    assert (got.warp.a, got.warp.b) == pytest.approx(
        (plane(steps, cfg).a, plane(steps, cfg).b), rel=1e-6
    )
    assert got.moves_steps and got.active and got.sigmas_to_run is None


def test_a_single_setting_predicts_its_own_warp() -> None:
    got = fit_cpr([calibration(6, 4.0)]).predict(6, 4.0)
    assert got.warp is not None and got.warp.a == pytest.approx(plane(6, 4.0).a)


def test_predicted_warps_stay_within_those_that_were_found() -> None:
    cells = [calibration(5, 2.0, Warp(1.0, 1.0)), calibration(5, 4.0, Warp(1.0, 1.6)),
             calibration(5, 7.0, Warp(1.0, 1.0))]  # fmt: skip
    for cfg in (1.0, 2.0, 5.0, 9.0):
        warp = fit_cpr(cells).predict(5, cfg).warp
        assert warp is not None and 1.0 <= warp.b <= 1.6 and warp.a == pytest.approx(1.0)


def test_a_prediction_is_laid_over_the_grid_of_any_run() -> None:
    predicted = regression().predict(7, 3.0)
    for scheduler in ("simple", "beta"):
        run = grid(7, scheduler)
        start = replace(predicted, start=run[0])
        over = carry_over(start, run, SCHEDULE)
        assert over.learned is not None and over.sigmas == pytest.approx(run)
        assert predicted.warp is not None
        assert over.learned.sigmas == warped(run, SCHEDULE, predicted.warp)
        again = carry_over(over, over.learned.sigmas, SCHEDULE)
        assert again.learned == over.learned  # over its own sigmas it stays as it is


def test_runs_that_its_steps_do_not_fit_are_plain_and_say_why() -> None:
    predicted = regression().predict(6, 3.0)  # of a calibrated step count, so its grid is known
    tail = carry_over(predicted, grid(6)[2:], SCHEDULE)
    assert not tail.active and tail.warp is None and "whole runs" in tail.notes[-1]
    still = (*grid(7)[:3], grid(7)[2], *grid(7)[4:])
    flat = carry_over(regression().predict(7, 3.0), still, SCHEDULE)
    assert not flat.active and "cannot be moved" in flat.notes[-1]


def test_a_run_takes_one_call_a_step_over_the_moved_sigmas() -> None:
    seen: list[float] = []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.append(float(sigma[0]))
        return x / (1.0 + sigma[0] ** 2)

    over = carry_over(regression().predict(7, 3.0), grid(7), SCHEDULE)
    x = torch.randn(2, 4, dtype=torch.float64)
    sample(model, x, grid(7), schedule=SCHEDULE, ratios=over, disable=True)
    assert seen == pytest.approx(list(over.sigmas_to_run or ())[:-1])


def test_a_warp_without_a_grid_is_not_run() -> None:
    with pytest.raises(ValueError, match="expected moved steps laid over the sigmas"):
        sample(
            lambda x, sigma: x, torch.ones(1, 2), grid(7), schedule=SCHEDULE,
            ratios=regression().predict(7, 3.0), disable=True,
        )  # fmt: skip


def test_settings_where_moving_did_not_help_count_as_steps_that_stay() -> None:
    kept = replace(calibration(5, 7.0), learned=None, warp=None, ratios=(1.0,) * 5)
    cpr = fit_cpr([calibration(5, 2.0), kept])
    stays = cpr.predict(5, 7.0)
    assert stays.warp is None and not stays.active
    between = cpr.predict(5, 4.5).warp
    assert between is not None and 1.0 < between.b < plane(5, 2.0).b ** 0.2


@pytest.mark.parametrize("quality", ["paper", "ratios+"])
def test_ratios_for_other_steps_are_not_mixed_with_it(quality: str) -> None:
    other = RatioSchedule((1.0,) * 5, sigmas=grid(5), cfg=3.0, identity=ME, quality=quality)
    with pytest.raises(ValueError, match="all calibrations of quality schedule or none"):
        fit_cpr([calibration(5, 2.0), other])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"warp": None}, "expected its planes where calibrations moved"),
        ({"fitted": ()}, "expected its planes where calibrations moved"),
        ({"warp": (0.0,) * 5}, "expected 6 finite numbers, got 5"),
        ({"warp": (math.nan,) * 6}, "expected 6 finite numbers"),
    ],
)
def test_planes_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(regression(), **changes)


@pytest.mark.parametrize("warp", [(0.0, 1.0), (1.0, math.inf), (math.nan, 1.0), (-1.0, 1.0)])
def test_a_warp_has_two_positive_numbers(warp: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"warp [ab]: expected 0\.01 to 100"):
        Warp(*warp)


def test_it_is_saved_and_read_as_it_was(tmp_path: Path) -> None:
    for k, found in enumerate((regression(), calibration(6, 4.0))):
        path = save(found, tmp_path / f"{k}.safetensors")
        assert load(path) == found


def test_the_library_serves_whole_runs_of_its_scheduler() -> None:
    def run(sigmas: tuple[float, ...], cfg: float = 3.0) -> Run:
        identity = replace(ME, scheduler=None)
        settings = settings_of(RatioSchedule(()))
        return Run(sigmas, cfg, identity, settings, SCHEDULE, lambda name, n: grid(n, name))

    cpr = regression()
    for steps in (5, 7, 10):
        found = choose([("file", cpr)], run(grid(steps))).ratios
        warp = cpr.predict(steps, 3.0).warp
        assert found is not None and found.learned is not None and warp is not None
        assert found.learned.sigmas == warped(grid(steps), SCHEDULE, warp)
        again = choose([("file", cpr)], run(found.learned.sigmas)).ratios  # as SIGMAS in a graph
        assert again is not None and again.learned == found.learned
    assert choose([("file", cpr)], run(grid(7, "beta"))).ratios is None
    beside = choose([("file", cpr)], run(grid(8)[3:])).reason
    assert "a CPR of learned steps for whole runs of 5 to 10 steps at CFG 2 to 7" in beside
    assert choose([("file", cpr)], run(grid(8)[3:])).ratios is None


def test_it_is_told_in_words() -> None:
    predicted = regression().predict(7, 3.0)
    text = describe_ratios(predicted)
    assert predicted.warp is not None
    assert "learned steps: 7 steps at CFG 3 on simple, predicted (quality schedule)" in text
    assert f"a {predicted.warp.a:.3f}, b {predicted.warp.b:.3f}" in text


def test_it_gains_between_the_settings_that_were_calibrated() -> None:
    """A trained model: 6 steps predicted from 5 and 8, on seeds that nothing was fitted to."""
    model = emoji.load("eps")
    task = Experiment(model, 3.0, "simple")
    cpr = fit_cpr(task.calibrate([5, 8], [3.0], quality="schedule"))
    data = emoji.points(range(60_000, 60_012))
    predicted = carry_over(cpr.predict(6, 3.0), task.sigmas(6).tolist(), model.schedule)
    truth = task.truth(data, int)
    plain = task.row("", 6, data, truth, int, solver="unipc")
    ours = task.row("", 6, data, truth, int, ratios=predicted)
    assert ours.calls == plain.calls == 6
    assert compare(ours.errors, plain.errors).geometric_mean < 0.75


def test_a_warp_at_the_end_of_what_it_can_be_is_predicted() -> None:
    for end in (LEAST, MOST):
        found = replace(calibration(6, 4.0), warp=Warp(end, 1.0))
        warp = fit_cpr([found]).predict(6, 4.0).warp
        assert warp is not None and warp.a == pytest.approx(end)


def test_a_grid_that_nobody_can_compare_with_is_told() -> None:
    anonymous = replace(calibration(6, 4.0), identity=replace(ME, scheduler=None))
    over = carry_over(fit_cpr([anonymous]).predict(7, 4.0), grid(7), SCHEDULE)
    assert over.learned is not None and "not known to be the one" in over.notes[-1]


def test_moved_steps_are_not_edited() -> None:
    with pytest.raises(ValueError, match=r"edits: .* learned steps \(quality schedule\)"):
        apply_edits(regression().predict(7, 3.0), {4: 1.2})


def test_a_saved_prediction_serves_a_run_over_the_steps_it_moves_to() -> None:
    saved = replace(regression().predict(6, 3.0), cfg=3.0)
    moved = carry_over(saved, grid(6), SCHEDULE).learned
    assert saved.learned is None and moved is not None
    for sigmas in (grid(6), moved.sigmas):
        identity = replace(ME, scheduler=None)
        settings = settings_of(RatioSchedule(()))
        run = Run(sigmas, 3.0, identity, settings, SCHEDULE, lambda name, n: grid(n, name))
        found = choose([("file", saved)], run).ratios
        assert found is not None and found.learned == moved
        assert carry_over(saved, sigmas, SCHEDULE).learned == moved  # connected too
