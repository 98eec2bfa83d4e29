"""How fine a reference is, what it says of its own error, and what it is that it is not off by."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dc_solver.demo import emoji
from dc_solver.demo.experiment import Experiment
from dc_solver.ratios import calibrate
from dc_solver.ratios.accuracy import LEVELS, ROUGH, Resolutions, fine_enough, resolutions_for
from dc_solver.ratios.families import plain_course
from dc_solver.ratios.reference import reference_sigmas
from dc_solver.ratios.runs import Runs, Sketch
from dc_solver.ratios.trajectory import Trajectory
from dc_solver.solvers import sample
from dc_solver.solvers.step import Settings
from problems import Mixture, point_model, schedule_of

GRID = (12.0, 6.0, 3.0, 1.4, 0.6, 0.0)


def points(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return GRID[0] * torch.randn(count, 24, generator=generator, dtype=torch.float64)


def runs_of(model: Any, x: torch.Tensor) -> Runs:
    sketch = Sketch(x[0].numel())
    return Runs(point_model(model, len(x)), x, sketch(x), sketch)


@pytest.mark.parametrize(("share", "levels"), [(0.5, 1), (1e-9, len(LEVELS))])
def test_the_reference_is_as_fine_as_it_has_to_be(share: float, levels: int) -> None:
    x, schedule, asked = points(6), schedule_of("vp"), []

    def make(calls: int, count: int | None) -> Trajectory:
        here = x if count is None else x[:count]
        asked.append((calls, len(here)))
        return Trajectory(point_model(Mixture(), len(here)), here, GRID, schedule, calls)

    course = plain_course(GRID, schedule, Settings())
    student = runs_of(Mixture(), x[:4]).run(course).final
    found = fine_enough(make, student, share, Resolutions(ROUGH, LEVELS))
    trajectory, estimate = found.trajectory, found.share(student)
    assert asked == [(ROUGH, 4), *((calls, 6) for calls in LEVELS[:levels])]
    assert (estimate <= share) == (levels == 1)
    # What it says of its own error is no less than half of what that is.
    truth = make(400, None).final
    off = (trajectory.final - truth).square().mean(dim=1).log().mean().exp()
    error = (student - truth[:4]).square().mean(dim=1).log().mean().exp()
    assert float(off / error) <= 2.0 * estimate


@pytest.mark.parametrize("steps", [5, 10, 20])
@pytest.mark.parametrize("scheduler", ["simple", "beta"])
def test_a_student_of_many_steps_does_not_pass_for_a_reference(scheduler: str, steps: int) -> None:
    """All pass through its sigmas, so a reference of hardly more calls agrees with it and with one
    of a few less."""
    model = emoji.load("eps")
    sigmas = Experiment(model, 7.5, scheduler).sigmas(steps).tolist()
    data, schedule = emoji.points(range(4)), model.schedule
    x = model.start(data.noise, sigmas[0])

    def guided(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return model.denoiser(7.5)(x, sigma, condition=data.conditions[: len(x)])

    def make(calls: int, count: int | None) -> Trajectory:
        return Trajectory(point_model(guided, 4), x, sigmas, schedule, calls)

    resolutions = resolutions_for(
        lambda calls: len(reference_sigmas(sigmas, schedule, calls)[0]) - 1, steps
    )
    student = runs_of(guided, x).run(plain_course(sigmas, schedule, Settings())).final
    found = fine_enough(make, student, 1.0, resolutions)
    truth = make(200, None).final
    off = (found.trajectory.final - truth).square().flatten(1).mean(dim=1).log().mean().exp()
    error = (student - truth).square().flatten(1).mean(dim=1).log().mean().exp()
    assert float(off / error) < 0.1
    assert found.trajectory.calls >= 5.6 * steps
    if steps == 5:
        assert (resolutions.rough, resolutions.levels[0]) == (ROUGH, LEVELS[0])


@pytest.mark.parametrize("steps", [90, 150, 300])
def test_a_reference_of_a_long_run_is_finer_than_what_it_is_compared_with(steps: int) -> None:
    rough, levels = resolutions_for(lambda calls: calls + steps, steps)  # one more an interval
    assert levels[0] + steps >= 1.25 * (rough + steps)
    assert levels == [math.ceil(5.6 * steps)], "and there is no end to what a finer one would take"


def test_a_grid_of_so_many_intervals_that_no_level_tells_them_apart_has_one() -> None:
    rough, levels = resolutions_for(lambda calls: calls + 12_000, 200)
    assert len(levels) == 1 and levels[0] >= 1.25 * (rough + 12_000)


@pytest.mark.parametrize(("cfg", "steps"), [(1.5, 8), (3.0, 8), (1.5, 10)])
def test_what_is_gained_by_the_reference_is_gained_by_the_truth(cfg: float, steps: int) -> None:
    """A reference of three times the student's steps shares some of its error: ratios then fit that
    (flow, CFG 1.5, beta, 8 steps: 0.70 by such a one, 0.87 by the truth)."""
    model = emoji.load("flow")
    sigmas = Experiment(model, cfg, "beta").sigmas(steps)
    data = emoji.points(range(10))
    x = model.start(data.noise, float(sigmas[0]))
    usual: dict[str, Any] = {"schedule": model.schedule}
    found = calibrate(
        model.denoiser(cfg), x, sigmas, check=4, **usual,
        extra_args=lambda at: {"condition": data.conditions[at]},
    ).report  # fmt: skip
    assert found is not None and found.gain is not None
    usual |= {"extra_args": {"condition": data.conditions[6:]}, "disable": True}

    def final(sigmas: Any, **options: Any) -> torch.Tensor:
        return sample(model.denoiser(cfg), x[6:], sigmas, **usual, **options).double()

    fine, _ = reference_sigmas(sigmas.tolist(), model.schedule, 200)
    truth = final(fine, solver="unipc", order=3)
    plain, mended = (
        (state - truth).square().flatten(1).mean(dim=1).log().mean()
        for state in (final(sigmas), final(sigmas, ratios=found.found))
    )
    assert found.gain == pytest.approx(float((mended - plain).exp()), rel=0.05)
