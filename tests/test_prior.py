"""The prior of the last step's ratio: what it gains, where it keeps silent, how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from dc_solver.demo import emoji, grids
from dc_solver.demo.experiment import Experiment, compare
from dc_solver.ratios import Identity, RatioSchedule, fit_cpr, load, save, settings_of
from dc_solver.ratios import prior as shipped
from dc_solver.ratios.chosen import choose_ratios, told
from dc_solver.ratios.lookup import Run
from dc_solver.ratios.prior import prior, prior_ratio
from dc_solver.ratios.records import to_record
from dc_solver.solvers import FlowSchedule, VPSchedule, discrete_time, sample

TABLES = {kind: emoji.load(kind).sigmas for kind in ("eps", "flow")}
VP = VPSchedule(discrete_time(TABLES["eps"].tolist()))
DEFAULT = settings_of(RatioSchedule(()))
BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "results" / "prior.json"


def grid(steps: int = 6, scheduler: str = "simple", kind: str = "eps") -> tuple[float, ...]:
    flow = kind == "flow"
    return tuple(grids.make_sigmas(scheduler, TABLES[kind], steps, flow=flow).tolist())


def stock(name: str, steps: int) -> tuple[float, ...] | None:
    return grid(steps, name) if name in grids.SCHEDULERS else None


def run(sigmas: tuple[float, ...] | None = None, cfg: float | None = 4.0, **changes: Any) -> Run:
    identity = Identity(fingerprint="me", prediction="eps")
    wanted = Run(sigmas or grid(), cfg, identity, DEFAULT, VP, stock)
    return replace(wanted, **changes)


@pytest.mark.parametrize(
    ("kind", "scheduler", "steps"),
    [("eps", "simple", 6), ("flow", "beta", 6)],
)
def test_it_gains_on_trained_models_with_as_many_calls(
    kind: str, scheduler: str, steps: int
) -> None:
    """At CFG 3, held-out seeds; benchmarks/prior.py judges it on models that it was not fitted
    to."""
    model = emoji.load(kind)
    task = Experiment(model, 3.0, scheduler)
    data = emoji.points(range(60_000, 60_008))
    sigmas = task.sigmas(steps)
    found = prior(sigmas.tolist(), 3.0, model.schedule, DEFAULT)
    assert found is not None and found.ratios[:-1] == (1.0,) * (steps - 1)
    assert 1.0 < found.ratios[-1] < 1.5
    truth = task.truth(data, int)
    plain = task.row("", steps, data, truth, int, solver="unipc")
    ours = task.row("", steps, data, truth, int, ratios=found)
    assert ours.calls == plain.calls == steps
    assert compare(ours.errors, plain.errors).geometric_mean < 0.93


def test_it_gains_on_gaussian_data_whose_solution_is_known() -> None:
    """Data of spread s: the denoiser is ``x s^2 / (s^2 + sigma^2)``, and a trajectory ends at
    ``x s / sqrt(s^2 + sigma^2)``."""
    sigmas = grid(6)
    found = prior(sigmas, 4.0, VP, DEFAULT)
    assert found is not None
    for spread in (0.3, 0.6, 1.0, 2.0):

        def denoiser(x: torch.Tensor, sigma: torch.Tensor, s: float = spread) -> torch.Tensor:
            return x * (s * s / (s * s + sigma.reshape(-1, 1) ** 2))

        start = torch.full((1, 1), sigmas[0], dtype=torch.float64)
        exact = sigmas[0] * spread / (spread**2 + sigmas[0] ** 2) ** 0.5

        def error(**how: Any) -> float:
            final = sample(denoiser, start, sigmas, schedule=VP, disable=True, **how)  # noqa: B023
            return abs(float(final) - exact)  # noqa: B023

        assert error(ratios=found) < error(solver="unipc"), spread


def test_the_numbers_are_those_of_the_benchmark() -> None:
    known = json.loads(BENCHMARK.read_text())
    assert list(shipped.VP) == known["VP"] and list(shipped.FLOW) == known["FLOW"]


def test_schedules_that_end_in_a_small_step_have_no_use_for_it() -> None:
    for scheduler in ("normal", "karras", "exponential", "kl_optimal", "ddim_uniform"):
        assert prior(grid(8, scheduler), 3.0, VP, DEFAULT) is None, scheduler


def test_it_grows_with_the_steps_and_falls_with_the_scale() -> None:
    by_steps = [prior_ratio(grid(steps), 3.0, VP) for steps in (5, 6, 8, 10)]
    assert by_steps == sorted(by_steps)
    by_cfg = [prior_ratio(grid(8), cfg, VP) for cfg in (2.5, 3.0, 4.0, 5.0)]
    assert by_cfg == sorted(by_cfg, reverse=True)


@pytest.mark.parametrize(
    "how",
    [
        {"cfg": None},
        {"cfg": 1.0},
        {"cfg": 2.0},
        {"cfg": 7.0},
        {"cfg": 12.0},
        {"sigmas": grid(4)},
        {"sigmas": grid(11)},
        {"sigmas": grid(12)[5:]},
        {"sigmas": grid(8)[:-1]},
        {"sigmas": (*grid(6)[:3], grid(6)[2], *grid(6)[3:])},
        {"schedule": VPSchedule()},
        {"solver": {**DEFAULT, "solver": "unipc"}},
        {"solver": {**DEFAULT, "order": 3}},
        {"solver": {**DEFAULT, "lower_order": "final"}},
    ],
)
def test_where_nothing_was_measured_it_says_nothing(how: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"sigmas": grid(6), "cfg": 4.0, "schedule": VP, "solver": DEFAULT}
    assert prior(**usual) is not None
    assert prior(**{**usual, **how}) is None


def test_a_run_of_an_unknown_model_takes_it_and_says_so() -> None:
    choice = choose_ratios(None, lambda: [], run, 6)
    assert choice.ratios is not None and choice.source is None
    text = told(choice)
    assert "the prior: nothing is calibrated for this run" in text
    assert "the library is empty" in text
    assert f"{choice.ratios.ratios[-1]:.3f}" in text


def test_what_a_user_asked_for_comes_before_it() -> None:
    mine = RatioSchedule((1.0, 1.0, 1.1, 1.2, 1.1, 1.3))
    brought = choose_ratios(mine, lambda: [], run, 6).ratios
    assert brought is not None and brought.ratios == mine.ratios
    own = RatioSchedule(mine.ratios, sigmas=grid(), cfg=4.0, identity=run().identity)
    assert choose_ratios(None, lambda: [("own", own)], run, 6).source == "own"
    kept = replace(own, ratios=(1.0,) * 6)  # calibrated, and it did not help
    found = choose_ratios(None, lambda: [("kept", kept)], run, 6)
    assert found.source == "kept" and found.ratios is not None and not found.ratios.active
    assert choose_ratios(None, None, run, 6).ratios is None
    assert choose_ratios(None, lambda: [], run, 6, "no ratios here").ratios is None


@pytest.mark.parametrize(
    "changes",
    [{"guidance": "RescaleCFG 0.7"}, {"lora": "a turbo LoRA"}, {"prediction": "edm"}],
)
def test_a_model_that_something_changes_does_not_take_it(changes: dict[str, str]) -> None:
    identity = replace(run().identity, **changes)
    choice = choose_ratios(None, lambda: [], lambda: run(identity=identity), 6)
    assert choice.ratios is None and choice.reason == "the library is empty"


def test_it_is_for_whole_runs_of_the_schedules_that_were_measured() -> None:
    """Others have ends much like theirs."""
    elsewhere = {
        "linear_quadratic": grid(8, "linear_quadratic"),
        "image to image": grid(9)[1:],
        "moved": (*grid(6)[:2], 1.1 * grid(6)[2], *grid(6)[3:]),
    }
    for name, sigmas in elsewhere.items():
        assert choose_ratios(None, lambda: [], lambda s=sigmas: run(s), 6).ratios is None, name
    for name in shipped.SCHEDULERS:
        assert choose_ratios(None, lambda: [], lambda n=name: run(grid(6, n)), 6).ratios, name


def test_settings_of_ratios_do_not_keep_it_away() -> None:
    """Without ratios K and the variable do nothing, so comparing them is comparing nothing."""
    for changes in ({"dc_order": 1}, {"variable": "lambda"}):
        here = run(solver={**DEFAULT, **changes})
        assert choose_ratios(None, lambda: [], lambda r=here: r, 6).ratios is not None


def test_a_model_that_ratios_did_not_help_does_not_take_it() -> None:
    kept = RatioSchedule((1.0,) * 5, sigmas=grid(5), cfg=4.0, identity=run().identity)
    assert choose_ratios(None, lambda: [("kept", kept)], run, 6).ratios is None
    helped = replace(kept, ratios=(1.0, 1.0, 1.0, 1.0, 1.2), cfg=5.0)
    library = [("cpr", fit_cpr([helped, kept]))]  # on another scheduler than the run's
    beta = run(grid(6, "beta"), 4.6)
    assert choose_ratios(None, lambda: library, lambda: beta, 6).ratios is None


@pytest.mark.parametrize(
    "changes", [{"fingerprint": "other"}, {"fingerprint": None}, {"lora": "lightning"}]
)
def test_what_was_found_of_another_model_does_not_keep_it_away(changes: dict[str, Any]) -> None:
    identity = replace(run().identity, **changes)
    kept = RatioSchedule((1.0,) * 5, sigmas=grid(5), cfg=4.0, identity=identity)
    unknown = "fingerprint" in changes and changes["fingerprint"] is None
    here = run(identity=identity) if unknown else run()  # two that nobody recognises
    assert choose_ratios(None, lambda: [("kept", kept)], lambda: here, 6).ratios is not None
    ddim = RatioSchedule((1.0,) * 5, sigmas=grid(5), cfg=4.0, identity=run().identity,
                         solver="ddim", order=1)  # fmt: skip
    assert choose_ratios(None, lambda: [("kept", ddim)], run, 6).ratios is not None


def test_schedules_are_asked_for_only_where_it_may_speak() -> None:
    def never(name: str, steps: int) -> None:
        raise AssertionError("a scheduler of another pack may raise")

    entry = ("other", RatioSchedule((1.0, 1.2), identity=Identity(fingerprint="other")))
    for here, steps in ((run(grid(30)), 30), (run(cfg=1.0), 6), (run(cfg=None), 6)):
        asked = replace(here, grid_of=never)
        assert choose_ratios(None, lambda: [entry], lambda a=asked: a, steps).ratios is None


def test_an_empty_library_is_no_work_where_the_prior_has_nothing_to_say() -> None:
    def never() -> Run:
        raise AssertionError("nobody needs to know")

    assert choose_ratios(None, lambda: [], never, 20).reason == "the library is empty"


def test_flow_models_have_numbers_of_their_own() -> None:
    sigmas = grid(8, kind="flow")
    flow = prior_ratio(sigmas, 3.0, FlowSchedule())
    assert flow == prior_ratio(sigmas, 3.0, FlowSchedule(), shipped.FLOW)
    assert flow != prior_ratio(sigmas, 3.0, FlowSchedule(), shipped.VP)


def test_two_sigmas_that_nearly_meet_do_not_make_a_ratio_larger_than_any_measured() -> None:
    sigmas = [14.6, 6.0, 3.0, 1.2, 0.5, 0.3, 0.2999, 0.0]
    assert prior_ratio(sigmas, 3.0, VP) == shipped.MOST
    measured = [
        prior_ratio(grid(steps, name), cfg, VP)
        for steps in range(5, 11)
        for name in shipped.SCHEDULERS
        for cfg in (2.1, 3.0, 5.0)
    ]
    assert max(measured) < shipped.MOST


def test_it_is_no_file_that_an_older_pack_could_read(tmp_path: Path) -> None:
    guess = prior(grid(6), 4.0, VP, DEFAULT)
    assert guess is not None
    assert to_record(guess)[0]["version"] == 2
    assert load(save(guess, tmp_path / "guess.safetensors")) == guess
