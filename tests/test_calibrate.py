"""Calibration: its reference, its result, what it costs, and what it leaves alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from dc_solver.ratios import RatioSchedule, References, calibrate, calibrate_grid
from dc_solver.ratios.reference import reference_sigmas
from dc_solver.ratios.trajectory import Trajectory
from dc_solver.solvers import Schedule, VPSchedule, sample
from problems import Counted, Gaussian, Mixture, point_model, schedule_of

GRIDS = {
    "vp": [12.0, 6.0, 3.0, 1.4, 0.6, 0.0],
    "flow": [1.0, 0.9, 0.75, 0.55, 0.3, 0.0],
}
KINDS = ("vp", "flow")


def points(kind: str, count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = GRIDS[kind][0]
    return scale * torch.randn(count, *(shape or (24,)), generator=generator, dtype=torch.float64)


def total(result: RatioSchedule) -> int:
    assert result.report is not None
    return sum(result.report.calls.values())


# The reference


def states_on(
    model: Any, x: torch.Tensor, sigmas: Sequence[float], schedule: Schedule, calls: int
) -> dict[float, torch.Tensor]:
    trajectory = Trajectory(point_model(model, len(x)), x, sigmas, schedule, calls)
    return {sigma: trajectory.state(sigma) for sigma in sigmas}


@pytest.mark.parametrize("calls", [64, 128, 256])
@pytest.mark.parametrize("end", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_reference_states_lie_on_the_exact_solution(kind: str, end: float, calls: int) -> None:
    """At the end too, where more calls in the intervals before must do no harm."""
    sigmas = [*GRIDS[kind][:-1], end]
    problem, x = Gaussian(kind), points(kind, 3)
    states = states_on(problem, x, sigmas, schedule_of(kind), calls)
    assert list(states) == sigmas
    errors = [
        float((states[sigma] - problem.exact(x, sigmas[0], sigma)).abs().max()) for sigma in sigmas
    ]
    assert max(errors[:-1]) < 1e-4
    assert errors[-1] < 3e-3


@pytest.mark.parametrize("kind", KINDS)
def test_reference_error_falls_with_its_calls(kind: str) -> None:
    problem = Gaussian(kind)
    sigmas = [*GRIDS[kind][1:-1], 0.1]
    start = problem.exact(points(kind, 3), GRIDS[kind][0], sigmas[0])
    errors = []
    for calls in (40, 80, 160):
        states = states_on(problem, start, sigmas, schedule_of(kind), calls)
        exact = problem.exact(start, sigmas[0], sigmas[-1])
        errors.append(float((states[sigmas[-1]] - exact).abs().max()))
    assert errors[1] < errors[0] / 3 and errors[2] < errors[1] / 3


@pytest.mark.parametrize("kind", KINDS)
def test_reference_grid_passes_through_the_students_times(kind: str) -> None:
    sigmas = GRIDS[kind]
    fine, places = reference_sigmas(sigmas, schedule_of(kind), 64)
    assert [fine[place] for place in places] == sigmas
    assert all(a > b for a, b in itertools.pairwise(fine))
    assert abs(len(fine) - 1 - 64) <= 4


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_sigmas_and_trailing_zeros_keep_the_reference_fine(kind: str) -> None:
    sigmas = GRIDS[kind]
    x = points(kind, 2)
    plain = calibrate(Mixture(kind), x, sigmas, schedule=schedule_of(kind))
    assert plain.report is not None
    for odd in (
        [*sigmas[:3], sigmas[2], *sigmas[3:]],
        [*sigmas, 0.0],
        [sigmas[0], *sigmas],
    ):
        result = calibrate(Mixture(kind), x, odd, schedule=schedule_of(kind))
        assert result.report is not None
        assert abs(result.report.reference_calls - plain.report.reference_calls) <= 4
        assert torch.tensor(result.report.losses).isfinite().all()


@pytest.mark.parametrize("guard", ["check", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_model_is_called_at_sigma_0(kind: str, guard: str) -> None:
    """Where steps follow the first 0, as in a run over the same grid."""
    model = Gaussian(kind)
    found = calibrate(model, points(kind, 4), [*GRIDS[kind], 0.0, 0.0], schedule=schedule_of(kind),
                      check=1, guard=guard)  # fmt: skip
    assert 0.0 not in model.called_at and len(found.ratios) == 7
    short = calibrate(Gaussian(kind), points(kind, 4), GRIDS[kind], schedule=schedule_of(kind),
                      check=1, guard=guard)  # fmt: skip
    assert found.ratios == (*short.ratios, 1.0, 1.0) and total(found) == total(short)


def test_a_grid_that_ends_in_repeats_can_be_calibrated() -> None:
    sigmas = [*GRIDS["vp"][:-1], 0.6, 0.6]
    result = calibrate(Mixture(), points("vp", 2), sigmas, schedule=schedule_of("vp"))
    assert len(result.ratios) == 6


# The result


def final_error(kind: str, x: torch.Tensor, ratios: Any, truth: torch.Tensor) -> float:
    final = sample(
        Mixture(kind), x, GRIDS[kind], schedule=schedule_of(kind), ratios=ratios, disable=True
    )
    return float((final - truth).square().mean())


@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("kind", KINDS)
def test_calibrated_ratios_reduce_the_error(kind: str, variable: str, dc_order: int) -> None:
    """On the search points and on fresh ones, against a reference of its own."""
    schedule = schedule_of(kind)
    result = calibrate(
        Mixture(kind),
        points(kind, 8),
        GRIDS[kind],
        schedule=schedule,
        variable=variable,
        dc_order=dc_order,
        loss="mean",
    )
    first, last = GRIDS[kind][0], 1e-3
    top = schedule.half_logsnr(first if kind == "vp" else 1.0 - 1e-4)
    bottom = schedule.half_logsnr(last)
    fine = [schedule.sigma_at(top + (bottom - top) * k / 600) for k in range(601)]
    for seed in (0, 1):
        x = points(kind, 8, seed=seed)
        truth = sample(
            Mixture(kind), x, [*fine, 0.0], schedule=schedule, solver="unipc", disable=True
        )
        plain = final_error(kind, x, None, truth)
        assert final_error(kind, x, result, truth) < 0.9 * plain
    assert result.ratios[:dc_order] == (1.0,) * dc_order
    assert (result.variable, result.dc_order) == (variable, dc_order)
    assert result.sigmas == tuple(GRIDS[kind])
    assert result.steps == 5
    assert result.origin == "calibrated"


@pytest.mark.parametrize("kind", KINDS)
def test_report_losses_fall_and_match_the_final_error(kind: str) -> None:
    x = points(kind, 6)
    result = calibrate(Mixture(kind), x, GRIDS[kind], schedule=schedule_of(kind), loss="mean",
                       reference_calls=64)  # fmt: skip
    report = result.report
    assert report is not None
    assert len(report.losses) == len(report.losses_plain) == 5
    assert all(a <= b for a, b in zip(report.losses, report.losses_plain))
    assert report.found == result.ratios
    states = states_on(Mixture(kind), x, GRIDS[kind], schedule_of(kind), 64)
    error = final_error(kind, x, result, states[0.0])
    assert report.losses[-1] == pytest.approx(error, rel=1e-9)


def test_settings_cfg_and_identity_are_kept() -> None:
    result = calibrate(
        Mixture(),
        points("vp", 3, 2, 5),
        GRIDS["vp"],
        schedule=schedule_of("vp"),
        order=3,
        variant="bh1",
        lower_order="final",
        first_corrector=False,
        cfg=4.5,
        fingerprint="abc",
        seeds=(1, 2, 3),
    )
    assert (result.order, result.variant, result.lower_order) == (3, "bh1", "final")
    assert (result.first_corrector, result.cfg, result.solver) == (False, 4.5, "dc_solver")
    assert result.identity.fingerprint == "abc"
    assert result.identity.seeds == (1, 2, 3)
    assert result.identity.latent_shape == (2, 5)


def test_the_same_inputs_give_the_same_ratios() -> None:
    for kind in KINDS:
        runs = [
            calibrate(Mixture(kind), points(kind, 4), GRIDS[kind], schedule=schedule_of(kind))
            for _ in range(2)
        ]
        assert runs[0] == runs[1]


def test_inference_mode_gives_the_same_ratios() -> None:
    def once() -> RatioSchedule:
        return calibrate(
            Mixture(), points("vp", 5), GRIDS["vp"], schedule=schedule_of("vp"), check=2
        )

    with torch.inference_mode():
        inside = once()
    assert inside == once()


def test_no_gradient_is_asked_for() -> None:
    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        assert not x.requires_grad
        return Mixture()(x, sigma)

    x = points("vp", 2).requires_grad_()
    calibrate(model, x, GRIDS["vp"], schedule=schedule_of("vp"))
    assert x.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_lower_precision_finds_nearly_the_same(dtype: torch.dtype) -> None:
    """The search runs in float32 or better whatever the model takes."""
    x = points("vp", 4)
    seen = set()

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.add(x.dtype)
        return Mixture()(x, sigma)

    exact = calibrate(Mixture(), x, GRIDS["vp"], schedule=schedule_of("vp"))
    result = calibrate(model, x.to(dtype), GRIDS["vp"], schedule=schedule_of("vp"))
    assert seen == {dtype}
    assert result.ratios == pytest.approx(exact.ratios, abs=0.05)


# Costs


@pytest.mark.parametrize("chunk", [1, 3, None])
@pytest.mark.parametrize("check", [0, 2])
@pytest.mark.parametrize("calls", [64, None])
@pytest.mark.parametrize("kind", KINDS)
def test_reported_calls_are_those_made(
    kind: str, calls: int | None, check: int, chunk: int | None
) -> None:
    model = Counted(Mixture(kind))
    result = calibrate(
        model, points(kind, 7), GRIDS[kind], schedule=schedule_of(kind), check=check, chunk=chunk,
        reference_calls=calls,
    )  # fmt: skip
    assert total(result) == model.points
    report = result.report
    assert report is not None
    assert (report.points, report.check_points) == (7 - check, check)
    assert report.check_calls == (15 if check else 0)
    if calls is not None:
        assert abs(report.reference_calls - calls) <= 5
    assert report.calls_per_point == model.points / (7 - check)


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_change_nothing(kind: str) -> None:
    results = [
        calibrate(
            Mixture(kind),
            points(kind, 5),
            GRIDS[kind],
            schedule=schedule_of(kind),
            check=1,
            chunk=chunk,
        )
        for chunk in (None, 1, 3)
    ]
    assert results[0].active
    for result in results[1:]:
        assert result.ratios == pytest.approx(results[0].ratios, abs=1e-6)


@pytest.mark.parametrize("calls", [64, None])
@pytest.mark.parametrize(("check", "chunk"), [(0, None), (2, 3)])
def test_progress_rises_to_the_total(check: int, chunk: int | None, calls: int | None) -> None:
    told: list[tuple[int, int]] = []
    model = Counted(Mixture())
    calibrate(
        model,
        points("vp", 6),
        GRIDS["vp"],
        schedule=schedule_of("vp"),
        check=check,
        chunk=chunk,
        reference_calls=calls,
        progress=lambda done, whole: told.append((done, whole)),
    )
    done = [a for a, _ in told]
    whole = {b for _, b in told}
    assert done == sorted(done)
    assert len(whole) == 1 or calls is None  # a finer reference is more work than was foreseen
    assert told[-1] == (max(whole), max(whole))
    assert len(told) >= model.calls
    assert model.points <= max(whole)


# Interrupts


class Stopped(Exception):
    pass


def test_interrupt_comes_before_every_call_and_stops_by_raising() -> None:
    model = Counted(Mixture())
    asked: list[int] = []
    x = points("vp", 4)
    how: dict[str, Any] = {
        "schedule": schedule_of("vp"), "check": 1, "chunk": 2, "reference_calls": 64,
    }  # fmt: skip
    calibrate(model, x, GRIDS["vp"], interrupt=lambda: asked.append(model.calls), **how)
    assert asked == list(range(model.calls))

    for limit in (0, 5, 140, model.calls - 1):
        stopping = Counted(Mixture())

        def interrupt(limit: int = limit, stopping: Counted = stopping) -> None:
            if stopping.calls == limit:
                raise Stopped

        before, version = x.clone(), x._version
        with pytest.raises(Stopped):
            calibrate(stopping, x, GRIDS["vp"], interrupt=interrupt, **how)
        assert stopping.calls == limit
        assert torch.equal(x, before) and x._version == version


# Conditions of each point


CONSTANT = 3  # the channel that carries a point's number


def numbered(count: int) -> torch.Tensor:
    x = points("vp", count, 4, 5)
    x[:, CONSTANT] = torch.arange(count, dtype=x.dtype).view(-1, 1)
    return x


def checked_model(x: torch.Tensor, sigma: torch.Tensor, *, ids: torch.Tensor) -> torch.Tensor:
    """A channel whose output is its input never moves, so it tells which point this is."""
    assert len(ids) == len(x)
    assert torch.equal(x[:, CONSTANT].round(), ids.to(x.dtype).view(-1, 1).expand(-1, 5))
    denoised = Mixture()(x, sigma) * (1.0 + 0.05 * ids.view(-1, 1, 1))
    denoised[:, CONSTANT] = x[:, CONSTANT]
    return denoised


@pytest.mark.parametrize("chunk", [1, 2, 3, None])
def test_each_point_meets_its_own_condition(chunk: int | None) -> None:
    slices: list[slice] = []

    def extra(which: slice) -> Mapping[str, Any]:
        slices.append(which)
        return {"ids": torch.arange(7)[which]}

    result = calibrate(
        checked_model,
        numbered(7),
        GRIDS["vp"],
        schedule=schedule_of("vp"),
        check=2,
        extra_args=extra,
        chunk=chunk,
    )
    assert total(result) == sum(s.stop - s.start for s in slices)
    assert all(s.stop - s.start <= (chunk or 7) for s in slices)
    assert {i for s in slices for i in range(7)[s]} == set(range(7))


def test_a_fixed_dict_goes_to_every_call() -> None:
    def model(x: torch.Tensor, sigma: torch.Tensor, *, mean: float) -> torch.Tensor:
        return Gaussian(mean=mean)(x, sigma)

    given = {"mean": 0.2}
    result = calibrate(
        model, points("vp", 3), GRIDS["vp"], schedule=schedule_of("vp"), extra_args=given
    )
    expected = calibrate(
        Gaussian(mean=0.2), points("vp", 3), GRIDS["vp"], schedule=schedule_of("vp")
    )
    assert result.ratios == expected.ratios
    assert given == {"mean": 0.2}


# Models that break


@pytest.mark.parametrize("check", [0, 1])
def test_a_broken_model_is_named(check: int) -> None:
    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, float("nan")) if float(sigma[0]) < 1.0 else Mixture()(x, sigma)

    with pytest.raises(ValueError, match=r"model: expected finite outputs, got NaN"):
        calibrate(model, points("vp", 4), GRIDS["vp"], schedule=schedule_of("vp"), check=check)


# Grids


@pytest.mark.parametrize("kind", KINDS)
def test_calibrate_grid_shares_references(kind: str) -> None:
    """One reference a guidance scale, counted once, and nearly the ratios of calibrate."""
    schedule, x = schedule_of(kind), points(kind, 4)
    grids = [GRIDS[kind], [GRIDS[kind][0], *GRIDS[kind][2:]]]
    models: dict[float, Counted] = {}

    def at(cfg: float) -> Counted:
        models[cfg] = Counted(Mixture(kind, means=(-1.0 * cfg, 0.5 * cfg)))
        return models[cfg]

    told: list[tuple[int, int]] = []
    results = calibrate_grid(
        at,
        x,
        schedule=schedule,
        grids=grids,
        cfgs=[1.0, 2.0],
        check=1,
        reference_calls=120,
        progress=lambda done, whole: told.append((done, whole)),
    )
    assert [(r.cfg, r.steps) for r in results] == [(1.0, 5), (1.0, 4), (2.0, 5), (2.0, 4)]
    assert told[-1][0] == told[-1][1]
    assert [a for a, _ in told] == sorted(a for a, _ in told)
    for cfg in (1.0, 2.0):
        mine = [result for result in results if result.cfg == cfg]
        assert sum(total(result) for result in mine) == models[cfg].points
        references = [r.report.reference_calls for r in mine if r.report is not None]
        assert references[0] > 100 and references[1] == 0
    for result, (cfg, grid) in zip(results, itertools.product((1.0, 2.0), grids)):
        assert result.sigmas == tuple(grid)
        alone = calibrate(
            Mixture(kind, means=(-1.0 * cfg, 0.5 * cfg)),
            x,
            grid,
            schedule=schedule,
            check=1,
            reference_calls=120,
        )
        assert result.report is not None and alone.report is not None
        assert result.report.found == pytest.approx(alone.report.found, abs=0.03)


def test_calibrate_grid_makes_each_model_once() -> None:
    made: list[float] = []

    def at(cfg: float) -> Mixture:
        made.append(cfg)
        return Mixture()

    calibrate_grid(
        at,
        points("vp", 2),
        schedule=VPSchedule(),
        variable="lambda",
        grids=[GRIDS["vp"]],
        cfgs=[1.0, 3.0],
        reference_calls=20,
    )
    assert made == [1.0, 3.0]


def test_nothing_of_the_callers_is_written_to() -> None:
    x, sigmas = points("vp", 4), torch.tensor(GRIDS["vp"])
    before = [(tensor.clone(), tensor._version) for tensor in (x, sigmas)]
    calibrate(Mixture(), x, sigmas, schedule=schedule_of("vp"), check=1)
    for tensor, (value, version) in zip((x, sigmas), before):
        assert torch.equal(tensor, value)
        assert tensor._version == version


def test_what_a_comparison_is_shown_is_its_own() -> None:
    """Whoever draws over it does not draw over the reference of the next calibration."""
    references = References()

    def run(finals: Any = None) -> RatioSchedule:
        return calibrate(
            Mixture(), points("vp", 6), GRIDS["vp"], schedule=schedule_of("vp"), check=2, cfg=3.0,
            references=references, model_key="model", finals=finals,
        )  # fmt: skip

    first = run(lambda finals: finals.reference.mul_(5.0))
    again = run()
    assert first.report is not None and again.report is not None
    assert again.report.errors == first.report.errors
