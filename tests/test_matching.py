"""Carrying ratios over to the sigmas of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dc_solver.ratios import Identity, RatioSchedule, Report
from dc_solver.ratios.matching import carry_over
from dc_solver.ratios.text import counted
from dc_solver.solvers import FlowSchedule, LearnedSteps, VPSchedule

SIGMAS = (14.6, 5.0, 2.3, 1.16, 0.57, 0.0)
OWN = (14.6, 6.5, 3.0, 1.4, 0.4, 0.0)
LEARNED = RatioSchedule(
    (1.0,) * 5,
    sigmas=SIGMAS,
    learned=LearnedSteps(OWN),
    identity=Identity(scheduler="simple"),
    report=Report(points=10),
)
FOUND = RatioSchedule((1.0, 1.0, 1.1, 0.9, 1.3), sigmas=SIGMAS, cfg=3.0)


def test_the_same_grid_gets_the_ratios_as_they_are() -> None:
    assert carry_over(FOUND, SIGMAS, VPSchedule()) is FOUND
    near = [sigma * 1.002 for sigma in SIGMAS]
    assert carry_over(FOUND, near, VPSchedule()) is FOUND


def test_a_tail_gets_the_ratios_of_its_own_steps() -> None:
    tail = carry_over(FOUND, SIGMAS[2:], VPSchedule())
    assert tail.ratios == (1.0, 1.0, 1.3), "at its first K steps too few outputs are known"
    assert "1 of 3 steps" in tail.notes[-1]
    head = carry_over(FOUND, SIGMAS[:4], VPSchedule())
    assert head.ratios == (1.0, 1.0, 1.1)
    short = carry_over(FOUND, SIGMAS[3:], VPSchedule())
    assert not short.active and "as plain UniPC" in short.notes[-1]


def test_steps_of_no_such_grid_get_one() -> None:
    mixed = carry_over(FOUND, (14.6, 5.0, 2.3, 1.16, 0.3, 0.0), VPSchedule())
    assert mixed.ratios == (1.0, 1.0, 1.1, 1.0, 1.0) and "1 of 5" in mixed.notes[-1]
    other = carry_over(FOUND, (10.0, 3.0, 1.5, 0.0), VPSchedule())
    assert not other.active and "as plain UniPC" in other.notes[-1]
    assert FOUND.notes == (), "the argument is left as it is"


def test_without_sigmas_the_number_of_steps_decides() -> None:
    bare = RatioSchedule((1.0, 1.0, 1.2))
    assert carry_over(bare, (9.0, 3.0, 1.0, 0.0), VPSchedule()) is bare
    other = carry_over(bare, (9.0, 3.0, 0.0), VPSchedule())
    assert other.ratios == (1.0, 1.0) and "for 3 steps and this run has 2" in other.notes[-1]


def test_flow_grids_match_at_pure_noise() -> None:
    found = RatioSchedule((1.0, 1.2, 1.1), sigmas=(1.0, 0.9, 0.6, 0.0), dc_order=1)
    assert carry_over(found, (1.0, 0.9, 0.6, 0.0), FlowSchedule()) is found
    assert carry_over(found, (0.9, 0.6, 0.0), FlowSchedule()).ratios == (1.0, 1.1)


def test_without_sigmas_a_run_must_start_where_the_ratios_do() -> None:
    """A prediction for N steps is not for the last N steps of a longer schedule."""
    predicted = RatioSchedule((1.0, 1.0, 1.2), start=14.6)
    assert carry_over(predicted, (14.6, 3.0, 1.0, 0.0), VPSchedule()) is predicted
    tail = carry_over(predicted, (5.0, 3.0, 1.0, 0.0), VPSchedule())
    assert not tail.active and "from sigma 14.6, not 5" in tail.notes[-1]


@pytest.mark.parametrize("found", [FOUND, LEARNED])
@pytest.mark.parametrize("sigmas", [(), (1.0,)])
def test_no_steps(sigmas: tuple[float, ...], found: RatioSchedule) -> None:
    assert carry_over(found, sigmas, VPSchedule()).steps == 0


@pytest.mark.parametrize("grid", [SIGMAS, OWN])
def test_learned_steps_are_for_whole_runs_over_either_grid(grid: tuple[float, ...]) -> None:
    assert carry_over(LEARNED, [sigma * 1.01 for sigma in grid], VPSchedule()) is LEARNED


@pytest.mark.parametrize(
    "grid", [SIGMAS[2:], SIGMAS[:4], OWN[1:], (14.6, 5.0, 3.0, 1.16, 0.57, 0.0), (9.0, 0.0)]
)
def test_learned_steps_do_not_serve_a_part_nor_another_grid(grid: tuple[float, ...]) -> None:
    found = carry_over(LEARNED, grid, VPSchedule())
    assert found.learned is None and not found.active and found.report is None
    assert found.sigmas == grid and len(found.ratios) == len(grid) - 1
    steps = counted(len(grid) - 1)
    assert found.notes[-1] == (
        "learned steps hold for whole runs over the schedule they were found on, these for 5 steps "
        f"on simple, and the sigmas of this run of {steps} are others; for image to image use a "
        "calibration of quality paper or ratios+; sampling as plain UniPC"
    )


def karras(steps: int) -> tuple[float, ...]:
    first, last = 14.6 ** (1 / 7), 0.03 ** (1 / 7)
    return (*((first + (last - first) * k / (steps - 1)) ** 7 for k in range(steps)), 0.0)


@pytest.mark.parametrize("steps", [60, 100, 150])
def test_of_close_steps_the_nearest_gives_its_ratio(steps: int) -> None:
    """On a fine grid neighbours are within 5% of each other."""
    fine = karras(steps)
    ratios = tuple(1.0 if k < 2 else 1.0 + 0.001 * k for k in range(steps))
    found = RatioSchedule(ratios, sigmas=fine, cfg=7.0)
    tail = carry_over(found, [1.004 * sigma for sigma in fine[5:]], VPSchedule())
    assert tail.ratios == (1.0, 1.0, *ratios[7:])
    middle = carry_over(found, fine[5:-5], VPSchedule())
    assert middle.ratios == (1.0, 1.0, *ratios[7:-5])
    # No part of it: one step is another's.
    other = carry_over(found, (*fine[5:20], *fine[30:]), VPSchedule())
    assert other.ratios == (1.0, 1.0, *ratios[7:19], 1.0, *ratios[30:])


@pytest.mark.parametrize(
    ("own", "grid"),
    [
        ((14.6, 14.2, 5.0, 2.0, 0.5, 0.0), (14.0, 5.0, 2.3, 1.16, 0.57, 0.0)),
        ((14.6, 14.2, 5.0, 2.0, 0.5, 0.0), (14.0, 13.8, 5.0, 2.0, 0.5, 0.0)),
    ],
)
def test_learned_steps_that_do_not_fit_between_the_ends_run_plain(
    own: tuple[float, ...], grid: tuple[float, ...]
) -> None:
    found = carry_over(replace(LEARNED, learned=LearnedSteps(own)), grid, VPSchedule())
    assert not found.moves_steps and found.sigmas == grid
    assert found.notes[-1] == (
        "the learned steps do not fit between the ends of this run; sampling as plain UniPC"
    )


def test_learned_steps_at_sigmas_that_a_model_lacks_run_plain() -> None:
    steps = LearnedSteps((5.0, 3.0, 0.5, 0.0), (5.0, 3.0, 0.5))
    found = RatioSchedule((1.0,) * 3, sigmas=(5.0, 0.9, 0.5, 0.0), learned=steps)
    over = carry_over(found, (1.0, 0.9, 0.5, 0.0), FlowSchedule())
    assert not over.moves_steps and "do not fit" in over.notes[-1]


def test_the_solver_of_a_tournament_alone_does_not_run_on_other_grids() -> None:
    """It is the best of the grid that it was chosen on; elsewhere it may be far from that."""
    won = replace(FOUND, ratios=(1.0,) * 5, solver="ipndm", order=3, quality="tournament")
    assert carry_over(won, SIGMAS, VPSchedule()) is won
    for sigmas in (SIGMAS[2:], (14.6, 3.0, 1.0, 0.0), SIGMAS[:3]):
        other = carry_over(won, sigmas, VPSchedule())
        assert (other.solver, other.order) == ("dc_solver", 2) and not other.acts
        assert other.notes[-1].endswith("sampling as plain UniPC")
    with_ratios = replace(won, ratios=FOUND.ratios)
    assert carry_over(with_ratios, SIGMAS[2:], VPSchedule()).solver == "ipndm"
