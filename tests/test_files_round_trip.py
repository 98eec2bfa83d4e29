"""Ratio files come back as they were saved, whatever is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from dc_solver.ratios import CPR, Identity, RatioSchedule, Report, load, save
from dc_solver.ratios.schedule import QUALITIES
from dc_solver.ratios.text import describe
from dc_solver.solvers import LearnedSteps
from hypothesis import given
from hypothesis import strategies as st
from ratio_files import REGRESSION, quick

finite = st.floats(allow_nan=False, allow_infinity=False)
ratio = st.floats(-1e6, 1e6)
positive = st.floats(min_value=0.0, allow_infinity=False)
text = st.text(max_size=20)
numbers = st.lists(finite, max_size=4).map(tuple)
count = st.integers(0, 10**9)
maybe = st.one_of(st.none(), text)
identities = st.builds(
    Identity,
    fingerprint=maybe,
    model_class=maybe,
    prediction=maybe,
    scheduler=maybe,
    latent_shape=st.one_of(st.none(), st.lists(st.integers(0, 2**31), max_size=5).map(tuple)),
    seeds=st.lists(st.integers(0, 2**64), max_size=4).map(tuple),
    prompts_hash=maybe,
)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    checked = draw(st.integers(0, 4))
    errors = st.one_of(st.just(()), st.tuples(*[finite] * checked))
    above = st.floats(min_value=0.0, exclude_min=True, allow_infinity=False)
    return Report(
        losses=draw(numbers),
        losses_plain=draw(numbers),
        search_calls=draw(count),
        reference_calls=draw(count),
        check_calls=draw(count),
        points=draw(st.integers(1, 10**9)),
        check_points=checked,
        errors=draw(errors),
        errors_plain=draw(errors),
        errors_dpmpp_2m=draw(errors),
        found=draw(numbers),
        verdict=draw(st.sampled_from(["better", "not better", "unchecked"])),
        reused_reference=draw(st.booleans()),
        search_gain=draw(st.one_of(st.none(), above)),
        check_work=draw(count),
    )


solver_settings = st.fixed_dictionaries(
    {
        "order": st.integers(1, 4),
        "variant": st.sampled_from(["bh1", "bh2"]),
        "dc_order": st.integers(1, 3),
        "variable": st.sampled_from(["t", "lambda"]),
        "lower_order": st.sampled_from([True, "final", False]),
        "first_corrector": st.booleans(),
    }
)


@st.composite
def schedules(draw: st.DrawFn) -> RatioSchedule:
    steps = draw(st.integers(0, 12))
    sigmas = st.lists(positive, min_size=steps + 1, max_size=steps + 1).map(tuple)
    return RatioSchedule(
        ratios=tuple(draw(st.lists(ratio, min_size=steps, max_size=steps))),
        sigmas=draw(st.one_of(st.none(), sigmas)) if steps else None,
        cfg=draw(st.one_of(st.none(), finite)),
        origin=draw(st.sampled_from(["calibrated", "predicted", "imported"])),
        identity=draw(identities),
        report=draw(st.one_of(st.none(), reports())),
        notes=draw(st.lists(text, max_size=3).map(tuple)),
        **draw(solver_settings),
    )


@st.composite
def learned_schedules(draw: st.DrawFn) -> RatioSchedule:
    steps = draw(st.integers(1, 8))
    inner = st.floats(min_value=1e-6, max_value=1e6)
    many = st.lists(inner, min_size=2 * steps + 2, max_size=2 * steps + 2, unique=True)
    values = sorted(draw(many), reverse=True)
    own = (*values[: 2 * steps : 2], draw(st.sampled_from([0.0, values[-1]])))
    host = (own[0], *values[3 : 2 * steps + 1 : 2], own[-1])
    told = st.floats(min_value=1e-6, max_value=own[0])
    inputs = tuple(draw(st.lists(told, min_size=steps, max_size=steps)))
    weights = st.lists(st.floats(-10.0, 10.0), min_size=steps, max_size=steps)
    changes = np.tril(draw(st.lists(weights, min_size=steps, max_size=steps)), -1)
    changes -= np.diag(changes.sum(axis=1))
    changes[0, 0] = 0.0
    chosen = draw(st.sampled_from([None, tuple(map(tuple, changes.tolist()))]))
    return RatioSchedule(
        ratios=tuple(draw(st.lists(ratio, min_size=steps, max_size=steps))),
        sigmas=host,
        cfg=draw(st.one_of(st.none(), finite)),
        identity=draw(identities),
        report=draw(st.one_of(st.none(), reports())),
        learned=LearnedSteps(own, draw(st.sampled_from([(), inputs])), chosen),
        quality=draw(st.sampled_from(QUALITIES)),
    )


def pair(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(values, values).map(lambda two: (min(two), max(two)))


regressions = st.builds(
    lambda coefficients, how, **rest: CPR(coefficients=coefficients, **how, **rest),
    coefficients=st.lists(st.floats(-1e12, 1e12), min_size=36, max_size=36).map(tuple),
    how=solver_settings,
    steps_range=pair(st.integers(1, 1000)),
    cfg_range=pair(st.floats(-1e4, 1e4)),
    ratio_range=st.one_of(st.none(), pair(finite)),
    identity=identities,
    fitted=st.lists(schedules(), max_size=3).map(tuple),
)


@quick
@given(schedules())
def test_a_schedule_comes_back_as_it_was(tmp_path: Path, obj: RatioSchedule) -> None:
    assert load(save(obj, tmp_path / "a.safetensors")) == obj
    assert obj.gain is None or obj.gain >= 0.0  # whatever the numbers in it
    assert describe(obj)


@quick
@given(learned_schedules())
def test_learned_steps_come_back_as_they_were(tmp_path: Path, obj: RatioSchedule) -> None:
    assert load(save(obj, tmp_path / "a.safetensors")) == obj


@quick
@given(regressions)
def test_a_regression_comes_back_as_it_was(tmp_path: Path, obj: CPR) -> None:
    assert load(save(obj, tmp_path / "a.safetensors")) == obj


@quick
@given(st.integers(1, 16), st.floats(0.5, 12.0))
def test_a_regression_predicts_the_same_after_a_round_trip(
    tmp_path: Path, steps: int, cfg: float
) -> None:
    back = load(save(REGRESSION, tmp_path / "a.safetensors"))
    assert isinstance(back, CPR)
    assert back.predict(steps, cfg) == REGRESSION.predict(steps, cfg)
