"""Learned steps: what they are, and that a run of them is the run that they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from dc_solver.ratios import RatioSchedule, fit_cpr, settings_of
from dc_solver.ratios.edits import apply_edits
from dc_solver.solvers import SOLVERS, Langevin, LearnedSteps, RunReport, sample
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.learned import learned_plan, plan_rows, rows_plan
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.run import run_plan
from dc_solver.solvers.step import Settings
from problems import Gaussian, Mixture, schedule_of

HOST = {
    "vp": (12.0, 6.0, 3.1, 1.4, 0.6, 0.2, 0.0),
    "flow": (1.0, 0.9, 0.78, 0.6, 0.4, 0.15, 0.0),
}
OWN = {
    "vp": (12.0, 7.0, 4.0, 2.1, 0.9, 0.3, 0.0),
    "flow": (1.0, 0.93, 0.85, 0.7, 0.52, 0.25, 0.0),
}
RATIOS = (1.0, 1.0, 0.8, 1.2, 0.9, 1.4)
KINDS = ("vp", "flow")
MULTISTEP = [entry.name for entry in SOLVERS.values() if entry.kind == "multistep"]
FIXED = [entry.name for entry in SOLVERS.values() if entry.kind != "adaptive"]


def start(kind: str, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    noise = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (noise * HOST[kind][0]).to(dtype)


def run(kind: str, model: Any, ratios: Any, x: torch.Tensor | None = None, **how: Any) -> Any:
    x = start(kind) if x is None else x
    sigmas = how.pop("sigmas", HOST[kind])
    return sample(model, x, sigmas, schedule=schedule_of(kind), ratios=ratios, disable=True, **how)


def learned(kind: str, *parts: Any, ratios: Sequence[float] = RATIOS, **how: Any) -> RatioSchedule:
    steps = LearnedSteps(OWN[kind], *parts)
    return RatioSchedule(tuple(ratios), sigmas=HOST[kind], learned=steps, quality="full", **how)


def rows(
    kind: str, sigmas: Sequence[float], settings: Settings, ratios: Sequence[float] | None = None
) -> torch.Tensor:
    schedule = schedule_of(kind)
    plan = make_plan(make_grid(sigmas, schedule), schedule, settings, ratios)
    return plan_rows(plan, len(sigmas) - 1)


def changes_between(kind: str, solver: str, other: str) -> tuple[tuple[float, ...], ...]:
    """What turns the weights of one solver over the learned sigmas into those of another."""
    mine, theirs = (rows(kind, OWN[kind], Settings(name)) for name in (solver, other))
    return tuple(map(tuple, (theirs - mine)[1:, 1:].tolist()))


def shifted(sigmas: Sequence[float], factor: float) -> tuple[float, ...]:
    """Input times beside those sigmas, the first in its place."""
    return (sigmas[0], *(factor * sigma for sigma in sigmas[1:-1]))


# Rows


@pytest.mark.parametrize("end", [0.0, 0.1])
@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_the_rows_of_a_plan_are_its_states(kind: str, name: str, end: float) -> None:
    """The state at each call, and the last, from the start and the outputs that there were."""
    schedule, sigmas, x = schedule_of(kind), (*OWN[kind][:-1], end), start(kind)
    ratios = RATIOS if SOLVERS[name].compensates else None
    settings = Settings(name, dc_order=2 if ratios else None)
    plan = make_plan(make_grid(sigmas, schedule), schedule, settings, ratios)
    states: list[torch.Tensor] = []
    known = [x]

    def model(state: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        states.append(state)
        known.append(Mixture(kind)(state, sigma))
        return known[-1]

    states.append(run_plan(plan, model, x))
    found = plan_rows(plan, 6)
    assert found.dtype == torch.float64 and found.shape == (7, 7)
    assert torch.equal(found[0], torch.eye(7, dtype=torch.float64)[0])
    assert torch.equal(found, found.tril())
    for row, state in zip(found, states):
        expected = sum(weight * part for weight, part in zip(row.tolist(), known))
        assert torch.allclose(state, expected, atol=1e-10, rtol=1e-10)
    again = rows_plan(found, sigmas, [step.sigma for step in plan])
    assert torch.equal(plan_rows(again, 6), found)
    assert torch.allclose(run_plan(again, Mixture(kind), x), states[-1], atol=1e-10, rtol=1e-10)


def test_rows_of_a_plan_that_ends_early_are_its_final_state() -> None:
    found = rows("vp", (9.0, 3.0, 0.0, 0.0), Settings("ddim"))
    assert torch.equal(found[2], found[3]) and found[3].tolist() == [0.0, 0.0, 1.0, 0.0]


# Runs


@pytest.mark.parametrize("name", [name for name in MULTISTEP if SOLVERS[name].compensates])
@pytest.mark.parametrize("kind", KINDS)
def test_sigmas_of_another_grid_are_a_run_over_it(kind: str, name: str) -> None:
    """Of every solver, with its ratios."""
    how: dict[str, Any] = {"solver": name, "dc_order": 1, "lower_order": "final"}
    found = run(kind, Mixture(kind), learned(kind, **how))
    plain = RatioSchedule(RATIOS, **how)
    expected = run(kind, Mixture(kind), plain, sigmas=OWN[kind])
    assert torch.allclose(found, expected, atol=1e-12, rtol=1e-12)
    zeros = ((0.0,) * 6,) * 6
    same = run(kind, Mixture(kind), learned(kind, (), zeros, **how))
    assert torch.allclose(same, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("solver", "other"),
    [("dc_solver", "dpmpp_2m"), ("dpmpp_2m", "unipc"), ("ddim", "dpmpp_3m")],
)
@pytest.mark.parametrize("kind", KINDS)
def test_changes_turn_one_solver_into_another(kind: str, solver: str, other: str) -> None:
    changes = changes_between(kind, "unipc" if solver == "dc_solver" else solver, other)
    how = {"solver": solver, "ratios": (1.0,) * 6}
    found = run(kind, Mixture(kind), learned(kind, (), changes, **how))
    expected = run(kind, Mixture(kind), None, solver=other, sigmas=OWN[kind])
    assert torch.allclose(found, expected, atol=1e-11, rtol=1e-11)
    assert not torch.allclose(found, run(kind, Mixture(kind), learned(kind, **how)), atol=1e-4)


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_told_the_inputs_at_one_call_a_step(kind: str, changed: bool) -> None:
    changes = changes_between(kind, "unipc", "dpmpp_2m") if changed else None
    inputs = shifted(OWN[kind], 0.97)
    model, reports = Gaussian(kind), list[RunReport]()
    infos: list[dict[str, Any]] = []
    given: list[torch.Tensor] = []

    def watched(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        given.append(x.clone())
        return model(x, sigma)

    run(kind, watched, learned(kind, inputs, changes, ratios=(1.0,) * 6, corrector=False),
        report=reports.append, callback=infos.append)  # fmt: skip
    assert model.called_at == list(inputs) and reports == [RunReport(6)]
    assert [info["i"] for info in infos] == list(range(6))
    assert [float(info["sigma"]) for info in infos] == list(inputs)
    for info, x in zip(infos, given):
        assert torch.equal(info["x"], x)
        at = torch.full((3,), float(info["sigma"]), dtype=torch.float64)
        assert torch.equal(info["denoised"], Gaussian(kind)(x, at))


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_apart_from_its_sigma_gives_the_update_of_its_own_output(kind: str) -> None:
    """One step of DDIM on Gaussian data, by hand."""
    (first, last), told = ((3.0, 1.0), 2.6) if kind == "vp" else ((0.8, 0.4), 0.75)
    steps = LearnedSteps((first, last), (told,))
    how = RatioSchedule((1.0,), sigmas=(first, last), learned=steps, solver="ddim")
    x = start(kind)
    found = run(kind, Gaussian(kind), how, x, sigmas=(first, last))
    output = Gaussian(kind)(x, torch.full((3,), told, dtype=torch.float64))
    signals = (1.0, 1.0) if kind == "vp" else (1.0 - first, 1.0 - last)
    noise = (x - signals[0] * output) / first
    assert torch.allclose(found, signals[1] * output + last * noise, atol=1e-12)


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_as_good_as_it_can_be_and_the_arguments_stay(kind: str, changed: bool) -> None:
    """Of a flow, from pure noise on, where the half-logSNR is infinite."""
    changes = changes_between(kind, "unipc", "dpmpp_2m") if changed else None
    schedule = learned(kind, shifted(OWN[kind], 0.97), changes)
    exact = run(kind, Mixture(kind), schedule)
    x, sigmas = start(kind, torch.float32), torch.tensor(HOST[kind], dtype=torch.float32)
    before = x.clone(), sigmas.clone()
    found = run(kind, Mixture(kind), schedule, x, sigmas=sigmas)
    assert found.dtype == torch.float32 and found.isfinite().all()
    assert torch.allclose(found.double(), exact, atol=1e-4)
    assert torch.equal(x, before[0]) and torch.equal(sigmas, before[1])
    half = run(kind, Mixture(kind), schedule, x.half())
    assert half.dtype == torch.float16 and half.isfinite().all()


def test_a_constant_output_stays_one_under_changes() -> None:
    changes = [[0.0] * 6 for _ in range(6)]
    for i in range(1, 6):
        changes[i][i], changes[i][i - 1] = -0.4, 0.4
    schedule = learned("vp", (), changes)
    constant = lambda x, sigma: torch.full_like(x, 0.3)  # noqa: E731
    assert torch.allclose(run("vp", constant, schedule), torch.full((3, 8), 0.3).double())


def test_the_ends_are_the_runs_own() -> None:
    """A host's float32, or a refiner's end a little off, is stepped exactly."""
    near = (12.2, *HOST["vp"][1:-1], 0.0)
    model = Gaussian()
    found = run("vp", model, learned("vp"), sigmas=near)
    assert model.called_at == [12.2, *OWN["vp"][1:-1]]
    expected = run("vp", Gaussian(), RatioSchedule(RATIOS), sigmas=(12.2, *OWN["vp"][1:]))
    assert torch.allclose(found, expected, atol=1e-12)
    told = Gaussian()
    run("vp", told, learned("vp", (11.0, *OWN["vp"][1:-1])), sigmas=near)
    assert told.called_at[0] == 11.0, "an input of its own stays"


@pytest.mark.parametrize(
    "sigmas",
    [
        HOST["vp"][1:], HOST["vp"][:-1], (*HOST["vp"], 0.0), (12.0,), (),
        (13.0, *HOST["vp"][1:]), (*HOST["vp"][:-1], 0.01), (*HOST["vp"][:-2], 0.1, 0.05),
    ],
)  # fmt: skip
def test_another_run_is_refused_with_the_grid_that_was_expected(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected a run of 6 steps from sigma 12 to 0"):
        run("vp", Gaussian(), learned("vp"), sigmas=sigmas)


def test_pure_noise_is_no_other_sigma() -> None:
    with pytest.raises(ValueError, match=r"expected a run of 6 steps from sigma 1 to 0, .* 0.999"):
        run("flow", Gaussian("flow"), learned("flow"), sigmas=(0.999, *HOST["flow"][1:]))


def test_sigmas_that_a_schedule_lacks_are_refused() -> None:
    told = LearnedSteps((1.2, 0.5, 0.0))
    with pytest.raises(ValueError, match="from 0 to 1 for a flow"):
        learned_plan(told, schedule_of("flow"), Settings())


def test_langevin_steps_go_with_no_learned_ones() -> None:
    with pytest.raises(ValueError, match="langevin: expected no ratios"):
        run("vp", Gaussian(), learned("vp", ratios=(1.0,) * 6), langevin=Langevin())


def test_ratios_of_another_make_need_nothing_learned() -> None:
    bare = SimpleNamespace(ratios=RATIOS, **settings_of(RatioSchedule(())))
    expected = run("vp", Mixture(), RATIOS)
    assert torch.equal(run("vp", Mixture(), bare), expected)
    bare.learned = None
    assert torch.equal(run("vp", Mixture(), bare), expected)
    bare.learned = LearnedSteps(OWN["vp"])
    assert torch.equal(run("vp", Mixture(), bare), run("vp", Mixture(), learned("vp")))


# What they are


def test_numbers_are_kept_as_floats_and_the_inputs_are_the_sigmas() -> None:
    found = LearnedSteps(torch.tensor([4, 2, 0]), changes=[[0, 0], [1, -1]])  # type: ignore[arg-type]
    assert found == LearnedSteps((4.0, 2.0, 0.0), (4.0, 2.0), ((0.0, 0.0), (1.0, -1.0)))
    assert found.steps == 2 and hash(found) == hash(replace(found))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (((4.0,),), "sigmas: expected two or more, got 1"),
        (((4.0, 4.0, 0.0),), "sigmas: expected falling numbers"),
        (((4.0, 2.0, -1.0),), "sigmas: expected falling numbers"),
        (((4.0, math.nan, 0.0),), "sigmas: expected finite"),
        (((math.inf, 2.0, 0.0),), "sigmas: expected finite"),
        (((4.0, 2.0, 0.0), (4.0,)), "inputs: expected 2, one for each of the 2 steps, got 1"),
        (((4.0, 2.0, 0.0), (4.0, 0.0)), "inputs: expected sigmas above 0, got 4 0"),
        (((4.0, 2.0, 0.0), (4.1, 2.0)), "inputs: expected sigmas up to the first .*, 4, got 4.1 2"),
        (((4.0, 2.0, 0.0), (4.0, math.inf)), "inputs: expected finite"),
        (((4.0, 2.0, 0.0), (), ((0.0, 0.0),)), "changes: expected 2 rows of 2, got 1 of "),
        (((4.0, 2.0, 0.0), (), ((0.0,), (0.0, 0.0))), r"2 rows of 2, got 2 of \[1, 2\]"),
        (((4.0, 2.0, 0.0), (), ((0.1, -0.1), (0.0, 0.0))), "0 after the first 1 of row 0"),
        (((4.0, 2.0, 0.0), (), ((0.0, 0.0), (0.1, 0.0))), "sum to 0, got 0.1 for row 1"),
        (((4.0, 2.0, 0.0), (), ((0.0, 0.0), (1e300, -1e300))), "of 100 at most, got 1e.30"),
        (((4.0, 2.0, 0.0), (), ((0.0, 0.0), (math.nan, 0.0))), "changes: expected finite"),
        ((tuple(range(65, -1, -1)), (), ((0.0,) * 65,) * 65), "at most 64 steps, got 65"),
    ],
)  # fmt: skip
def test_numbers_that_make_no_run_are_refused(parts: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"learned .*{words}"):
        LearnedSteps(*parts)


@pytest.mark.parametrize("parts", [("ab",), ((4.0, None),), ((4.0, 0.0), 3.0)])
def test_what_is_no_number_is_refused(parts: Any) -> None:
    with pytest.raises(TypeError, match=r"learned .*: expected numbers"):
        LearnedSteps(*parts)


# With ratios


def test_a_schedule_with_learned_steps_acts_and_runs_its_own_sigmas() -> None:
    found = learned("vp", ratios=(1.0,) * 6)
    assert found.active and not found.compensates
    assert found.sigmas == HOST["vp"] and found.sigmas_to_run == OWN["vp"]
    bare = RatioSchedule((1.0,) * 6, sigmas=HOST["vp"])
    assert not bare.active and bare.sigmas_to_run == HOST["vp"] and bare.quality == "paper"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sigmas": None}, "learned: expected the sigmas of the host's grid"),
        ({"ratios": (1.0,) * 3, "sigmas": (12.0, 3.0, 1.0, 0.0)}, "expected 3 steps, .* got 6"),
        ({"sigmas": (11.0, *HOST["vp"][1:])}, "first and the last .* grid, 11, got 12"),
        ({"sigmas": (*HOST["vp"][:-1], 0.1)}, "first and the last .* grid, 0.1, got 0"),
        ({"quality": "best"}, "quality: expected one of .*paper, ratios\\+.* got 'best'"),
    ],
)
def test_learned_steps_of_another_grid_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(learned("vp"), **changes)


def test_other_objects_are_no_learned_steps() -> None:
    with pytest.raises(TypeError, match="expected LearnedSteps"):
        replace(learned("vp"), learned=OWN["vp"])  # type: ignore[arg-type]


def test_ratios_of_learned_steps_are_not_set_by_hand() -> None:
    found = learned("vp")
    assert apply_edits(found, {}) is found
    with pytest.raises(ValueError, match=r"edits: expected ratios alone, got learned steps .*full"):
        apply_edits(found, {3: 0.9})


def test_learned_steps_are_no_part_of_a_regression() -> None:
    words = "expected ratios, or learned steps with the warp that made them, got .*full for 6 steps"
    with pytest.raises(ValueError, match=words):
        fit_cpr([replace(learned("vp"), cfg=3.0)])
