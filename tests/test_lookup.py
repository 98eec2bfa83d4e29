"""What the library offers a run that nobody chose ratios for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dc_solver.demo import emoji, grids
from dc_solver.ratios import (
    CPR,
    Identity,
    RatioSchedule,
    Report,
    fit_cpr,
    save,
    settings_of,
)
from dc_solver.ratios.chosen import fitted
from dc_solver.ratios.library import Library, state_of
from dc_solver.ratios.lookup import Choice, Run, choose
from dc_solver.ratios.warp import Warp, warped
from dc_solver.solvers import LearnedSteps, VPSchedule, discrete_time

TABLE = emoji.load("eps").sigmas
SCHEDULE = VPSchedule(discrete_time(TABLE.tolist()))
ME = Identity(fingerprint="me", prediction="eps", scheduler="simple", latent_shape=(4, 64, 64))


def grid(steps: int, scheduler: str = "simple") -> tuple[float, ...]:
    return tuple(grids.make_sigmas(scheduler, TABLE, steps, flow=False).tolist())


def grid_of(scheduler: str, steps: int) -> tuple[float, ...] | None:
    return grid(steps, scheduler) if scheduler in grids.SCHEDULERS else None


def calibration(
    steps: int = 5, cfg: float = 7.0, step: float = 0.1, **identity: Any
) -> RatioSchedule:
    ratios = tuple(1.0 if k < 2 else 1.0 + step * k for k in range(steps))
    return RatioSchedule(ratios, sigmas=grid(steps), cfg=cfg, identity=replace(ME, **identity))


def cpr(**changes: Any) -> CPR:
    cells = [calibration(n, w, 0.01 * n + 0.02 * w) for n in (5, 8, 10) for w in (2.0, 4.0, 8.0)]
    return replace(fit_cpr(cells), **changes)


def learned(steps: int = 5, **changes: Any) -> RatioSchedule:
    host = grid(steps)
    own = (host[0], *(1.1 * sigma for sigma in host[1:-1]), 0.0)
    return replace(calibration(steps), learned=LearnedSteps(own), quality="schedule", **changes)


def with_gain(found: RatioSchedule, gain: float | None) -> RatioSchedule:
    errors = {} if gain is None else {"errors": (gain,), "errors_plain": (1.0,)}
    return replace(found, report=Report(**errors))


def run(sigmas: tuple[float, ...], cfg: float | None = 7.0, **changes: Any) -> Run:
    identity = replace(ME, scheduler=None, **changes)
    return Run(sigmas, cfg, identity, settings_of(RatioSchedule(())), SCHEDULE, grid_of)


def look(entry: RatioSchedule | CPR, wanted: Run) -> Choice:
    return choose([("file", entry)], wanted)


def test_an_exact_calibration_is_taken_as_it_is() -> None:
    found = look(calibration(), run(grid(5), 7.04))
    assert found.ratios is not None and found.source == "file"
    assert found.ratios.ratios == calibration().ratios


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (run(grid(5), fingerprint="you"), "no calibration of this model"),
        (run(grid(5), fingerprint=None), "cannot be recognised"),
        (run(grid(5), prediction="v"), "no calibration of this model"),
        (run(grid(5), None), "no single CFG"),
        (run(grid(5), 7.1), "nothing for 5 steps at CFG 7.1"),
        (run(grid(6)), "5 steps at CFG 7 on simple; nothing for 6 steps at CFG 7"),
        (run(grid(5, "karras")), "nothing for 5 steps at CFG 7 on the sigmas of this run: another"),
        (run(tuple(s * 1.02 for s in grid(5))), "nothing for 5 steps"),
        (run(grid(5), guidance="RescaleCFG 0.7"), "5 steps at CFG 7 with RescaleCFG 0.7"),
        (replace(run(grid(5)), solver={**run(()).solver, "order": 3}),
         "nothing for 5 steps at CFG 7 with these solver settings"),
    ],
)  # fmt: skip
def test_a_calibration_of_something_else_is_not_taken_and_the_reason_told(
    wanted: Run, why: str
) -> None:
    found = look(calibration(), wanted)
    assert found.ratios is None and found.source is None and why in found.reason


def test_k_and_the_variable_are_the_ratios_own() -> None:
    other = replace(calibration(), dc_order=1, variable="lambda")
    assert look(other, run(grid(5))).ratios is not None


def test_a_tail_of_a_calibrated_grid_takes_its_ratios_by_position() -> None:
    whole = calibration(10)
    found = look(whole, run(grid(10)[4:]))
    assert found.ratios is not None
    assert found.ratios.ratios == (1.0, 1.0, *whole.ratios[6:])
    middle = look(whole, run(grid(10)[2:8])).ratios
    assert middle is not None and middle.ratios == (1.0, 1.0, *whole.ratios[4:7])


@pytest.mark.parametrize("steps", [5, 6, 7, 9, 10])
def test_a_cpr_in_range_serves_calibrated_and_other_step_counts(steps: int) -> None:
    fitted = cpr()
    found = look(fitted, run(grid(steps), 3.0))
    assert found.ratios is not None
    assert found.ratios.ratios == pytest.approx(fitted.predict(steps, 3.0).ratios)
    assert found.ratios.sigmas == pytest.approx(grid(steps))


def test_a_cpr_serves_a_tail_of_a_step_count_in_its_range() -> None:
    fitted = cpr()
    found = look(fitted, run(grid(9)[4:], 3.0))
    assert found.ratios is not None
    expected = (1.0, 1.0, *fitted.predict(9, 3.0).ratios[6:])
    assert found.ratios.ratios == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fitted", "wanted"),
    [
        (cpr(), run(grid(11), 3.0)),
        (cpr(), run(grid(4), 3.0)),
        (cpr(), run(grid(6), 8.5)),
        (cpr(), run(grid(6, "karras"), 3.0)),
        # The name is the host's, and the sigmas under it are not the host's: another shift.
        (cpr(identity=replace(ME, scheduler="karras")), run(grid(6, "karras"), 3.0)),
        (cpr(identity=replace(ME, scheduler="custom")), run(grid(6), 3.0)),
        (cpr(fitted=()), run(grid(6), 3.0)),
    ],
)  # fmt: skip
def test_a_cpr_is_not_stretched(fitted: CPR, wanted: Run) -> None:
    assert look(fitted, wanted).ratios is None


def test_an_exact_calibration_comes_before_a_cpr_and_before_a_tail() -> None:
    exact = calibration(5, 4.0)
    library = [("cpr", cpr()), ("other", calibration(10, 4.0)), ("exact", exact)]
    assert choose(library, run(grid(5), 4.0)).source == "exact"
    assert choose(library, run(grid(10)[5:], 4.0)).source == "other"
    assert choose(library, run(grid(6), 4.0)).source == "cpr"


def test_the_same_lora_and_size_come_first_and_others_are_told() -> None:
    library = [
        ("bare", calibration()),
        ("mine", calibration(lora="mine")),
        ("large", calibration(lora="mine", latent_shape=(4, 128, 128))),
    ]
    assert choose(library, run(grid(5), lora="mine")).source == "mine"
    large = run(grid(5), lora="mine", latent_shape=(4, 128, 128))
    assert choose(library, large).source == "large"
    assert choose(library, run(grid(5))).source == "bare"
    found = choose(library[:1], run(grid(5), lora="mine", latent_shape=(4, 32, 32))).ratios
    assert found is not None and "found without this LoRA" in found.notes
    assert "found on latents of 4 x 64 x 64, this is 4 x 32 x 32" in found.notes


def test_a_calibration_that_did_not_help_stays_plain_beside_a_cpr() -> None:
    kept = replace(calibration(5, 4.0), ratios=(1.0,) * 5)
    found = choose([("cpr", cpr()), ("kept", kept)], run(grid(5), 4.0))
    assert found.source == "kept" and found.ratios is not None and not found.ratios.active


def test_a_prediction_saved_without_sigmas_is_checked_by_its_schedulers_name() -> None:
    bare = replace(cpr().predict(6, 3.0), sigmas=None)
    assert bare.sigmas is None
    assert look(bare, run(grid(6), 3.0)).source == "file"
    assert look(bare, run(grid(6, "karras"), 3.0)).source is None


def test_the_library_reads_again_what_changed_and_names_what_is_broken(tmp_path: Path) -> None:
    import os

    library = Library()
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save(calibration(), good)
    bad.write_bytes(b"not a calibration")
    files = [("good", good), ("bad", bad), ("gone", tmp_path / "gone.safetensors")]
    before = state_of(files)
    entries, broken = library.entries(files)
    assert [name for name, _ in entries] == ["good"] and set(broken) == {"bad", "gone"}
    assert library.entries(files)[0][0][1] is entries[0][1], "an unchanged file is not read again"

    save(calibration(8), good)
    os.utime(good, ns=(1, 1))
    newer = tmp_path / "newer.safetensors"
    save(calibration(5), newer)
    entries, _ = library.entries([*files, ("newer", newer)])
    assert [(name, obj.steps) for name, obj in entries if isinstance(obj, RatioSchedule)] == [
        ("newer", 5), ("good", 8)
    ]  # fmt: skip
    assert state_of(files) != before


def test_a_merge_is_another_model_and_a_lora_at_low_cfg_may_be() -> None:
    merged = run(grid(5), lora="merge 1")
    assert look(calibration(), merged).reason == "the library has no calibration of this model"
    assert look(calibration(lora="merge 1"), merged).source == "file"
    assert look(calibration(lora="merge 1"), run(grid(5))).ratios is None
    turbo = run(grid(5), 1.5, lora="turbo")
    assert look(calibration(cfg=1.5), turbo).ratios is None
    assert look(calibration(cfg=1.5, lora="turbo"), turbo).source == "file"
    assert look(calibration(cfg=1.5), run(grid(5), 1.5)).source == "file"


def test_a_part_too_short_for_compensation_leaves_the_search_open() -> None:
    library = [("ten", calibration(10, 4.0)), ("eight", calibration(8, 4.0))]
    assert choose(library, run(grid(10)[8:], 4.0)).ratios is None


def test_close_steps_keep_their_own_place() -> None:
    """On a fine grid neighbours are within 5% of each other."""
    fine = grid(100, "karras")
    ratios = tuple(1.0 if k < 2 else 1.0 + 0.001 * k for k in range(100))
    whole = RatioSchedule(ratios, sigmas=fine, cfg=7.0, identity=ME)
    found = look(whole, run(fine[40:])).ratios
    assert found is not None and found.ratios == (1.0, 1.0, *ratios[42:])


def test_a_grid_is_asked_for_once_a_step_count() -> None:
    asked: list[tuple[str, int]] = []

    def counting(scheduler: str, steps: int) -> tuple[float, ...] | None:
        asked.append((scheduler, steps))
        return grid_of(scheduler, steps)

    assert look(cpr(), replace(run(grid(7)[1:], 3.0), grid_of=counting)).ratios is not None
    assert len(asked) <= 3 + 6


def test_learned_steps_serve_whole_runs_over_either_grid() -> None:
    found = learned()
    assert found.learned is not None
    for sigmas in (grid(5), found.learned.sigmas):
        choice = look(found, run(sigmas))
        assert choice.source == "file" and choice.ratios is not None
        assert choice.ratios.learned == found.learned
        assert look(found, run(tuple(s * 1.02 for s in sigmas))).ratios is None, "1% and no more"


def test_learned_steps_that_do_not_fit_between_the_ends_are_not_taken() -> None:
    host = grid(5)
    own = (host[0], 0.995 * host[0], *host[2:])
    found = replace(calibration(), learned=LearnedSteps(own), quality="full")
    assert look(found, run(host)).source == "file"
    assert look(found, run((0.993 * host[0], *host[1:]))).ratios is None


def test_learned_steps_leave_a_part_of_their_grid_to_others() -> None:
    tail = run(grid(10)[4:])
    library = [("steps", with_gain(learned(10), 0.2)), ("ratios", with_gain(calibration(10), 0.9))]
    assert choose(library, run(grid(10))).source == "steps"
    found = choose(library, tail)
    assert found.source == "ratios" and found.ratios is not None and found.ratios.learned is None
    alone = choose(library[:1], tail)
    assert alone.ratios is None
    assert "the library has learned steps for whole runs of 10 steps at CFG 7" in alone.reason


def test_of_the_same_settings_the_lowest_error_comes_before_the_newest() -> None:
    half, most = with_gain(calibration(), 0.5), with_gain(learned(), 0.8)
    unchecked, none = with_gain(calibration(), None), calibration()
    kept = with_gain(replace(calibration(), ratios=(1.0,) * 5), 3.0)
    worse = with_gain(calibration(), 1.2)
    order = [("worse", worse), ("none", none), ("kept", kept), ("unchecked", unchecked),
             ("most", most), ("half", half)]  # fmt: skip
    for expected in ("half", "most", "none", "kept", "unchecked", "worse"):
        assert choose(order, run(grid(5))).source == expected
        order = [entry for entry in order if entry[0] != expected]
    mine = with_gain(calibration(lora="mine"), 0.9)
    library = [("bare", half), ("mine", mine)]
    assert choose(library, run(grid(5), lora="mine")).source == "mine", "the LoRA comes first"


def test_a_scheduler_that_drops_steps_is_passed_over() -> None:
    """As ComfyUI's beta does of many steps."""

    def dropping(scheduler: str, steps: int) -> tuple[float, ...] | None:
        return (*grid(steps)[:2], *grid(steps)) if steps in (6, 7) else grid(steps)

    for sigmas in (grid(6), grid(8)[4:], dropping("simple", 6)):
        here = replace(run(sigmas, 4.5), grid_of=dropping)
        assert (choose([("cpr", cpr())], here).ratios is not None) == (sigmas == grid(8)[4:])


def test_a_lora_at_low_cfg_is_told_as_what_is_in_the_way() -> None:
    found = [("file", calibration(cfg=1.5))]
    assert choose(found, run(grid(5), 1.5, lora="turbo")).reason.endswith("with this LoRA")
    other = [("file", calibration(cfg=1.5, lora="turbo"))]
    assert choose(other, run(grid(5), 1.5)).reason.endswith("without a LoRA")


def test_of_two_regressions_the_one_with_the_lower_error_comes_first() -> None:
    def fitted(gain: float) -> CPR:
        return fit_cpr([with_gain(calibration(n, w), gain) for n in (5, 8) for w in (2.0, 8.0)])

    library = [("newest", fitted(0.8)), ("better", fitted(0.4))]
    assert choose(library, run(grid(6), 4.0)).source == "better"


def tournament(verdict: str, gain: float, **settings: Any) -> RatioSchedule:
    report = Report(check_points=1, errors=(gain,), errors_plain=(1.0,), verdict=verdict)
    return replace(
        calibration(), ratios=(1.0,) * 5, quality="tournament", report=report, **settings
    )


def test_a_solver_that_won_alone_comes_before_ratios_that_gain_less() -> None:
    library = [
        ("paper", with_gain(calibration(), 0.98)),
        ("tournament", tournament("better", 0.5, solver="dpmpp_2m")),
    ]
    assert choose(library, run(grid(5))).source == "tournament"
    # Of a part nothing is known: the solver may be the best of whole runs alone.
    long = replace(library[1][1], ratios=(1.0,) * 10, sigmas=grid(10))
    ten = [("paper", with_gain(calibration(10), 0.98)), ("tournament", long)]
    assert choose(ten, run(grid(10))).source == "tournament"
    assert choose(ten, run(grid(10)[4:])).source == "paper"
    assert choose(ten[1:], run(grid(10)[4:])).ratios is None


def test_a_tournament_that_failed_chose_no_solver() -> None:
    """Its settings are those that it was asked with."""
    third = replace(run(grid(5)), solver={**run(()).solver, "order": 3})
    failed = tournament("not better", 1.3, order=3)
    assert look(failed, run(grid(5))).ratios is None
    assert look(failed, third).source == "file"
    for verdict in ("better", "unchecked"):
        assert look(tournament(verdict, 0.9, order=3), run(grid(5))).source == "file"
    assert look(tournament("not better", 1.3), run(grid(5))).source == "file"


def test_a_part_to_which_nothing_is_left_of_a_tournament_but_its_solver_runs_without() -> None:
    """Its one ratio is of a later step than the part has."""
    won = tournament("better", 0.5, solver="dpmpp_2m")
    won = replace(won, ratios=(1.0,) * 9 + (1.2,), sigmas=grid(10))
    assert look(won, run(grid(10)[:8])).ratios is None
    tail = look(won, run(grid(10)[4:])).ratios
    assert tail is not None and tail.solver == "dpmpp_2m" and tail.ratios[-1] == 1.2


def test_what_a_tournament_serves_is_told_by_the_runs_that_it_serves() -> None:
    won = tournament("better", 0.5, solver="ipndm", order=3)
    reason = look(won, run(grid(5), 5.0)).reason
    assert "5 steps at CFG 7 on simple; nothing for 5 steps at CFG 5" in reason
    third = replace(run(grid(5)), solver={**run(()).solver, "order": 3})
    assert look(won, third).reason.endswith("with these solver settings")
    other = replace(run(grid(5)), solver=settings_of(replace(calibration(), solver="ipndm")))
    assert look(won, other).reason.endswith("for the solver ipndm")


def test_a_part_is_predicted_for_the_number_of_steps_that_it_is_of() -> None:
    """The last steps of neighbouring numbers of steps lie within 5% of each other."""
    found = fit_cpr([calibration(n, w) for n in (10, 20, 50) for w in (2.0, 8.0)])
    for steps in (20, 30, 40, 50):
        for count in (4, 8, 12):
            ratios = look(found, run(grid(steps)[-count - 1 :], 5.0)).ratios
            assert ratios is not None
            expected = f"steps {steps - count + 1} to {steps} of a schedule of {steps}"
            assert ratios.notes[-1] == expected, (steps, count)


def test_a_warp_moves_the_steps_of_the_run_as_where_it_is_connected() -> None:
    whole, warp = grid(5), Warp(0.8, 1.2)
    moved = warped(whole, SCHEDULE, warp)
    assert moved is not None
    made = replace(calibration(), warp=warp, learned=LearnedSteps(moved), quality="schedule")
    found = fit_cpr([made])
    near = run(tuple(1.02 * sigma for sigma in whole))
    near = replace(near, grid_of=lambda scheduler, steps: near.sigmas)
    ratios = look(found, near).ratios
    assert ratios is not None and ratios.learned is not None
    assert ratios.learned.sigmas == warped(near.sigmas, SCHEDULE, warp) != moved
    assert ratios.learned == fitted(found.predict(5, 7.0), near).learned
