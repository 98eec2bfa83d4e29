"""Wrong arguments: every message names the argument, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from dc_solver.ratios import (
    CPR,
    Identity,
    RatioSchedule,
    calibrate,
    calibrate_grid,
    fit_cpr,
    save,
    settings_of,
)
from dc_solver.solvers import (
    SOLVERS,
    FlowSchedule,
    Langevin,
    Tolerance,
    VPSchedule,
    discrete_time,
    get_solver,
    sample,
)
from dc_solver.solvers.compensation import interpolation_weights
from problems import Gaussian, schedule_of

X = 5.0 * torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
SIGMAS = [5.0, 2.0, 1.0, 0.5, 0.0]


def check(error: type[Exception], words: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=words):
        call()


# sample

BAD_SAMPLE: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "solver": ({"solver": "euler"}, ValueError, "solver: expected one of .*, got 'euler'"),
    "solver type": ({"solver": ["unipc"]}, ValueError, "solver: expected one of dc_solver"),
    "order": ({"order": 5}, ValueError, "order: expected one of 1, 2, 3, 4, got 5"),
    "order 0": ({"order": 0}, ValueError, "order: expected one of .* got 0"),
    "order float": ({"order": 2.0}, ValueError, r"order: expected one of .* got 2\.0"),
    "order bool": ({"order": True}, ValueError, "order: expected one of .* got True"),
    "variant": ({"variant": "bh3"}, ValueError, "variant: expected one of bh1, bh2, got 'bh3'"),
    "dc_order": ({"dc_order": 4}, ValueError, "dc_order: expected one of 1, 2, 3, got 4"),
    "variable": ({"variable": "s"}, ValueError, "variable: expected one of t, lambda, got 's'"),
    "lower_order": (
        {"lower_order": "end"},
        ValueError,
        "lower_order: expected one of True, fin",
    ),
    "lower_order 1": ({"lower_order": 1}, ValueError, "lower_order: expected one of .* got 1"),
    "first_corrector": ({"first_corrector": None}, ValueError, "first_corrector: .* got None"),
    "few ratios": ({"ratios": [1.0] * 3}, ValueError, "ratios: expected 4, .* 4 steps, got 3"),
    "many ratios": ({"ratios": [1.0] * 5}, ValueError, "ratios: expected 4, .* got 5"),
    "NaN ratio": (
        {"ratios": [1.0, 1.0, math.nan, 1.0]},
        ValueError,
        "ratios: expected finite numbers, got nan at step 2",
    ),
    "infinite ratio": ({"ratios": [math.inf] * 4}, ValueError, "got inf at step 0"),
    "ratio number": ({"ratios": 1.0}, TypeError, "ratios: expected a sequence of numbers"),
    "ratio text": ({"ratios": ["a"] * 4}, TypeError, "ratios: expected a sequence of numbers"),
    "ratio schedule": (
        {"ratios": RatioSchedule(ratios=(1.0, 1.0))},
        ValueError,
        "ratios: expected 4, one for each of the 4 steps, got 2",
    ),
    "unipc ratios": (
        {"solver": "unipc", "ratios": [1.0] * 4},
        ValueError,
        "ratios: unipc runs without compensation.*use one of dc_solver, .*ipndm",
    ),
    "singlestep ratios": (
        {"solver": "dpm_2", "ratios": [1.0] * 4},
        ValueError,
        "ratios: dpm_2 runs without comp",
    ),
    "deis order": (
        {"solver": "deis_tab", "order": 4},
        ValueError,
        "one of 1, 2, 3, got 4 with deis_tab",
    ),
    "singlestep corrector": (
        {"solver": "dpm_2", "corrector": True},
        ValueError,
        "corrector: expected none .* dpm_2",
    ),
    "corrector word": ({"corrector": "yes"}, ValueError, "corrector: expected one of None, True"),
    "deis without time": (
        {"solver": "deis_tab", "schedule": VPSchedule()},
        ValueError,
        "deis_tab.*use deis_rhoab",
    ),
    "threshold": ({"threshold": 1.5}, ValueError, "threshold: expected a quantile above 0"),
    "threshold word": ({"threshold": "on"}, ValueError, "threshold: expected a quantile such as"),
    "langevin number": ({"langevin": 3}, TypeError, r"expected Langevin\(...\), got int"),
    "langevin steps": (
        {"langevin": Langevin(-1)},
        ValueError,
        "langevin: expected 0 or more",
    ),
    "langevin half": ({"langevin": Langevin(0.5)}, ValueError, "langevin: expected a whole"),
    "langevin seed": ({"langevin": Langevin(seed=1.5)}, ValueError, "number for a seed, got 1.5"),
    "langevin seeds": ({"langevin": Langevin(seed=(1,) * 9)}, ValueError, "seeds, got 9"),
    "langevin one seed": (
        {"langevin": Langevin(seed=[5])},
        ValueError,
        "a seed for each of the samples, 3 seeds, got 1; a number alone",
    ),
    "langevin no snr": ({"langevin": Langevin(1, None)}, ValueError, "above 0, got 1 and None"),
    "tolerance text": ({"tolerance": Tolerance(atol="a")}, ValueError, "atol above 0, got 'a'"),
    "tolerance NaN": (
        {"tolerance": Tolerance(max_calls=math.nan)},
        ValueError,
        "a whole max_calls of 4",
    ),
    "tolerance unused": ({"tolerance": "foo"}, TypeError, "expected Tolerance"),
    "adaptive turning": (
        {"solver": "dpm_12", "sigmas": [5.0, 10.0, 1.0]},
        ValueError,
        "expected a falling grid for",
    ),
    "adaptive NaN": (
        {"solver": "dpm_12", "x": X * math.nan},
        ValueError,
        "x: expected a finite latent to start from",
    ),
    "langevin snr": ({"langevin": Langevin(1, 0.0)}, ValueError, "ratio above 0, got 1 and 0.0"),
    "langevin ratios": (
        {"langevin": Langevin(1), "ratios": [1.1] * 4},
        ValueError,
        "no ratios beside Langevin",
    ),
    "langevin adaptive": (
        {"langevin": Langevin(1), "solver": "dpm_12"},
        ValueError,
        "langevin: .* fixed steps, got",
    ),
    "tolerance number": (
        {"tolerance": 0.1, "solver": "dpm_12"},
        TypeError,
        r"expected Tolerance\(...\), got float",
    ),
    "tolerance zero": (
        {"tolerance": Tolerance(atol=0.0), "solver": "dpm_23"},
        ValueError,
        "atol above 0, got 0.0",
    ),
    "tolerance calls": (
        {"tolerance": Tolerance(max_calls=3), "solver": "dpm_23"},
        ValueError,
        "a whole max_calls of 4",
    ),
    "adaptive upwards": (
        {"solver": "dpm_12", "sigmas": [1.0, 2.0]},
        ValueError,
        "expected a falling grid for the adapt",
    ),
    "model": ({"model": 3}, TypeError, r"model: expected a function model\(x, sigma.*got int"),
    "x integers": ({"x": torch.ones(2, 2).long()}, TypeError, "x: expected a floating .*int64"),
    "x array": ({"x": np.ones((2, 2))}, TypeError, "x: expected a floating .* got ndarray"),
    "x scalar": ({"x": torch.tensor(1.0)}, TypeError, "x: expected .* of rank 0"),
    "schedule": ({"schedule": "vp"}, TypeError, r"schedule: expected VPSchedule.* got str"),
    "schedule class": ({"schedule": VPSchedule}, TypeError, "schedule: expected VPSchedule"),
    "negative sigma": ({"sigmas": [2.0, -1.0]}, ValueError, r"0 or more, got -1\.0"),
    "NaN sigma": ({"sigmas": [2.0, math.nan]}, ValueError, "sigmas: expected finite .* got nan"),
    "infinite sigma": ({"sigmas": [math.inf, 1.0]}, ValueError, "sigmas: .* got inf"),
    "zero inside": (
        {"sigmas": [2.0, 0.0, 1.0]},
        ValueError,
        r"sigmas: expected 0 only at the end, got 0 followed by 1\.0",
    ),
    "zero first": ({"sigmas": [0.0, 1.0]}, ValueError, "sigmas: expected 0 only at the end"),
    "sigma rank": ({"sigmas": torch.ones(2, 3)}, TypeError, r"one dimension, got shape \(2, 3\)"),
    "sigma number": ({"sigmas": 3.0}, TypeError, "sigmas: expected a 1-D tensor or a sequence"),
    "sigma text": ({"sigmas": ["a"]}, TypeError, "sigmas: expected a 1-D tensor or a sequence"),
    "flow above 1": (
        {"schedule": FlowSchedule(), "sigmas": [1.01, 0.5]},
        ValueError,
        r"from 0 to 1 for a flow model, got 1\.01; use VPSchedule",
    ),
    "no model time": (
        {"schedule": VPSchedule(), "ratios": [1.1] * 4},
        ValueError,
        'variable="t": expected a schedule with a model time, got one without.*"lambda"',
    ),
}


@pytest.mark.parametrize("name", BAD_SAMPLE)
def test_sample_refuses(name: str) -> None:
    """Before the model is called."""
    changed, error, words = BAD_SAMPLE[name]
    model = Gaussian()
    arguments: dict[str, Any] = {"model": model, "x": X, "sigmas": SIGMAS}
    arguments |= {"schedule": schedule_of("vp"), "disable": True, **changed}
    check(error, words, lambda: sample(**arguments))
    assert model.called_at == []


def test_an_unknown_solver_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="solver: expected one of") as caught:
        get_solver("euler")
    assert all(name in str(caught.value) for name in SOLVERS)
    assert all(get_solver(name).name == name for name in SOLVERS)


@pytest.mark.parametrize("variable", ["t", "lambda"])
def test_a_model_time_is_asked_for_only_where_it_is_used(variable: str) -> None:
    for ratios in (None, [1.0] * 4):
        result = sample(
            Gaussian(), X, SIGMAS, schedule=VPSchedule(), ratios=ratios, variable=variable,
            disable=True,
        )  # fmt: skip
        assert result.isfinite().all()
    acting = sample(
        Gaussian(), X, SIGMAS, schedule=VPSchedule(), ratios=[1.3] * 4, variable="lambda",
        disable=True,
    )  # fmt: skip
    assert not torch.equal(acting, result)


@pytest.mark.parametrize(
    "output", [lambda x: x[:1], lambda x: x[..., :-1], lambda x: x[None], lambda x: x.sum()]
)
def test_a_model_output_of_another_shape_is_refused(
    output: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    words = r"model: expected a denoised latent of shape \(3, 4\), got \(.*at sigma 5;"
    call = {"schedule": schedule_of("vp"), "disable": True}
    check(ValueError, words, lambda: sample(lambda x, s: output(x), X, SIGMAS, **call))
    check(
        ValueError,
        words,
        lambda: calibrate(lambda x, s: output(x), X, SIGMAS, schedule=schedule_of("vp")),
    )


# Schedules


@pytest.mark.parametrize(
    "table", [[], [1.0], [1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [-1.0, 1.0], [1.0, math.nan]]
)
def test_discrete_time_refuses(table: list[float]) -> None:
    check(
        ValueError,
        "discrete_time: expected two or more positive sigmas in strictly ascending order",
        lambda: discrete_time(table),
    )


def test_discrete_time_is_the_index_and_never_shares_a_time() -> None:
    table = [0.03, 0.1, 0.5, 2.0, 14.0]
    time = discrete_time(table)
    assert [time(sigma) for sigma in table] == pytest.approx([0, 1, 2, 3, 4], abs=1e-12)
    assert time(math.sqrt(0.1 * 0.5)) == pytest.approx(1.5)
    dense = [time(sigma) for sigma in np.geomspace(1e-3, 100.0, 500).tolist()]
    assert all(a < b for a, b in zip(dense, dense[1:]))
    assert time(0.0) == -math.inf


@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_sigma_at_inverts_half_logsnr(kind: str) -> None:
    schedule = schedule_of(kind)
    for value in (-6.0, -1.0, 0.0, 2.5, 8.0):
        assert schedule.half_logsnr(schedule.sigma_at(value)) == pytest.approx(value, abs=1e-9)
    assert schedule.half_logsnr(0.0) == math.inf
    assert schedule.sigma_at(math.inf) == 0.0


def test_the_scalings_are_those_of_the_papers() -> None:
    vp, flow = VPSchedule(), FlowSchedule()
    for sigma in (0.1, 0.5, 0.9):
        assert vp.signal(sigma) == 1.0
        assert vp.alpha(sigma) ** 2 * (1.0 + sigma**2) == pytest.approx(1.0)
        assert vp.half_logsnr(sigma) == pytest.approx(-math.log(sigma))
        assert flow.signal(sigma) == flow.alpha(sigma) == 1.0 - sigma
        assert flow.half_logsnr(sigma) == pytest.approx(math.log((1.0 - sigma) / sigma))
        assert flow.model_time(sigma) == sigma
    assert flow.half_logsnr(1.0) == -math.inf
    assert flow.has_model_time and not vp.has_model_time
    assert FlowSchedule(lambda s: 1000 * s).model_time(0.25) == 250.0


# calibrate

BAD_CALIBRATE: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "check": ({"check": 3}, ValueError, "check: expected 0 to 2 of the 3 points, got 3"),
    "check negative": ({"check": -1}, ValueError, "check: expected 0 to 2 .* got -1"),
    "chunk": ({"chunk": 0}, ValueError, "chunk: expected 1 or more points, got 0"),
    "loss": (
        {"loss": "huber"},
        ValueError,
        "loss: expected one of balanced, relative, mean, got 'huber'",
    ),
    "reference_calls": ({"reference_calls": 0}, ValueError, "reference_calls: .* got 0"),
    "identity": (
        {"checkpoint": "x", "owner": "y"},
        TypeError,
        "calibrate: unknown argument checkpoint, owner; the identity has fingerprint, model_class",
    ),
    "singlestep": (
        {"solver": "dpmpp_2s"},
        ValueError,
        "got dpmpp_2s, which runs on no earlier",
    ),
    "adaptive": ({"solver": "dpm_23"}, ValueError, "got dpm_23, which runs on no earlier outputs"),
    "langevin": (
        {"langevin": Langevin(2)},
        ValueError,
        "langevin: expected none .* noise into every traj",
    ),
    "unipc": (
        {"solver": "unipc"},
        ValueError,
        "takes ratios .*got unipc, which runs without",
    ),
    "solver": ({"solver": "euler"}, ValueError, "solver: expected one of"),
    "order": ({"order": 7}, ValueError, "order: expected one of"),
    "dc_order": ({"dc_order": 0}, ValueError, "dc_order: expected one of 1, 2, 3, got 0"),
    "model": ({"model": None}, TypeError, "model: expected a function"),
    "x": ({"x": [1.0, 2.0]}, TypeError, "x: expected a floating .* got list"),
    "no points": ({"x": torch.zeros(0, 4)}, ValueError, "expected one data point or more"),
    "schedule": ({"schedule": None}, TypeError, "schedule: expected VPSchedule.* got NoneType"),
    "rising": ({"sigmas": [1.0, 2.0, 5.0]}, ValueError, "expected a falling grid.*got a rising"),
    "turning": ({"sigmas": [5.0, 1.0, 2.0]}, ValueError, "expected a falling grid"),
    "no step": ({"sigmas": [5.0]}, ValueError, r"sigmas: expected two or more.*\(5\.0,\)"),
    "empty": ({"sigmas": []}, ValueError, r"sigmas: expected two or more, .* got \(\)"),
    "zeros": ({"sigmas": [0.0, 0.0]}, ValueError, "sigmas: expected two or more, the first above"),
    "negative": ({"sigmas": [2.0, -1.0]}, ValueError, r"0 or more, got -1\.0"),
    "no time": (
        {"schedule": VPSchedule()},
        ValueError,
        'variable="t": expected a schedule with a model time.*"lambda"',
    ),
    "still": ({"sigmas": [5.0, 5.0]}, ValueError, r"sigmas: .* that moves, got \(5\.0, 5\.0\)"),
    "x NaN": ({"x": X * math.nan}, ValueError, "x: expected a finite latent to start from"),
    "x infinite": (
        {"x": torch.cat([X, X[:1] / 0.0]), "check": 1},
        ValueError,
        "x: expected a finite latent to start from",
    ),
    "cfg NaN": ({"cfg": math.nan}, ValueError, "cfg: expected a finite number, got nan"),
    "cfg text": ({"cfg": "7"}, TypeError, "cfg: expected a number, got '7'"),
    "finals": ({"finals": []}, TypeError, r"finals: expected a function of a Finals, got \[\]"),
    "seeds": ({"seeds": [-1]}, ValueError, r"seeds: expected whole numbers from 0 .*got \(-1,\)"),
    "scheduler": ({"scheduler": 5}, TypeError, "scheduler: expected a text or None, got 5"),
    "class": ({"model_class": "x" * 5000}, ValueError, "model_class: expected a text of at most 4"),
    "many seeds": ({"seeds": range(10_001)}, ValueError, "seeds: expected a list of at most 10000"),
    "shape": ({"latent_shape": (-1, 4)}, ValueError, "latent_shape: expected a whole number from"),
    "cfg large": ({"cfg": 1e5}, ValueError, "cfg: expected 10000 at most, got 100000"),
    "cfg vast": ({"cfg": 10**400}, ValueError, "cfg: expected a finite number, got 10000"),
    "cfg two": ({"cfg": X[0]}, TypeError, "cfg: expected one number, got tensor"),
}


def test_deis_refuses_times_that_are_rounded_and_compensation_only_where_it_acts() -> None:
    rounded = VPSchedule(lambda sigma: round(10 * math.atan(sigma)))
    arguments: dict[str, Any] = {"schedule": rounded, "disable": True}
    sigmas = [20.0, 19.0, 10.0, 5.0, 2.0, 0.0]
    assert [rounded.model_time(sigma) for sigma in sigmas[:3]] == [15, 15, 15]
    with pytest.raises(ValueError, match=r"expected outputs at different times, .*take deis_rhoab"):
        sample(Gaussian(), X, sigmas, solver="deis_tab", **arguments)
    plain = sample(Gaussian(), X, sigmas, **arguments)
    late = sample(Gaussian(), X, sigmas, ratios=[1.0, 1.0, 1.0, 1.0, 1.2], **arguments)
    assert not torch.equal(plain, late)


def test_times_that_are_rounded_are_refused() -> None:
    """Compensation interpolates in them; with K = 1 it needs no more than the ratio."""
    rounded = VPSchedule(lambda sigma: float(round(math.log(sigma))))
    arguments: dict[str, Any] = {"schedule": rounded, "disable": True}
    sigmas = [5.0, 2.0, 1.9, 1.8, 0.5, 0.0]
    words = r"ratios: expected outputs at different times, got .*sigma_to_t of the schedule must no"
    for ratios in ([1.0, 1.0, 1.2, 1.0, 1.0], [1.0, 1.0, 1.0, 1.2, 1.0]):
        model = Gaussian()
        with pytest.raises(ValueError, match=words):
            sample(model, X, sigmas, ratios=ratios, **arguments)
        with pytest.raises(ValueError, match=words):
            calibrate(model, X, sigmas, schedule=rounded)
        assert model.called_at == []
        sample(model, X, sigmas, ratios=ratios, dc_order=1, **arguments)
    weights = interpolation_weights((3.0, 2.5, 2.0), 1.2)
    assert sum(weights) == pytest.approx(1.0)
    for times in ((3.0, 2.0, 2.0), (3.0, 3.0, 2.0), (3.0, 2.0, 3.0)):
        with pytest.raises(ValueError, match=words):
            interpolation_weights(times, 1.2)


@pytest.mark.parametrize("name", BAD_CALIBRATE)
def test_calibrate_refuses(name: str) -> None:
    """Before the model is called."""
    changed, error, words = BAD_CALIBRATE[name]
    model = Gaussian()
    arguments: dict[str, Any] = {"model": model, "x": X, "sigmas": SIGMAS}
    arguments |= {"schedule": schedule_of("vp"), **changed}
    check(error, words, lambda: calibrate(**arguments))
    assert model.called_at == []


BAD_GRID: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "starts": (
        {"grids": [SIGMAS, [4.0, 1.0, 0.0]]},
        ValueError,
        r"grids: expected all to start at the same sigma.*got \[4\.0, 5\.0\]",
    ),
    "no grid": ({"grids": []}, ValueError, "expected one grid and one CFG or more, got 0 and 1"),
    "no cfg": ({"cfgs": []}, ValueError, "expected one grid and one CFG or more, got 1 and 0"),
    "rising": ({"grids": [SIGMAS, [1.0, 2.0]]}, ValueError, "expected a falling grid"),
    "ends": (
        {"grids": [[5.0, 2.0, 0.0], [5.0, 1.0, 0.5]]},
        ValueError,
        r"grids: expected all to end at the same sigma.*got \[0\.0, 0\.5\]",
    ),
    "model": ({"model": lambda cfg: cfg}, TypeError, "model: expected a function .* got float"),
    "check": ({"check": 3}, ValueError, "check: expected 0 to 2 of the 3 points, got 3"),
    "identity": ({"checkpoint": "x"}, TypeError, "unknown argument checkpoint"),
    "loss": (
        {"loss": None},
        ValueError,
        "loss: expected one of balanced, relative, mean, got None",
    ),
    "cfg NaN": ({"cfgs": [math.nan]}, ValueError, "cfg: expected a finite number, got nan"),
    "cfg text": ({"cfgs": ["7"]}, TypeError, "cfg: expected a number, got '7'"),
    "mixed": (
        {"grids": [SIGMAS, [5.0, 0.0]], "quality": "schedule"},
        ValueError,
        r"grids: expected all of two steps or more that move, .* got \(5\.0, 0\.0\)",
    ),
}


@pytest.mark.parametrize("name", BAD_GRID)
def test_calibrate_grid_refuses(name: str) -> None:
    changed, error, words = BAD_GRID[name]
    model = Gaussian()
    arguments: dict[str, Any] = {"model": lambda cfg: model, "x": X, "grids": [SIGMAS]}
    arguments |= {"cfgs": [3.0], "schedule": schedule_of("vp"), **changed}
    check(error, words, lambda: calibrate_grid(**arguments))
    assert model.called_at == []


# RatioSchedule, CPR, fit_cpr, save


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"ratios": (math.nan,)}, ValueError, "ratios: expected finite numbers, got nan at step 0"),
        ({"ratios": (1.0, 1e300)}, ValueError, "ratios: expected numbers of 1e.06 at most"),
        ({"ratios": ("a", "b")}, TypeError, "ratios: expected a sequence of numbers"),
        ({"sigmas": (3.0, 0.0)}, ValueError, "sigmas: expected 3 for 2 ratios, got 2"),
        ({"sigmas": (3.0, math.nan, 0.0)}, ValueError, "sigmas: expected finite numbers"),
        ({"sigmas": (3.0, 1.0, -1.0)}, ValueError, "sigmas: expected finite numbers of 0 or more"),
        ({"start": -1.0}, ValueError, "start: expected a finite sigma of 0 or more"),
        ({"cfg": math.inf}, ValueError, "cfg: expected a finite number, got inf"),
        ({"solver": "unipc"}, ValueError, "ratios: unipc runs without compensation"),
        ({"solver": "euler"}, ValueError, "solver: expected one of"),
        ({"order": 5}, ValueError, "order: expected one of 1, 2, 3, 4, got 5"),
        ({"variable": "s"}, ValueError, "variable: expected one of"),
        ({"origin": "found"}, ValueError, "origin: expected one of .*got 'found'"),
    ],
)
def test_a_ratio_schedule_checks_itself(
    changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    check(error, words, lambda: RatioSchedule(**{"ratios": (1.0, 1.0), **changed}))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"coefficients": (0.0,) * 35}, "coefficients: expected 36 finite numbers, got 35"),
        ({"coefficients": (math.nan,) * 36}, "coefficients: expected 36 finite numbers"),
        ({"steps_range": (9, 5)}, r"steps_range: expected a lower and an upper end, got \(9, 5\)"),
        ({"cfg_range": (1.0, math.inf)}, "cfg_range: expected a lower and an upper end"),
        ({"cfg_range": (1.0, 1e300)}, "cfg_range: expected scales of 10000 at most"),
        ({"coefficients": (1e300,) * 36}, "coefficients: expected numbers of 1e.12 at most"),
        ({"solver": "unipc"}, "ratios: unipc runs without compensation"),
        ({"variant": "bh3"}, "variant: expected one of"),
        ({"solver": "euler"}, "solver: expected one of"),
    ],
)
def test_a_regression_checks_itself(changed: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {
        "coefficients": (0.0,) * 36,
        "steps_range": (5, 10),
        "cfg_range": (1.0, 7.5),
    }
    assert CPR(**good).predict(5, 3.0).ratios == (1.0, 1.0, 0.0, 0.0, 0.0)
    check(ValueError, words, lambda: CPR(**{**good, **changed}))


@pytest.mark.parametrize(
    ("steps", "cfg", "words"),
    [
        (0, 3.0, "steps: expected a whole number of 1 or more, got 0"),
        (-2, 3.0, "steps: .* got -2"),
        (5.5, 3.0, r"steps: .* got 5\.5"),
        (True, 3.0, "steps: .* got True"),
        (math.nan, 3.0, "steps: expected a whole number of 1 or more, got nan"),
        (math.inf, 3.0, "steps: .* got inf"),
        (5, math.nan, "cfg: expected a finite number, got nan"),
        (5, math.inf, "cfg: expected a finite number, got inf"),
    ],
)
def test_predict_refuses(steps: Any, cfg: float, words: str) -> None:
    cpr = CPR((0.0,) * 36, steps_range=(5, 10), cfg_range=(1.0, 7.5))
    check(ValueError, words, lambda: cpr.predict(steps, cfg))


def test_predict_takes_whole_numbers_of_other_types() -> None:
    cpr = CPR(tuple(range(36)), steps_range=(5, 10), cfg_range=(1.0, 7.5))
    assert cpr.predict(6.0, 3) == cpr.predict(np.int64(6), np.float64(3.0)) == cpr.predict(6, 3.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedules", "words"),
    [
        ([], "fit_cpr: expected one calibration or more, got none"),
        ([RatioSchedule((1.0, 1.0, 1.1))], "expected calibrations with their CFG, got one without"),
        (
            [RatioSchedule((1.0,), cfg=1.0), RatioSchedule((1.0,), cfg=1.0, order=3)],
            "expected one set of solver settings, got .*'order': 2.* and .*'order': 3",
        ),
        (
            [RatioSchedule((1.0,), cfg=1.0), RatioSchedule((1.0,), cfg=1.0, variable="lambda")],
            "expected one set of solver settings",
        ),
        (
            [
                RatioSchedule((1.0,), cfg=1.0, identity=Identity(fingerprint="a")),
                RatioSchedule((1.0,), cfg=1.0, identity=Identity(fingerprint="b")),
            ],
            "expected calibrations of one model on one scheduler, got fingerprint",
        ),
    ],
)
def test_fit_cpr_refuses(schedules: list[RatioSchedule], words: str) -> None:
    check(ValueError, words, lambda: fit_cpr(schedules))


def test_save_refuses_other_objects(tmp_path: Any) -> None:
    check(
        TypeError,
        "save: expected a RatioSchedule or a CPR, got dict",
        lambda: save({}, tmp_path / "a.safetensors"),  # type: ignore[arg-type]
    )
    assert list(tmp_path.iterdir()) == []


def test_settings_of_gives_the_arguments_of_sample() -> None:
    stored = RatioSchedule(ratios=(1.0, 1.2, 0.9, 1.1), order=3, dc_order=1, variable="lambda")
    how = {"schedule": VPSchedule(), "disable": True}
    by_settings = sample(Gaussian(), X, SIGMAS, ratios=stored.ratios, **settings_of(stored), **how)
    assert torch.equal(by_settings, sample(Gaussian(), X, SIGMAS, ratios=stored, **how))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("bad", [0, 2, 3])
def test_a_model_that_is_not_finite_is_named_with_its_step(value: float, bad: int) -> None:
    sigmas = [10.0, 5.0, 2.0, 1.0, 0.0]

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        denoised = x / (1 + float(sigma[0]) ** 2)
        if float(sigma[0]) == sigmas[bad]:
            denoised.view(-1)[1] = value
        return denoised

    x = torch.full((2, 3), 10.0)
    with pytest.raises(
        ValueError, match=rf"NaN or infinity in step {bad + 1} of 4 \(sigma {sigmas[bad]:g}\)"
    ):
        sample(model, x, sigmas, schedule=VPSchedule())
