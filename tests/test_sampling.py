"""What a caller sees of ``sample``: calls, ends, odd grids, shapes, precision, safety."""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from dc_solver.ratios import RatioSchedule
from dc_solver.solvers import SOLVERS, FlowSchedule, RunReport, VPSchedule, sample
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.orders import LONGEST_STEP, step_order
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.step import Settings
from problems import Gaussian, Mixture, schedule_of
from torch.utils._python_dispatch import TorchDispatchMode

GRIDS = {
    "vp": [12.0, 6.0, 3.1, 1.4, 0.6, 0.2, 0.0],
    "flow": [0.97, 0.9, 0.78, 0.6, 0.4, 0.15, 0.0],
}
RATIOS = [1.0, 1.3, 0.8, 1.2, 0.9, 1.4]
KINDS = ("vp", "flow")
#: The adaptive ones have tests of their own.
FIXED = [entry.name for entry in SOLVERS.values() if entry.kind != "adaptive"]
MULTISTEP = [entry.name for entry in SOLVERS.values() if entry.kind == "multistep"]


def start(
    kind: str, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(*(shape or (3, 8)), generator=generator, dtype=torch.float64)
    return (noise * (1.0 if kind == "flow" else 12.0)).to(dtype)


def even_grid(kind: str, first: float, last: float, steps: int) -> list[float]:
    """Sigmas even in half-logSNR."""
    schedule = schedule_of(kind)
    return [schedule.sigma_at(first + (last - first) * k / steps) for k in range(steps + 1)]


def run(kind: str, model: Callable[..., torch.Tensor], x: torch.Tensor, sigmas: Any, **how: Any):
    return sample(model, x, sigmas, schedule=schedule_of(kind), disable=True, **how)


def with_ratios(name: str, steps: int) -> list[float] | None:
    return RATIOS[:steps] if SOLVERS[name].compensates else None


# Model calls


@pytest.mark.parametrize("end", [0.0, 0.05])
@pytest.mark.parametrize("name", MULTISTEP)
@pytest.mark.parametrize("kind", KINDS)
def test_one_call_a_step_at_its_sigma(kind: str, name: str, end: float) -> None:
    sigmas = [*GRIDS[kind][:-1], end]
    model = Gaussian(kind)
    run(kind, model, start(kind), sigmas, solver=name, ratios=with_ratios(name, 6))
    assert model.called_at == sigmas[:-1]


@pytest.mark.parametrize("ends", [(0.97, 0.0), (0.97, 0.05), (1.0, 0.0), (1.0, 0.05)])
@pytest.mark.parametrize("name", FIXED)
def test_a_grid_of_n_intervals_is_a_budget_of_n_calls(name: str, ends: tuple[float, float]) -> None:
    first, last = ends
    for steps, lower_order in itertools.product(range(1, 13), (True, "final", False)):
        sigmas = [first + (last - first) * k / steps for k in range(steps)] + [last]
        model, x = Gaussian("flow"), start("flow")
        reports: list[RunReport] = []
        infos: list[dict[str, Any]] = []
        result = run(
            "flow", model, x, sigmas, solver=name, lower_order=lower_order, report=reports.append,
            callback=infos.append,
        )  # fmt: skip
        assert result.isfinite().all()
        assert len(model.called_at) == steps * (SOLVERS[name].calls_per_step or 0)
        assert reports == [RunReport(steps)]
        assert [info["i"] for info in infos] == list(range(steps))
        assert [float(info["sigma"]) for info in infos] == model.called_at
        assert model.called_at == sorted(model.called_at, reverse=True)


def test_the_model_receives_one_sigma_a_sample_and_the_extra_arguments() -> None:
    seen: list[tuple[tuple[int, ...], torch.dtype, Any]] = []

    def model(x: torch.Tensor, sigma: torch.Tensor, *, cond: str) -> torch.Tensor:
        seen.append((tuple(sigma.shape), sigma.dtype, cond))
        assert torch.equal(sigma, sigma[:1].expand_as(sigma))
        return x * 0.5

    run("vp", model, start("vp", 4, 2, dtype=torch.float16), [5.0, 1.0], extra_args={"cond": "a"})
    assert seen == [((4,), torch.float32, "a")]


# Ratios of 1


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_ratios_of_one_are_unipc_to_the_bit(
    kind: str, order: int, variant: str, dc_order: int, variable: str
) -> None:
    x = start(kind, dtype=torch.float32)
    common: dict[str, Any] = {"order": order, "variant": variant, "lower_order": "final"}
    plain = run(kind, Mixture(kind), x, GRIDS[kind], solver="unipc", **common)
    common |= {"dc_order": dc_order, "variable": variable}
    for ratios in (None, [1.0] * 6):
        assert torch.equal(run(kind, Mixture(kind), x, GRIDS[kind], ratios=ratios, **common), plain)
    # A ratio at a step with too few outputs switches compensation on and yet does nothing.
    ignored = [7.0] * dc_order + [1.0] * (6 - dc_order)
    assert torch.equal(run(kind, Mixture(kind), x, GRIDS[kind], ratios=ignored, **common), plain)
    acting = [1.0] * dc_order + [1.5] + [1.0] * (5 - dc_order)
    assert not torch.equal(run(kind, Mixture(kind), x, GRIDS[kind], ratios=acting, **common), plain)


def test_a_ratio_schedule_brings_its_settings() -> None:
    x = start("vp")
    how: dict[str, Any] = {
        "order": 3,
        "variant": "bh1",
        "dc_order": 1,
        "variable": "lambda",
        "lower_order": "final",
        "first_corrector": False,
    }
    stored = RatioSchedule(ratios=tuple(RATIOS), **how)
    got = run("vp", Mixture(), x, GRIDS["vp"], ratios=stored, order=1, dc_order=3)
    assert torch.equal(got, run("vp", Mixture(), x, GRIDS["vp"], ratios=RATIOS, **how))
    by_name = RatioSchedule(ratios=tuple(RATIOS), solver="dpmpp_2m", order=2)
    got = run("vp", Mixture(), x, GRIDS["vp"], ratios=by_name)
    expected = run("vp", Mixture(), x, GRIDS["vp"], ratios=RATIOS, solver="dpmpp_2m")
    assert torch.equal(got, expected)
    for solver, words in (("unipc", "without compensation"), ("ddim", "expected dpmpp_2m")):
        with pytest.raises(ValueError, match=words):
            run("vp", Mixture(), x, GRIDS["vp"], ratios=by_name, solver=solver)


# Ends


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_sigma_zero_returns_the_last_output_to_the_bit(kind: str, name: str) -> None:
    outputs: list[torch.Tensor] = []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        outputs.append(Mixture(kind)(x, sigma))
        return outputs[-1]

    for lower_order in (True, "final", False):
        result = run(kind, model, start(kind), GRIDS[kind], solver=name, lower_order=lower_order)
        assert torch.equal(result, outputs[-1])


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("kind", KINDS)
def test_sigma_zero_returns_the_last_compensated_output(kind: str, variable: str) -> None:
    outputs: list[torch.Tensor] = []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        outputs.append(Mixture(kind)(x, sigma))
        return outputs[-1]

    rho = 1.7
    ratios = [1.0] * 5 + [rho]
    result = run(kind, model, start(kind), GRIDS[kind], ratios=ratios, variable=variable)
    schedule = schedule_of(kind)
    label = schedule.model_time if variable == "t" else schedule.half_logsnr
    c, b, a = (label(sigma) for sigma in GRIDS[kind][3:6])
    t = rho * a + (1 - rho) * b
    expected = (
        (t - b) * (t - c) / ((a - b) * (a - c)) * outputs[-1]
        + (t - a) * (t - c) / ((b - a) * (b - c)) * outputs[-2]
        + (t - a) * (t - b) / ((c - a) * (c - b)) * outputs[-3]
    )
    torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_many_steps_reach_the_exact_solution_above_zero(kind: str, name: str) -> None:
    sigmas = even_grid(kind, -2.0, 2.0, 200)
    problem, x = Gaussian(kind), start(kind)
    result = run(kind, problem, x, sigmas, solver=name)
    exact = problem.exact(x, sigmas[0], sigmas[-1])
    order = SOLVERS[name].order or 2
    limit = {1: 3e-2, 2: 3e-4, 3: 3e-5}[order] * (10.0 if kind == "vp" else 1.0)
    assert float((result - exact).abs().max()) < limit


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_flow_from_pure_noise_is_finite(
    order: int, variant: str, dc_order: int, variable: str
) -> None:
    x = start("flow")
    for lower_order, end in itertools.product((True, "final", False), (0.0, 0.1)):
        sigmas = [1.0, 0.9, 0.75, 0.6, 0.45, 0.3, end]
        result = run(
            "flow",
            Gaussian("flow"),
            x,
            sigmas,
            ratios=[1.2] * 6,
            order=order,
            variant=variant,
            dc_order=dc_order,
            variable=variable,
            lower_order=lower_order,
        )
        assert result.isfinite().all()
        assert float((result - Gaussian("flow").exact(x, 1.0, end)).abs().max()) < 1.0


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_flow_from_pure_noise_reaches_the_exact_solution(order: int, variant: str) -> None:
    sigmas = [1.0, *even_grid("flow", -6.0, 4.0, 150)]
    problem, x = Gaussian("flow"), start("flow")
    result = run("flow", problem, x, sigmas, solver="unipc", order=order, variant=variant)
    exact = problem.exact(x, 1.0, sigmas[-1])
    assert float((result - exact).abs().max()) < (3e-3 if order == 1 else 3e-4)


def test_a_flow_sigma_just_above_one_counts_as_one() -> None:
    sigmas = [1.0, 0.8, 0.5, 0.2, 0.0]
    x = start("flow")
    rounded = run("flow", Gaussian("flow"), x, [1.0 + 1e-7, *sigmas[1:]], order=3)
    torch.testing.assert_close(
        rounded, run("flow", Gaussian("flow"), x, sigmas, order=3), rtol=0.0, atol=1e-5
    )


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize(
    ("kind", "first"), [("flow", 1.0), ("flow", 1.0 - 1e-4), ("flow", 1.0 - 1e-6), ("vp", 4500.0)]
)
def test_a_small_signal_costs_no_digits(kind: str, first: float, name: str) -> None:
    """From next to no signal, in 32-bit floats, every solver is where it is in 64-bit ones."""
    sigmas = [first, *GRIDS[kind][1:]]
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)) * first
    exact = run(kind, Mixture(kind), x.double(), sigmas, solver=name)
    rounded = run(kind, Mixture(kind), x, sigmas, solver=name)
    # Of a state of 4500, digits are already gone; on noise a step of third order from 1 - 1e-6 is
    # itself that sensitive to the model's outputs.
    tolerance = 2e-4 if kind == "flow" and first != 1.0 - 1e-6 else 5e-3
    torch.testing.assert_close(rounded.double(), exact, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_deterministic_solver_makes_the_same_twice(name: str) -> None:
    x = start("vp", dtype=torch.float32)
    results = [run("vp", Mixture("vp"), x, GRIDS["vp"], solver=name) for _ in range(2)]
    assert torch.equal(*results) == SOLVERS[name].deterministic


# Few steps


@pytest.mark.parametrize("sigmas", [[], [5.0], torch.tensor([5.0])])
def test_no_step_returns_a_copy_and_calls_nothing(sigmas: Any) -> None:
    model, x = Gaussian(), start("vp")
    result = run("vp", model, x, sigmas)
    assert torch.equal(result, x)
    assert result.data_ptr() != x.data_ptr()
    assert model.called_at == []


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_one_step_is_ddim(kind: str, name: str) -> None:
    high, low = GRIDS[kind][1], GRIDS[kind][3]
    x = start(kind)
    result = run(kind, Gaussian(kind), x, [high, low], solver=name)
    data = Gaussian(kind)(x, torch.full((3,), high, dtype=torch.float64))
    a, b = (1 - high, 1 - low) if kind == "flow" else (1.0, 1.0)
    expected = b * data + low * (x - a * data) / high
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(run(kind, Gaussian(kind), x, [high, 0.0], solver=name), data)


@pytest.mark.parametrize("name", FIXED)
def test_two_steps_to_zero(name: str) -> None:
    """The second step is first order by its limit: the output at the first step's state."""
    x = start("vp")
    model = Gaussian()
    middle = run("vp", model, x, [6.0, 2.0], solver=name)
    expected = model(middle, torch.full((3,), 2.0, dtype=torch.float64))
    result = run("vp", model, x, [6.0, 2.0, 0.0], solver=name)
    torch.testing.assert_close(result, expected, rtol=1e-12, atol=1e-12)


# Odd grids


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_a_repeated_sigma_does_no_harm(kind: str, name: str) -> None:
    plain = even_grid(kind, -2.0, 2.0, 60)
    problem, x = Gaussian(kind), start(kind)
    exact = problem.exact(x, plain[0], plain[-1])
    error = float((run(kind, problem, x, plain, solver=name) - exact).abs().max())
    for place, times in ((0, 1), (30, 1), (30, 3), (59, 2), (60, 1), (60, 2), (60, 3)):
        repeated = [*plain[:place], *[plain[place]] * times, *plain[place:]]
        ratios = [1.0] * (len(repeated) - 2) + [1.01] if SOLVERS[name].compensates else None
        for given, allowed in ((None, 5e-4), (ratios, 1e-2)):
            result = run(kind, problem, x, repeated, solver=name, ratios=given)
            assert float((result - exact).abs().max()) < 2.0 * error + allowed, place


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "sigmas", [[5.0, 5.0], [5.0, 5.0, 5.0], [10.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0, 0.0]]
)
def test_a_grid_of_repeats_alone(sigmas: list[float], order: int) -> None:
    problem, x = Gaussian(), start("vp")
    result = run("vp", problem, x, sigmas, order=order)
    unique = list(dict.fromkeys(sigmas))
    expected = run("vp", problem, x, unique, order=order)
    torch.testing.assert_close(result, expected, rtol=0.0, atol=0.1)
    assert len(problem.called_at) == len(sigmas) - 1 + len(unique) - 1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("first", [[1.0, 1.0], [1.0, 1.0, 1.0], [1.0 + 1e-6, 1.0]])
def test_a_flow_grid_that_repeats_pure_noise(first: list[float], order: int) -> None:
    rest = [0.9, 0.7, 0.5, 0.3, 0.1]
    x = start("flow")
    result = run("flow", Gaussian("flow"), x, [*first, *rest], order=order)
    expected = run("flow", Gaussian("flow"), x, [1.0, *rest], order=order)
    torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_trailing_zeros_change_nothing_and_call_nothing(kind: str, name: str) -> None:
    model, x = Mixture(kind), start(kind)
    expected = run(kind, model, x, GRIDS[kind], solver=name)
    calls: list[float] = []

    def counted(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(float(sigma[0]))
        return model(x, sigma)

    result = run(kind, counted, x, [*GRIDS[kind], 0.0, 0.0], solver=name)
    assert torch.equal(result, expected)
    assert len(calls) == len(GRIDS[kind]) - 1 and calls[0] == GRIDS[kind][0]


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_rising_grids_invert_falling_ones(kind: str, name: str) -> None:
    down = even_grid(kind, -2.0, 2.0, 120)
    x = start(kind)
    low = run(kind, Gaussian(kind), x, down, solver=name)
    exact = Gaussian(kind).exact(low, down[-1], down[0])
    back = run(kind, Gaussian(kind), low, down[::-1], solver=name)
    limit = {1: 0.6, 2: 2e-2, 3: 2e-3}[SOLVERS[name].order or 2]
    assert float((back - exact).abs().max()) < limit
    assert float((back - x).abs().max()) < 2 * limit


@pytest.mark.parametrize("name", FIXED)
def test_a_flow_grid_rising_to_pure_noise_and_back(name: str) -> None:
    up = even_grid("flow", 2.0, -4.0, 100)
    x = start("flow")
    noise = run("flow", Gaussian("flow"), x, [*up, 1.0], solver=name)
    limit = 0.15 if SOLVERS[name].order == 1 else 2e-2
    assert float((noise - Gaussian("flow").exact(x, up[0], 1.0)).abs().max()) < limit
    back = run("flow", Gaussian("flow"), x, [*up, 1.0, *up[::-1]], solver=name)
    assert float((back - x).abs().max()) < 2 * limit


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_that_turns_stays_on_the_solution(kind: str, order: int) -> None:
    down = even_grid(kind, -1.0, 1.5, 60)
    sigmas = [*down, *down[::-1][1:20], *down[41:]]
    problem, x = Gaussian(kind), start(kind)
    exact = problem.exact(x, sigmas[0], sigmas[-1])
    for given in (None, [1.0 + 1e-3] * (len(sigmas) - 1)):
        result = run(kind, problem, x, sigmas, order=order, ratios=given, lower_order="final")
        assert float((result - exact).abs().max()) < (0.3 if order == 1 else 2e-2)


def test_a_turn_is_never_extrapolated_through() -> None:
    """After a turn the order starts again from one."""
    sigmas = [8.0, 4.0, 2.0, 1.0, 2.0, 4.0, 8.0, 4.0, 2.0]
    schedule = VPSchedule()
    plan = make_plan(make_grid(sigmas, schedule), schedule, Settings(order=3, lower_order=False))
    assert [step.order for step in plan] == [1, 2, 3, 1, 2, 3, 1, 2]


# Shapes and precision


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4), (1, 2, 3, 2, 2), (2, 1, 12)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_rank_gives_the_same_numbers(kind: str, shape: tuple[int, ...]) -> None:
    x = start(kind, 24)
    expected = run(kind, Mixture(kind), x, GRIDS[kind], ratios=RATIOS)
    result = run(kind, Mixture(kind), x.reshape(shape), GRIDS[kind], ratios=RATIOS)
    assert result.shape == shape
    torch.testing.assert_close(result.reshape(-1), expected, rtol=1e-12, atol=1e-12)


def test_an_empty_batch_is_a_batch() -> None:
    result = run("vp", lambda x, sigma: x * 0.5, torch.zeros(0, 4, 8), GRIDS["vp"], ratios=RATIOS)
    assert result.shape == (0, 4, 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_rounded_for_the_model_and_at_the_end_alone(
    kind: str, dtype: torch.dtype
) -> None:
    """With outputs that do not depend on x, the half run is the rounded float32 run."""

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        assert sigma.dtype == torch.float32
        steps = torch.arange(8, dtype=torch.float32)
        return torch.sin(steps * sigma[0]).expand(x.shape)

    sigmas = [*GRIDS[kind][:-1], 0.05]
    half = start(kind, dtype=dtype)
    single = run(kind, model, half.float(), sigmas, ratios=RATIOS)
    result = run(kind, model, half, sigmas, ratios=RATIOS)
    assert result.dtype == dtype
    assert torch.equal(result, single.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_model_sees_the_callers_dtype(dtype: torch.dtype) -> None:
    seen = set()

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.add(x.dtype)
        return x * 0.5

    run("vp", model, start("vp", dtype=dtype), GRIDS["vp"], ratios=RATIOS)
    assert seen == {dtype}


def test_float32_stays_within_rounding_of_float64() -> None:
    exact = run("vp", Mixture(), start("vp"), GRIDS["vp"], ratios=RATIOS)
    single = run("vp", Mixture(), start("vp", dtype=torch.float32), GRIDS["vp"], ratios=RATIOS)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0.0, atol=1e-4)


# Safety


def test_nothing_of_the_callers_is_written_to() -> None:
    for dtype in (torch.float32, torch.float64, torch.float16):
        x, sigmas = start("vp", dtype=dtype), torch.tensor(GRIDS["vp"])
        given = {"cond": torch.ones(3)}
        ratios = list(RATIOS)
        tensors = (x, sigmas, given["cond"])
        before = [(tensor.clone(), tensor._version) for tensor in tensors]
        run(
            "vp",
            lambda x, sigma, cond: Mixture()(x, sigma),
            x,
            sigmas,
            ratios=ratios,
            extra_args=given,
        )
        for tensor, (value, version) in zip(tensors, before):
            assert torch.equal(tensor, value)
            assert tensor._version == version
        assert ratios == RATIOS
        assert list(given) == ["cond"] and given["cond"] is tensors[2]


def test_the_models_outputs_are_not_written_to() -> None:
    outputs: list[tuple[torch.Tensor, int]] = []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        out = Mixture()(x, sigma)
        outputs.append((out, out._version))
        return out

    run("vp", model, start("vp"), GRIDS["vp"], ratios=RATIOS)
    assert all(out._version == version for out, version in outputs)


@pytest.mark.parametrize("name", FIXED)
def test_a_model_may_return_its_input_or_a_view(name: str) -> None:
    x = start("vp")

    def mean(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=1, keepdim=True).expand_as(x) / (1 + float(sigma[0]))

    pairs = (
        (lambda x, sigma: x, lambda x, sigma: x.clone()),
        (mean, lambda x, sigma: mean(x, sigma).contiguous()),
    )
    sigmas = [*GRIDS["vp"][:-1], 0.1]
    for shared, separate in pairs:
        how: dict[str, Any] = {"solver": name, "ratios": with_ratios(name, 6)}
        result = run("vp", shared, x, sigmas, **how)
        assert torch.equal(result, run("vp", separate, x, sigmas, **how))
        assert result.data_ptr() != x.data_ptr()
        result.zero_()  # every element has its own memory


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_permuting_the_batch_permutes_the_result(kind: str, name: str) -> None:
    x = start(kind, 5, 7)
    order = torch.tensor([3, 0, 4, 1, 2])
    how: dict[str, Any] = {"solver": name, "ratios": with_ratios(name, 6)}
    result = run(kind, Mixture(kind), x, GRIDS[kind], **how)
    permuted = run(kind, Mixture(kind), x[order], GRIDS[kind], **how)
    torch.testing.assert_close(permuted, result[order], rtol=1e-12, atol=1e-12)
    alone = run(kind, Mixture(kind), x[2:3], GRIDS[kind], **how)
    torch.testing.assert_close(alone, result[2:3], rtol=1e-12, atol=1e-12)


def test_no_gradient_is_kept() -> None:
    x = start("vp").requires_grad_()
    assert not run("vp", Gaussian(), x, GRIDS["vp"], ratios=RATIOS).requires_grad
    assert x.requires_grad


@pytest.mark.parametrize("name", MULTISTEP)
@pytest.mark.parametrize("kind", KINDS)
def test_callback_contents(kind: str, name: str) -> None:
    inputs, outputs, infos = [], [], []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        inputs.append(x.clone())
        outputs.append(Gaussian(kind)(x, sigma))
        return outputs[-1]

    x = start(kind)
    sigmas = even_grid(kind, -2.0, 2.0, 40)
    run(kind, model, x, sigmas, solver=name, callback=infos.append)
    assert [info["i"] for info in infos] == list(range(40))
    for info, sigma, output in zip(infos, sigmas, outputs):
        assert set(info) == {"x", "i", "sigma", "sigma_hat", "denoised"}
        assert float(info["sigma"]) == float(info["sigma_hat"]) == sigma
        assert torch.equal(info["denoised"], output)
    assert torch.equal(infos[0]["x"], x)
    for info, seen in zip(infos, inputs):
        if not SOLVERS[name].corrector:
            assert torch.equal(info["x"], seen)
    # The state shown is that after the corrector: no further from the solution than its input.
    if SOLVERS[name].corrector:
        exact = [Gaussian(kind).exact(x, sigmas[0], sigma) for sigma in sigmas]
        shown = max(float((info["x"] - e).abs().max()) for info, e in zip(infos, exact))
        predicted = max(float((seen - e).abs().max()) for seen, e in zip(inputs, exact))
        assert shown < predicted


def test_callback_after_sigma_zero_shows_the_result() -> None:
    infos: list[dict[str, Any]] = []
    result = run("vp", Gaussian(), start("vp"), [2.0, 0.0, 0.0], callback=infos.append)
    assert [info["i"] for info in infos] == [0, 1]
    assert torch.equal(infos[1]["denoised"], result)
    assert float(infos[1]["sigma"]) == 0.0


# The order rule


@pytest.mark.parametrize(
    ("history", "target", "order", "expected"),
    [
        ([0.0], 1.0, 3, 1),
        ([0.0, -1.0], 1.0, 3, 2),
        ([0.0, -1.0, -2.0], 1.0, 3, 3),
        ([0.0, -1.0, -2.0], 1.0, 2, 2),
        ([0.0, -0.1], LONGEST_STEP * 0.1, 2, 2),
        ([0.0, -0.1], LONGEST_STEP * 0.1 + 1e-9, 2, 1),
        ([0.0, -0.5, -1.0], LONGEST_STEP * 0.75, 3, 3),
        ([0.0, -0.5, -1.0], LONGEST_STEP * 1.0 + 1e-9, 3, 1),
        ([0.0, 0.5, 1.0], -LONGEST_STEP * 0.75, 3, 3),
        ([0.0, -1.0], math.inf, 2, 1),
        ([-math.inf], 0.0, 2, 1),
    ],
)
def test_order_rule(history: list[float], target: float, order: int, expected: int) -> None:
    assert step_order(history, target, order=order, lower_long_steps=True) == expected


def test_without_the_rule_only_the_history_and_infinite_ends_limit_the_order() -> None:
    assert step_order([0.0, -0.1, -0.2], 50.0, order=3, lower_long_steps=False) == 3
    assert step_order([0.0, -0.1], 50.0, order=3, lower_long_steps=False) == 2
    assert step_order([0.0, -0.1], math.inf, order=3, lower_long_steps=False) == 1


def test_the_rule_looks_at_half_logsnr_alone() -> None:
    """The same half-logSNRs give the same orders in both families."""
    lambdas = [-3.0, -1.0, 0.0, 0.3, 0.4, 1.5, 1.9, 2.3, 6.0]
    orders = []
    for schedule in (VPSchedule(), FlowSchedule()):
        grid = make_grid([schedule.sigma_at(value) for value in lambdas], schedule)
        orders.append([step.order for step in make_plan(grid, schedule, Settings(order=3))])
    # By hand: a step drops an order while longer than twice the span of what it would use.
    assert orders[0] == orders[1] == [1, 2, 3, 3, 1, 3, 2, 1]


def test_lowering_at_the_end() -> None:
    sigmas = [8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.0, 0.0]
    grid = make_grid(sigmas, VPSchedule())
    for lower, expected in (
        (True, [1, 2, 3, 3, 2, 1, 0]),
        ("final", [1, 2, 3, 3, 2, 1, 0]),
        (False, [1, 2, 3, 3, 3, 1, 0]),
    ):
        plan = make_plan(grid, VPSchedule(), Settings(order=3, lower_order=lower))
        assert [step.order for step in plan] == expected


# Cost


class Recorder(VPSchedule):
    """Notes when it is asked for anything."""

    def __init__(self, log: list[str]) -> None:
        super().__init__(math.atan)
        self.log = log

    def signal(self, sigma: float) -> float:
        self.log.append("schedule")
        return super().signal(sigma)

    def model_time(self, sigma: float) -> float:
        self.log.append("schedule")
        return super().model_time(sigma)


def test_the_schedule_is_read_before_the_first_model_call_alone() -> None:
    log: list[str] = []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        log.append("model")
        return x * 0.5

    sample(model, start("vp"), GRIDS["vp"], schedule=Recorder(log), ratios=RATIOS, disable=True)
    assert log.count("model") == 6
    assert "schedule" in log
    assert "schedule" not in log[log.index("model") :]


class DtypesOnMeta(TorchDispatchMode):
    """The dtypes of all tensors that operations make on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.device.type == "meta":
            self.dtypes.add(out.dtype)
        return out


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("kind", KINDS)
def test_no_value_is_read_back_from_the_device_and_none_is_float64(kind: str, name: str) -> None:
    """A meta tensor holds no values: reading one, as a device sync would, raises."""
    for dtype in (torch.float32, torch.float16):
        x = torch.empty(2, 4, device="meta", dtype=dtype)
        with DtypesOnMeta() as made:
            result = run(
                kind,
                lambda x, sigma: torch.empty_like(x),
                x,
                torch.tensor([*GRIDS[kind][:-1], 0.05]),
                solver=name,
                ratios=with_ratios(name, 6),
                callback=lambda info: None,
            )
        assert result.device.type == "meta" and result.dtype == dtype
        assert made.dtypes - {torch.bool} == {dtype, torch.float32}


@contextmanager
def new_latents(shape: tuple[int, ...]) -> Iterator[Callable[[], int]]:
    """Counts the different memories of this shape among tensors made since."""

    def count() -> int:
        tensors = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor]
        return len({t.untyped_storage().data_ptr() for t in tensors if tuple(t.shape) == shape})

    gc.collect()
    gc.freeze()  # hides all that lives already
    try:
        yield count
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(
    ("order", "dc_order"), [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3), (4, 3)]
)
def test_memory_is_bounded_by_the_history_in_use(order: int, dc_order: int) -> None:
    """At most K + 3 latents beside the caller's own, however many steps."""
    shape = (1, 37, 41)
    x = torch.randn(shape)
    counts: list[int] = []
    with new_latents(shape) as alive:

        def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            counts.append(alive())
            return x * 0.5

        result = run(
            "vp",
            model,
            x,
            even_grid("vp", -2.0, 2.0, 12),
            ratios=[1.1] * 12,
            order=order,
            dc_order=dc_order,
            callback=lambda info: counts.append(alive()),
        )
        assert len(counts) == 24
        assert 1 < max(counts) <= dc_order + 3
        assert alive() == 1
        del result


@pytest.mark.parametrize(
    ("name", "most"),
    [("ddim", 1), ("dpmpp_2m", 2), ("dpmpp_3m", 3), ("dpm_2m", 2), ("ipndm", 2), ("dpmpp_2s", 3)],
)
def test_plain_solvers_keep_no_more_than_their_order(name: str, most: int) -> None:
    """At a model call: the state, and the outputs but the newest, which is yet to come."""
    shape = (1, 43, 47)
    x = torch.randn(shape)
    counts: list[int] = []
    with new_latents(shape) as alive:

        def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            counts.append(alive())
            return x * 0.5

        run("vp", model, x, even_grid("vp", -2.0, 2.0, 8), solver=name)
    assert max(counts) == most


def final_states(sigmas: Sequence[float]) -> torch.Tensor:
    return run("vp", Mixture(), start("vp"), sigmas, ratios=RATIOS)


def test_sigmas_may_be_a_tensor_a_list_or_a_tuple() -> None:
    expected = final_states(GRIDS["vp"])
    assert torch.equal(final_states(tuple(GRIDS["vp"])), expected)
    as_tensor = torch.tensor(GRIDS["vp"], dtype=torch.float64)
    assert torch.equal(final_states(as_tensor), expected)  # type: ignore[arg-type]


def test_the_same_call_gives_the_same_bits() -> None:
    assert torch.equal(final_states(GRIDS["vp"]), final_states(GRIDS["vp"]))


@pytest.mark.parametrize("kind", ["vp", "flow"])
@pytest.mark.parametrize("first", [1e-4, 1e-2])
def test_from_the_image_back_to_noise_is_stable(kind: str, first: float) -> None:
    """The first step falls far in half-logSNR; a corrector after it would multiply by exp(-h)."""
    problem = Mixture(kind)
    x = torch.tensor([[-1.1, -0.4, 0.3, 1.2]], dtype=torch.float64)
    sigmas = [first, 0.1, 0.25, 0.45, 0.65, 0.8]
    fine = torch.linspace(math.log(first), math.log(0.8), 4000, dtype=torch.float64).exp()
    truth = sample(problem, x, fine, schedule=schedule_of(kind), solver="ddim", disable=True)
    for order in (1, 2, 3):
        ours = sample(problem, x, sigmas, schedule=schedule_of(kind), solver="unipc", order=order)
        ddim = sample(problem, x, sigmas, schedule=schedule_of(kind), solver="ddim")
        assert (ours - truth).abs().max() < 1.5 * (ddim - truth).abs().max()
