"""Calibration beyond the paper: each part against something known, and what it costs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from dc_solver.ratios import QUALITIES, RatioSchedule, Report, calibrate, calibrate_grid
from dc_solver.ratios.cell import Cell, Found
from dc_solver.ratios.chosen import record
from dc_solver.ratios.edits import apply_edits
from dc_solver.ratios.families import RatioFamily, StepFamily, WarpFamily, plain_course
from dc_solver.ratios.greedy import LOSSES
from dc_solver.ratios.least_squares import fit
from dc_solver.ratios.lookup import Choice
from dc_solver.ratios.qualities import SEARCHES
from dc_solver.ratios.reference import reference_sigmas
from dc_solver.ratios.refine import jacobian_calls, refine
from dc_solver.ratios.runs import Loss, Runs, Sketch, log_error
from dc_solver.ratios.text import describe_ratios
from dc_solver.ratios.trajectory import Trajectory
from dc_solver.ratios.warp import Warp, angle, sigma_at_angle, warped
from dc_solver.solvers import VPSchedule, sample
from dc_solver.solvers.step import Settings
from problems import Counted, Gaussian, Mixture, point_model, schedule_of

GRIDS = {
    "vp": (12.0, 6.0, 3.0, 1.4, 0.6, 0.0),
    "flow": (1.0, 0.9, 0.75, 0.55, 0.3, 0.0),
}
KINDS = ("vp", "flow")
BEYOND = [name for name in QUALITIES if name != "paper"]


def points(kind: str, count: int, size: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return GRIDS[kind][0] * torch.randn(count, size, generator=generator, dtype=torch.float64)


def runs_of(model: Any, x: torch.Tensor, truth: torch.Tensor) -> Runs:
    sketch = Sketch(x[0].numel())
    return Runs(point_model(model, len(x)), x, sketch(truth), sketch)


# The warp


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("warp", [Warp(), Warp(0.7, 1.4), Warp(1.6, 0.8)])
def test_a_warp_keeps_the_ends_and_falls(kind: str, warp: Warp) -> None:
    grid = warped(GRIDS[kind], schedule_of(kind), warp)
    assert grid is not None
    assert (grid[0], grid[-1]) == (GRIDS[kind][0], 0.0)
    assert all(a > b for a, b in zip(grid, grid[1:]))
    if warp == Warp():
        assert grid == pytest.approx(GRIDS[kind], rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_warp_means_the_same_for_twice_the_steps(kind: str) -> None:
    schedule, warp = schedule_of(kind), Warp(0.8, 1.3)
    few = warped(GRIDS[kind], schedule, warp)
    many = warped(GRIDS[kind], schedule, warp, steps=10)
    assert few is not None and many is not None and len(many) == 11
    assert many[::2] == pytest.approx(few, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_angles_come_back(kind: str) -> None:
    schedule = schedule_of(kind)
    for sigma in GRIDS[kind][1:]:
        assert sigma_at_angle(angle(sigma, schedule), schedule) == pytest.approx(sigma)


# Least squares and Gauss-Newton


def test_least_squares_finds_the_weights_up_to_its_ridge() -> None:
    """Of one part the ridge of a tenth of the diagonal leaves 1 / 1.1 of the weight."""
    generator = torch.Generator().manual_seed(1)
    part = torch.randn(4, 50, generator=generator, dtype=torch.float64)
    assert fit(0.4 * part, [part]) == pytest.approx([0.4 / 1.1])


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_refining_recovers_a_run_that_is_in_the_family(kind: str, q: float) -> None:
    """The truth is a run of the family itself: Gauss-Newton comes back to it."""
    x, schedule = points(kind, 4), schedule_of(kind)
    family = RatioFamily(GRIDS[kind], schedule, Settings(dc_order=1), (1.0,) * 5)
    hidden = np.array([0.1, -0.15, 0.2, 0.1])[: len(family.scale)]
    made = runs_of(Mixture(kind), x, x)
    truth = made.run(family.course(hidden)).final
    runs = runs_of(Mixture(kind), x, truth)
    before = runs.residual(runs.run(family.course(0.0 * hidden)))
    found = refine(runs, family, 0.0 * hidden, 6, Loss(before, q))
    assert found.loss < 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_a_jacobian_costs_the_calls_after_what_it_moves(kind: str) -> None:
    x, schedule = points(kind, 2), schedule_of(kind)
    family = StepFamily(GRIDS[kind], schedule, Settings(), history=3)
    runs = runs_of(Mixture(kind), x, torch.zeros_like(x))
    found = refine(runs, family, np.zeros(family.size), 1, Loss(x, 0.5))
    assert np.any(found.values != 0.0)
    # The run itself, the Jacobian, and the first step tried, which helps.
    assert runs.model.calls == 5 + jacobian_calls(family, 5) + 5
    assert jacobian_calls(family, 5) == 2 * (4 + 3 + 2 + 1) + (1 * 3 + 2 * 2 + 3 * 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_family_at_zero_is_the_solver(kind: str) -> None:
    x, schedule, grid = points(kind, 3), schedule_of(kind), GRIDS[kind]
    expected = sample(Mixture(kind), x, grid, schedule=schedule, solver="unipc", disable=True)
    runs = runs_of(Mixture(kind), x, x)
    for family, size in (
        (StepFamily(grid, schedule, Settings(), 3), None),
        (RatioFamily(grid, schedule, Settings(dc_order=2), (1.0,) * 5), None),
        (WarpFamily(grid, schedule, Settings(), Warp()), 2),
    ):
        values = np.zeros(size or len(family.scale))
        course = family.course(values)
        assert course is not None
        final = runs.run(course).final
        assert float((final - expected).abs().max()) < 1e-9


def test_known_outputs_are_not_called_again() -> None:
    x = points("vp", 2)
    runs = runs_of(Mixture(), x, x)
    course = plain_course(GRIDS["vp"], schedule_of("vp"), Settings())
    whole = runs.run(course)
    assert runs.model.calls == 5
    again = runs.run(course, whole.outputs[:3])
    assert runs.model.calls == 7
    assert torch.equal(again.final, whole.final)


def test_the_sketch_of_a_large_latent_estimates_its_error() -> None:
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(2, 4, 128, 128, generator=generator)
    sketch = Sketch(states[0].numel())
    few = sketch(states)
    assert few.shape == (2, 16384) and torch.equal(few, sketch(states))
    whole = states.square().flatten(1).mean(dim=1)
    assert few.square().mean(dim=1).tolist() == pytest.approx(whole.tolist(), rel=0.03)


@pytest.mark.parametrize(("q", "expected"), [(0.0, 1.0), (1.0, (4.0 + 0.25) / 2.0), (0.5, 1.5625)])
def test_the_loss_is_a_generalised_mean_of_shares(q: float, expected: float) -> None:
    plain = torch.tensor([[1.0, -1.0], [3.0, 3.0]], dtype=torch.float64)
    shares = torch.tensor([[4.0], [0.25]], dtype=torch.float64)
    residual = plain * shares.sqrt()
    assert Loss(plain, q)(residual) == pytest.approx(expected, rel=6e-3)  # of its floor


# The reference


@pytest.mark.parametrize("kind", KINDS)
def test_a_trajectory_is_exact_between_its_steps_too(kind: str) -> None:
    problem, x, schedule = Gaussian(kind), points(kind, 3), schedule_of(kind)
    trajectory = Trajectory(point_model(problem, 3), x, GRIDS[kind], schedule, 96)
    for sigma in (GRIDS[kind][1] * 0.97, GRIDS[kind][2] * 1.05, GRIDS[kind][4] * 0.8):
        exact = problem.exact(x, GRIDS[kind][0], sigma)
        assert float((trajectory.state(sigma) - exact).abs().max()) < 1e-3
        output = problem(exact, torch.full((3,), sigma, dtype=torch.float64))
        assert float((trajectory.output(sigma) - output).abs().max()) < 1e-3


# The whole


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_quality_helps_on_other_points_and_counts_its_calls(kind: str, quality: str) -> None:
    schedule, x = schedule_of(kind), points(kind, 14)
    model = Counted(Mixture(kind))
    found = calibrate(
        model, x, GRIDS[kind], schedule=schedule, check=4, quality=quality,
        stock={"other": (GRIDS[kind][0], *(0.8 * sigma for sigma in GRIDS[kind][1:]))},
    )  # fmt: skip
    report = found.report
    assert report is not None
    assert sum(report.calls.values()) == model.points
    assert found.quality == quality and report.verdict == "better" and found.active
    others = GRIDS[kind][0] * torch.randn(
        32, 24, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )
    truth = Trajectory(point_model(Mixture(kind), 32), others, GRIDS[kind], schedule, 300).final

    def errors(ratios: RatioSchedule | None) -> torch.Tensor:
        final = sample(
            Mixture(kind), others, GRIDS[kind], schedule=schedule, ratios=ratios, disable=True
        )
        return (final - truth).square().mean(dim=1)

    gain = (errors(found) / errors(None)).log().mean().exp()
    assert float(gain) < 0.95


@pytest.mark.parametrize("quality", BEYOND)
def test_what_harms_the_check_points_is_not_kept(quality: str) -> None:
    """The check points are of another problem, on which the plain solver is exact."""
    x = points("vp", 8)
    problem = Mixture()

    def model(x: torch.Tensor, sigma: torch.Tensor, *, exact: torch.Tensor) -> torch.Tensor:
        fixed = torch.full_like(x, 0.3)  # a constant output: every solver is exact
        return torch.where(exact.view(-1, 1), fixed, problem(x, sigma))

    exact = torch.tensor([False] * 5 + [True] * 3)
    found = calibrate(
        model, x, GRIDS["vp"], schedule=schedule_of("vp"), check=3, quality=quality,
        extra_args=lambda at: {"exact": exact[at]},
    )  # fmt: skip
    assert found.report is not None and found.report.verdict == "not better"
    assert not found.active and found.learned is None
    assert found.solver == "dc_solver" and "did not help" in found.notes[0]


@pytest.mark.parametrize("quality", BEYOND)
@pytest.mark.parametrize(
    "grid", [(12.0, 3.0, 3.0, 0.6, 0.0), (12.0, 3.0, 0.6, 0.0, 0.0), (12.0, 1.0), (12.0, 0.0)]
)
def test_odd_grids_get_what_they_can(quality: str, grid: tuple[float, ...]) -> None:
    found = calibrate(
        Mixture(), points("vp", 5), grid, schedule=schedule_of("vp"), check=2, quality=quality
    )
    assert found.steps == len(grid) - 1
    assert all(math.isfinite(ratio) for ratio in found.ratios)
    unmovable = len(grid) == 2 or any(a == b for a, b in zip(grid, grid[1:]))
    assert (found.quality == "paper") == unmovable, "a file says what its ratios are"


def test_a_run_that_is_not_finite_is_never_the_best() -> None:
    broken = torch.tensor([[1.0, 2.0], [math.nan, 1.0]], dtype=torch.float64)
    assert log_error(broken) == math.inf
    for exponent in (0.0, 1.0):
        assert Loss(torch.ones(2, 2), exponent)(broken) == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf, 9.0])
def test_a_warp_that_cannot_be_is_no_run(value: float) -> None:
    family = WarpFamily(GRIDS["vp"], schedule_of("vp"), Settings(), Warp())
    assert family.course(np.array([value, 0.0])) is None
    assert family.course(np.array([0.0, 0.0])) is not None


def test_a_difference_that_is_not_finite_leaves_the_run_it_starts_from() -> None:
    """The first run is whole, and those that move its steps are not."""
    schedule, x = schedule_of("vp"), points("vp", 4)

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        known = any(abs(float(sigma[0]) - own) < 1e-9 for own in GRIDS["vp"])
        return Mixture()(x, sigma) * (1.0 if known else math.nan)

    runs = runs_of(model, x, Mixture()(x, torch.full((4,), 1e-3, dtype=torch.float64)))
    family = WarpFamily(GRIDS["vp"], schedule, Settings(), Warp())
    plain = runs.residual(runs.run(plain_course(GRIDS["vp"], schedule, Settings())))
    found = refine(runs, family, np.zeros(2), 3, Loss(plain, 1.0))
    assert found.values.tolist() == [0.0, 0.0] and math.isfinite(found.loss)


@pytest.mark.parametrize("quality", BEYOND)
def test_the_same_inputs_give_the_same_result(quality: str) -> None:
    first, second = (
        calibrate(
            Mixture(), points("vp", 6), GRIDS["vp"], schedule=schedule_of("vp"), check=2,
            quality=quality,
        )
        for _ in range(2)
    )  # fmt: skip
    assert first == second


def test_a_grid_of_full_calibrations_shares_its_reference() -> None:
    grids = [GRIDS["vp"], (12.0, 4.0, 1.4, 0.5, 0.0)]
    found = calibrate_grid(
        lambda cfg: Mixture(), points("vp", 6), schedule=schedule_of("vp"), grids=grids,
        cfgs=[2.0], check=2, quality="full", reference_calls=64,
    )  # fmt: skip
    assert [schedule.steps for schedule in found] == [5, 4]
    calls = [schedule.report.reference_calls for schedule in found if schedule.report]
    assert calls[0] > 0 and calls[1] == 0


def test_every_quality_has_its_search() -> None:
    assert tuple(SEARCHES) == QUALITIES


@pytest.mark.parametrize("kind", KINDS)
def test_ratios_are_held_back_as_they_are_found(kind: str) -> None:
    """The first that acts is its optimum times the factor; the search goes on from there."""
    found = {
        share: calibrate(
            Mixture(kind), points(kind, 6), GRIDS[kind], schedule=schedule_of(kind),
            held_back=share, reference_calls=64,
        ).ratios
        for share in (1.0, 0.95, 0.9)
    }  # fmt: skip
    first = next(i for i, ratio in enumerate(found[1.0]) if ratio != 1.0)
    for share in (0.95, 0.9):
        assert found[share][first] == pytest.approx(share * found[1.0][first])
        assert found[share][:first] == found[1.0][:first]


@pytest.mark.parametrize("still", [0, 1])
@pytest.mark.parametrize(("loss", "far"), [("mean", 3.0), ("balanced", 2.0), ("relative", 1.0)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_last_ratio_is_held_back_as_far_as_that_costs_nothing(
    kind: str, loss: str, far: float, still: int
) -> None:
    """Half a hundredth of the geometric mean of the errors, within a twentieth of what the loss
    asks for, which one far point may decide."""
    trailing = [1.0] * still  # steps that stand still at the end change nothing
    schedule, model, grid = schedule_of(kind), Mixture(kind), (*GRIDS[kind], *[0.0] * still)
    x = points(kind, 6)
    x[0] *= far
    found = calibrate(
        model, x, grid, schedule=schedule, loss=loss, held_back=0.95, reference_calls=200
    )
    fine, _ = reference_sigmas(grid, schedule, 400)
    settings: dict[str, Any] = {"schedule": schedule, "disable": True}
    truth = sample(model, x, fine, solver="unipc", order=3, **settings)

    nodes = (0.8, 1.2, 1.6)  # the final state is a parabola in the last ratio
    ratios = [[*found.ratios[: len(GRIDS[kind]) - 2], last, *trailing] for last in nodes]
    finals = [sample(model, x, grid, ratios=each, **settings) for each in ratios]

    def errors(last: float) -> torch.Tensor:
        shares = [
            math.prod((last - other) / (node - other) for other in nodes if other != node)
            for node in nodes
        ]
        final = sum(share * state for share, state in zip(shares, finals))
        return (final - truth).square().mean(dim=1)

    weights = errors(1.0) ** -LOSSES[loss]
    tried = np.linspace(0.8, 2.0, 601).tolist()
    asked = min(tried, key=lambda ratio: float((weights * errors(ratio)).mean()))
    near = [ratio for ratio in tried if 0.95 * asked <= ratio <= asked / 0.95]
    logs = [float(errors(ratio).log().mean()) for ratio in near]
    best = next(ratio for ratio, log in zip(near, logs) if log <= min(logs) + 0.005)
    last = found.ratios[len(GRIDS[kind]) - 2]
    assert last == pytest.approx(best, abs=0.006)
    assert (last < 0.955 * asked) == (loss == "mean")


def test_a_solver_that_wins_alone_is_kept() -> None:
    """Three steps know too few outputs for a ratio of K = 3: the solver is all that was chosen."""
    found = calibrate(
        Mixture(), points("vp", 8), (12.0, 3.0, 0.6, 0.0), schedule=schedule_of("vp"), check=3,
        quality="tournament", dc_order=3,
    )  # fmt: skip
    assert found.solver != "dc_solver" and not found.compensates and not found.moves_steps
    report = found.report
    assert report is not None and report.verdict == "better" and report.gain is not None
    assert found.active and found.gain == report.gain < 0.95
    saved = record(Choice(found, "file"))
    assert saved["quality"] == "tournament" and saved["solver"] == found.solver
    part = replace(found, report=None)
    assert not part.active, "of a part of its steps, or of others, nothing is known"


def test_a_tournaments_gain_is_named_against_the_solver_that_it_was_measured_against() -> None:
    found = RatioSchedule(
        ratios=(1.0, 1.0, 1.1), sigmas=(9.0, 3.0, 1.0, 0.0), solver="ipndm", quality="tournament",
        report=Report(points=2, check_points=2, errors=(1.0, 1.0), errors_plain=(2.0, 2.0),
                      errors_dpmpp_2m=(2.0, 2.0), verdict="better"),
    )  # fmt: skip
    assert "of UniPC" in describe_ratios(found)
    assert "to use it sample with dc_solver" in describe_ratios(found)
    assert "to use it" not in describe_ratios(replace(found, quality="paper"))


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"solver": "ddim"}, "solver: expected dc_solver with quality tournament, got ddim; it"),
        ({"order": 3}, "order: expected 2 with quality tournament"),
        ({"corrector": False}, "corrector: expected None with quality tournament"),
    ],
)
def test_a_tournament_takes_no_solver_of_ones_own(own: dict[str, Any], told: str) -> None:
    """Its result would serve other runs than those that it was compared with."""
    with pytest.raises(ValueError, match=told):
        calibrate(
            Mixture(), points("vp", 4), GRIDS["vp"], schedule=schedule_of("vp"), check=1,
            quality="tournament", **own,
        )  # fmt: skip


def test_a_tournament_that_failed_chose_no_solver_after_an_edit_either() -> None:
    """An edit drops the report."""
    plain = RatioSchedule((1.0,) * 4, quality="tournament", dc_order=1)
    assert not plain.chose_solver and not apply_edits(plain, {3: 1.2}).chose_solver
    assert replace(plain, solver="ipndm").chose_solver


def test_rounded_times_are_in_the_way_of_what_needs_them_alone() -> None:
    """DEIS leaves the tournament, and ratios+ interpolates in half-logSNR."""
    rounded, grid = VPSchedule(lambda sigma: round(10 * math.atan(sigma))), (20, 19, 10, 5, 2, 0)
    for quality in ("ratios+", "tournament"):
        found = calibrate(
            Mixture(), points("vp", 4), grid, schedule=rounded, quality=quality,
            variable="lambda", reference_calls=20,
        )  # fmt: skip
        assert found.solver != "deis_tab" and found.variable == "lambda"


def test_a_solver_that_won_alone_and_failed_is_told_as_what_did_not_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ddim(cell: Cell) -> Found:
        return Found(replace(cell.plain, solver="ddim", order=1, dc_order=2), (1.0,) * 4)

    monkeypatch.setitem(SEARCHES, "tournament", ddim)
    found = calibrate(
        Mixture(), points("vp", 6), GRIDS["vp"][-5:], schedule=schedule_of("vp"), check=3,
        quality="tournament",
    )  # fmt: skip
    assert found.solver == "dc_solver" and not found.active
    assert found.notes == ("the solver that was chosen did not help on the check seeds: the ratios "
                           "stay 1",)  # fmt: skip
    assert "not better than UniPC, so the ratios stay 1\n" in describe_ratios(found)


def test_ratios_that_come_out_at_1_are_told_as_compensation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(SEARCHES, "paper", lambda cell: Found(cell.task.settings, (1.0,) * 4))
    found = calibrate(
        Mixture(), points("vp", 6), GRIDS["vp"][-5:], schedule=schedule_of("vp"), check=3
    )
    assert found.notes == ("compensation did not help on the check seeds: the ratios stay 1",)
