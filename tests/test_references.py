"""References kept between calibrations: when they serve again, when never, and what is kept."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import torch
from dc_solver.nodes.references import key_of
from dc_solver.ratios import RatioSchedule, References, calibrate, calibrate_grid
from dc_solver.ratios.accuracy import LEVELS, PROBES, Reference, fine_enough, resolutions_for
from dc_solver.ratios.model_key import Same, model_key
from dc_solver.ratios.text import describe_ratios
from dc_solver.ratios.trajectory import Trajectory
from dc_solver.solvers import Schedule, VPSchedule
from problems import Counted, Mixture, point_model, schedule_of

SIX = {
    "vp": (12.0, 6.0, 3.0, 1.4, 0.6, 0.0),
    "flow": (1.0, 0.9, 0.75, 0.55, 0.3, 0.0),
}
EIGHT = {
    "vp": (12.0, 8.0, 5.0, 3.2, 2.0, 1.1, 0.5, 0.0),
    "flow": (1.0, 0.94, 0.86, 0.75, 0.62, 0.45, 0.25, 0.0),
}
KINDS = ("vp", "flow")
POINTS, CHECK = 9, 3


def points(kind: str = "vp", count: int = POINTS, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return SIX[kind][0] * torch.randn(count, 24, generator=generator, dtype=torch.float64)


def run(references: References | None, kind: str = "vp", **changes: Any) -> RatioSchedule:
    """A calibration, of which every call that was made is in its report."""
    model = Counted(changes.pop("model", Mixture(kind)))
    usual = {
        "x": points(kind), "sigmas": SIX[kind], "schedule": schedule_of(kind), "check": CHECK,
        "model_key": "model", "cfg": 3.0,
    }  # fmt: skip
    found = calibrate(model, references=references, **{**usual, **changes})
    assert found.report is not None
    assert sum(found.report.calls.values()) == model.points
    return found


def reference_work(found: RatioSchedule) -> int:
    assert found.report is not None
    return found.report.calls["reference"]


# What serves again


@pytest.mark.parametrize("kind", KINDS)
def test_another_step_count_makes_no_reference_call_beyond_its_probes(kind: str) -> None:
    references = References()
    first = run(references, kind, sigmas=EIGHT[kind])
    second = run(references, kind)
    assert reference_work(first) > LEVELS[0] * POINTS
    assert reference_work(second) == second.steps * PROBES
    assert len(references) == 1
    assert "(reference 20 and an earlier one, search" in describe_ratios(second)
    assert "earlier" not in describe_ratios(first)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reused_reference_finds_what_its_own_would(kind: str) -> None:
    """To far less than the difference of two references of their own, of 28 and of 56 calls."""
    references = References()
    first = run(references, kind, sigmas=EIGHT[kind], reference_calls=64)
    reused = run(references, kind, reference_calls=64)
    fresh = run(None, kind, reference_calls=64)
    assert reused.ratios == pytest.approx(fresh.ratios, abs=5e-3)
    assert reused.report is not None and fresh.report is not None
    assert reused.report.gain == pytest.approx(fresh.report.gain, rel=0.01)
    again = run(references, kind, sigmas=EIGHT[kind], reference_calls=64)
    assert again.ratios == first.ratios, "on the same grid to the bit"


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": "full"}, {"solver": "dpmpp_2m"}, {"check": 2}, {"chunk": 2}, {"loss": "mean"},
        {"schedule": VPSchedule(lambda sigma: sigma)},
    ],
    ids=lambda changes: next(iter(changes)),
)  # fmt: skip
def test_what_a_reference_does_not_depend_on(changes: dict[str, Any]) -> None:
    references = References()
    run(references, sigmas=EIGHT["vp"])
    found = run(references, **changes)
    assert reference_work(found) == found.steps * PROBES


@pytest.mark.parametrize("kind", KINDS)
def test_a_finer_student_goes_on_from_what_is_known(kind: str) -> None:
    """The known level is the coarser one of the next comparison: it is not run again."""
    references = References()
    run(references, kind)
    (before,) = (kept.asked for kept in references._kept.values())
    between = torch.linspace(2.4 if kind == "vp" else 3.0, -4.0, 40, dtype=torch.float64)
    sigmas = between.exp() if kind == "vp" else between.sigmoid()
    many = (SIX[kind][0], *sigmas.tolist(), 0.0)
    told: list[tuple[int, int]] = []
    found = run(references, kind, sigmas=many, progress=lambda *now: told.append(now))
    (after,) = (kept.asked for kept in references._kept.values())
    assert after > before
    levels = [math.ceil(found.steps / 5 * level) for level in LEVELS]
    made = sum(level for level in levels if level <= after) * POINTS
    assert after in levels
    assert reference_work(found) == pytest.approx(made + found.steps * PROBES, rel=0.1)
    done = [now for now, _ in told]
    totals = [whole for _, whole in told]
    assert done == sorted(done) and totals == sorted(totals)
    assert told[-1] == (totals[-1], totals[-1])
    assert found.report is not None
    assert sum(found.report.calls.values()) <= totals[-1]  # else the bar would stand still


@pytest.mark.parametrize(
    ("before", "steps", "after"),
    [
        (28, 6, 28), (28, 8, 45), (51, 10, 51), (39, 10, 112), (112, 5, 112),
        (163, 39, 224), (230, 60, 336), (251, 60, 336), (252, 60, 252),
    ],
)  # fmt: skip
def test_what_is_known_serves_runs_of_not_many_more_steps(
    before: int, steps: int, after: int
) -> None:
    """Else its error is like theirs, however small it takes itself to be; and what comes after it
    is clearly finer."""
    x, schedule, sigmas = points(count=PROBES), schedule_of("vp"), SIX["vp"]

    def make(calls: int, count: int | None) -> Trajectory:
        return Trajectory(point_model(Mixture(), PROBES), x, sigmas, schedule, calls)

    known = Reference(make(before, None), before, log_off=-30.0)
    student = 1.5 * known.trajectory.final
    found = fine_enough(make, student, 0.04, resolutions_for(lambda calls: calls, steps), known)
    assert found.asked == after
    assert (found is known) == (before == after)


@pytest.mark.parametrize("calls", [64, None])
def test_progress_knows_what_is_not_run_again(calls: int | None) -> None:
    references = References()
    run(references, reference_calls=calls)
    told: list[tuple[int, int]] = []
    found = run(references, reference_calls=calls, progress=lambda *now: told.append(now))
    fresh: list[tuple[int, int]] = []
    run(None, reference_calls=calls, progress=lambda *now: fresh.append(now))
    assert reference_work(found) == (0 if calls else found.steps * PROBES)
    assert len({whole for _, whole in told}) == 1
    assert told[0][1] <= fresh[0][1] - LEVELS[0] * POINTS
    assert [now for now, _ in told] == sorted(now for now, _ in told)
    assert told[-1][0] == told[-1][1]


def test_a_grid_shares_with_calibrations_of_its_scales() -> None:
    references, x = References(), points()
    models = {cfg: Counted(Mixture(means=(-cfg, 0.5 * cfg))) for cfg in (1.0, 2.0)}
    common: dict[str, Any] = {
        "schedule": schedule_of("vp"), "check": CHECK, "model_key": "model",
        "references": references,
    }  # fmt: skip
    calibrate_grid(models.__getitem__, x, grids=[SIX["vp"], EIGHT["vp"]], cfgs=[1.0, 2.0], **common)
    assert len(references) == 2
    for cfg in (1, 2.0):
        found = calibrate(models[cfg], x, SIX["vp"], cfg=cfg, **common)
        assert reference_work(found) == found.steps * PROBES
    other = calibrate_grid(models.__getitem__, x, grids=[SIX["vp"]], cfgs=[2.0, 1.0], **common)
    assert [reference_work(found) for found in other] == [20, 20]


@pytest.mark.parametrize(("kind", "beside"), [("vp", 1e-5), ("flow", 1e-5), ("flow", 1.0 - 1e-5)])
def test_a_grid_beyond_the_fine_steps_has_a_reference_of_its_own(kind: str, beside: float) -> None:
    """Next to an end that is infinite in half-logSNR, where a polynomial would run away."""
    references = References()
    run(references, kind)
    sigmas = sorted([*SIX[kind], beside], reverse=True)
    found, alone = run(references, kind, sigmas=sigmas), run(None, kind, sigmas=sigmas)
    assert found.report is not None and not found.report.reused_reference
    assert found.ratios == alone.ratios and found.report == alone.report
    assert reference_work(run(references, kind)) == 5 * PROBES, "and it serves the others too"


# What does not


class Steeper(VPSchedule):
    """Another scaling of the same sigmas."""

    def half_logsnr(self, sigma: float) -> float:
        return 2.0 * super().half_logsnr(sigma)

    def sigma_at(self, half_logsnr: float) -> float:
        return super().sigma_at(half_logsnr / 2.0)


OTHERS: dict[str, dict[str, Any]] = {
    "start": {"x": points(seed=1)},
    "order of the points": {"x": points().flip(0)},
    "fewer points": {"x": points()[:-1]},
    "dtype": {"x": points().float()},
    "cfg": {"cfg": 3.5},
    "conditioning": {"model_key": "other"},
    "first sigma": {"sigmas": (11.9, *SIX["vp"][1:])},
    "last sigma": {"sigmas": (*SIX["vp"][:-1], 0.1)},
    "schedule": {"schedule": Steeper(math.atan)},
    "number of calls": {"reference_calls": 64},
}


@pytest.mark.parametrize("name", OTHERS)
def test_never_for_another(name: str) -> None:
    references = References()
    run(references)
    found = run(references, **OTHERS[name])
    assert reference_work(found) > LEVELS[0] * (POINTS - 1)
    assert len(references) == 2


def test_a_chosen_number_of_calls_is_for_that_number() -> None:
    references = References()
    run(references, reference_calls=48)
    assert reference_work(run(references, reference_calls=48, sigmas=EIGHT["vp"])) == 0
    assert reference_work(run(references, reference_calls=49)) > 0
    # Of so many intervals each takes a call, and the reference must not be the coarser of the two.
    many = (*torch.linspace(12.0, 0.1, 64).tolist(), 0.0)
    assert reference_work(run(references, reference_calls=48, sigmas=many)) >= 64 * POINTS


def test_without_a_store_nothing_is_kept() -> None:
    assert reference_work(run(None)) == reference_work(run(None)) > LEVELS[0] * POINTS


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"references": {}}, r"references: expected References\(\), got dict"),
        ({"model_key": None}, "model_key: expected what tells this model"),
        ({"model_key": []}, "model_key: expected something hashable, got list"),
    ],
)
def test_what_makes_no_key_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        run(**{"references": References(), **changes})


def test_without_its_scale_a_model_is_not_known() -> None:
    with pytest.raises(ValueError, match="cfg: expected the guidance scale"):
        run(References(), cfg=None)


# What is kept


@pytest.mark.parametrize("calls", [64, None])
def test_a_reference_that_is_not_finite_is_not_kept(calls: int | None) -> None:
    def broken(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return Mixture()(x, sigma) * (math.nan if 1.0 < float(sigma[0]) < 2.0 else 1.0)

    references = References()
    with pytest.raises(ValueError, match="expected finite outputs"):
        run(references, model=broken, reference_calls=calls)
    assert len(references) == 0


class Stopped(Exception):
    pass


def test_an_interrupted_reference_is_not_kept_but_a_whole_one_is() -> None:
    work = reference_work(run(None))
    for limit, kept in ((work // 2, 0), (work - 1, 0), (work + 1, 1)):
        references, model = References(), Counted(Mixture())

        def interrupt(limit: int = limit, model: Counted = model) -> None:
            if model.points >= limit:
                raise Stopped

        with pytest.raises(Stopped):
            run(references, model=model, chunk=1, interrupt=interrupt)
        assert len(references) == kept


def made(count: int = 2) -> Reference:
    """A reference of ``count`` points."""
    references = References()
    run(references, x=points(count=count), check=1)
    return next(iter(references._kept.values()))


def test_the_oldest_go_by_number_and_by_bytes() -> None:
    small, large = made(2), made(8)
    size = small.trajectory.nbytes
    # At least its fine steps: a state and an output each.
    assert size >= 2 * LEVELS[0] * 2 * 24 * 8
    assert large.trajectory.nbytes == pytest.approx(4 * size, rel=0.5)
    few = References(most=2)
    for key in "abc":
        few.keep(key, small)
    assert few.find("a") is None and len(few) == 2
    assert few.find("b") is small  # which makes it the newest
    few.keep("d", small)
    assert few.find("c") is None and few.find("b") is small
    bound = References(most_bytes=3 * size)
    for key in "abcd":
        bound.keep(key, small)
        assert bound.nbytes <= 3 * size
    assert [bound.find(key) is None for key in "abcd"] == [True, False, False, False]
    bound.keep("large", Reference(large.trajectory, 28))
    assert bound.nbytes <= 3 * size
    tiny = References(most_bytes=size - 1)
    tiny.keep("a", small)
    assert len(tiny) == 0


def test_what_is_kept_holds_no_model() -> None:
    references, model = References(), Mixture()
    run(references, model=model)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None and len(references) == 1


# Keys


class Thing:
    pass


def test_references_of_a_model_that_is_gone_go() -> None:
    kept, here, gone = References(), Thing(), Thing()
    for thing in (here, gone):
        run(kept, model_key=model_key((thing,), {"hook": thing}, None))
    assert len(kept) == 2
    del gone, thing
    kept.find("anything")
    assert len(kept) == 1 and kept.nbytes > 0


def test_the_very_same_object_alone_is_the_same() -> None:
    one, other = Thing(), Thing()
    assert Same(one) == Same(one) and hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(other)
    was = Same(one)
    del one
    assert was != Same(Thing()), "not even in the same place of memory"
    assert Same(3.5) != Same(3.5), "what cannot be followed is never the same"


def test_data_counts_by_content() -> None:
    thing = Thing()

    def key(*settings: Any) -> Any:
        return model_key((thing,), settings, (1.0, 0.0))

    tensor = torch.arange(6.0)
    entry = [[tensor, {"pooled_output": None, "strength": 1.0}]]
    same = [[tensor.clone(), {"pooled_output": None, "strength": 1.0}]]
    assert key(entry) == key(same) and hash(key(entry)) == hash(key(same))
    for changed in (
        [[tensor + 1e-6, entry[0][1]]],
        [[tensor.view(2, 3), entry[0][1]]],
        [[tensor.half(), entry[0][1]]],
        [[tensor, {**entry[0][1], "strength": True}]],
        [[tensor, {**entry[0][1], "area": 3}]],
        [*entry, *entry],
        [[[tensor], entry[0][1]]],
    ):
        assert key(entry) != key(changed)
    before = key(entry)
    tensor[0] = 7.0  # written in place
    assert key(entry) != before
    assert model_key((Thing(),), [entry], None) != key(entry)
    assert key(torch.ones(3, dtype=torch.bfloat16)) == key(torch.ones(3, dtype=torch.bfloat16))
    assert key(torch.ones(())) != key(torch.ones(1))
    assert key(torch.eye(2).to_sparse()) != key(torch.eye(2).to_sparse())


def test_only_what_others_do_may_depend_on_the_grid() -> None:
    thing = Thing()

    def patch() -> None: ...

    plain, patched = {"transformer_options": {}}, {"transformer_options": {"patch": patch}}
    assert model_key((thing,), plain, (1.0, 0.0)) == model_key((thing,), plain, (2.0, 0.0))
    assert model_key((thing,), patched, (1.0, 0.0)) == model_key((thing,), patched, (1.0, 0.0))
    assert model_key((thing,), patched, (1.0, 0.0)) != model_key((thing,), patched, (2.0, 0.0))


class Patcher:
    """What a key needs of a MODEL of ComfyUI."""

    def __init__(self, network: Any) -> None:
        self.patches_uuid = "1"
        self.object_patches: dict[str, Any] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.wrappers: dict[str, Any] = {"apply_model": {}}
        self.objects = {"model_sampling": Thing(), "diffusion_model": network}

    def get_model_object(self, name: str) -> Any:
        return self.object_patches.get(name, self.objects[name])


def test_the_key_of_a_model_of_comfyui() -> None:
    model = Patcher(Thing())
    prompt = [[torch.ones(2, 3), {"pooled_output": torch.ones(3)}]]
    negative = [[torch.zeros(2, 3), {}]]
    five, six = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([2.0, 1.5, 1.0, 0.0])

    def key(sigmas: torch.Tensor = five, **changes: Any) -> Any:
        return key_of(
            changes.get("model", model), [changes.get("prompt", prompt)], negative, sigmas
        )

    plain = key()
    assert plain == key(six) == key(prompt=[[torch.ones(2, 3), dict(prompt[0][1])]])
    assert plain != key(model=Patcher(Thing()))
    assert plain != key(prompt=[[torch.ones(2, 3), {**prompt[0][1], "guidance": 3.5}]])
    control = [[torch.ones(2, 3), {**prompt[0][1], "control": Thing()}]]
    assert key(prompt=control) == key(prompt=control) != key(six, prompt=control)
    model.object_patches["model_sampling"] = Thing()
    sampled = key()
    assert sampled == key(six) != plain
    model.patches_uuid = "2"
    assert key() == key(six) != sampled
    model.wrappers["apply_model"]["other pack"] = [print]
    assert key() == key() != key(six)
    reads = Thing()
    reads.time_r_in = Thing()  # type: ignore[attr-defined]
    flow = Patcher(reads)
    assert key(model=flow) == key(model=flow) != key(six, model=flow)


def test_the_schedules_time_is_not_asked() -> None:
    """A schedule whose map to model time is another closure each time, as the hosts make it."""

    def fresh() -> Schedule:
        return VPSchedule(lambda sigma: math.atan(sigma))

    references = References()
    run(references, schedule=fresh())
    found = run(references, schedule=fresh())
    assert reference_work(found) == found.steps * PROBES


def test_settings_that_hold_themselves_are_never_the_same() -> None:
    thing, loop = Thing(), {}  # type: ignore[var-annotated]
    loop["again"] = loop
    assert model_key((thing,), loop, None) != model_key((thing,), loop, None)
