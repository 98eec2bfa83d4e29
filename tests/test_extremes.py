"""Numbers at the edge: a finite image, or an error that says where; never anything else."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from dc_solver.ratios import calibrate
from dc_solver.solvers import SOLVERS, Schedule, VPSchedule, discrete_time, sample
from dc_solver.solvers.adaptive import Tolerance
from problems import schedule_of

Model = Callable[..., torch.Tensor]
STEPS = [1, 2, 3, 7, 50, 1000]
#: From the first to the last sigma that is not 0.
RANGES = {
    "vp": [(14.6, 0.03), (1e4, 1e-4), (700.0, 1e-6), (1.0, 0.999999), (1e-3, 1e-5)],
    "flow": [(1.0, 1e-3), (1.0, 1e-6), (0.999999, 0.5), (0.5, 0.4999999), (1e-3, 1e-6)],
}
MODELS: dict[str, Model] = {
    "zeros": lambda x, sigma: torch.zeros_like(x),
    "a constant": lambda x, sigma: torch.full_like(x, 3.0),
    "its input": lambda x, sigma: x.clone(),
    "large": lambda x, sigma: torch.full_like(x, 1e30),
    "noise of its own": lambda x, sigma: torch.randn(x.shape, generator=torch.Generator()).to(x),
}
START = torch.randn(2, 3, generator=torch.Generator().manual_seed(3))
WHERE = r"(in|after) step \d+ of \d+ \(sigma [-+.e\d]+\)"


def grid(first: float, last: float, steps: int, end: bool) -> list[float]:
    """Evenly falling in the log."""
    inner = max(steps - 1, 1) if end else steps
    sigmas = [first * (last / first) ** (k / inner) for k in range(inner + 1)][: steps + 1 - end]
    return [*sigmas, 0.0] if end else sigmas


def check(run: Callable[[], torch.Tensor], shape: torch.Size) -> None:
    """A finite image, or an error that names where."""
    try:
        result = run()
    except ValueError as error:
        assert re.search(WHERE, str(error)), error
    else:
        assert result.shape == shape and bool(torch.isfinite(result).all())


def how(name: str) -> dict[str, Any]:
    adaptive = SOLVERS[name].kind == "adaptive"
    return {"tolerance": Tolerance(max_calls=60)} if adaptive else {}


@pytest.mark.parametrize("kind", RANGES)
@pytest.mark.parametrize("name", SOLVERS)
def test_extreme_sigmas_and_any_number_of_steps(name: str, kind: str) -> None:
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    for steps in STEPS:
        for first, last in RANGES[kind] if steps < 1000 else RANGES[kind][:1]:
            for end in (True, False):
                sigmas = grid(first, last, steps, end)
                start = x * sigmas[0]

                def run(start: torch.Tensor = start, sigmas: list[float] = sigmas) -> torch.Tensor:
                    return sample(
                        MODELS["a constant"], start, sigmas, schedule=schedule_of(kind),
                        solver=name, disable=True, **how(name),
                    )  # fmt: skip

                check(run, start.shape)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SOLVERS)
def test_odd_models_and_latents_without_variance(name: str, model: str) -> None:
    for kind in RANGES:
        sigmas = grid(1.0 if kind == "flow" else 14.6, 0.03, 6, True)
        for start in (torch.zeros(2, 3), torch.full((2, 3), 5.0), START * sigmas[0]):

            def run(
                start: torch.Tensor = start, sigmas: list[float] = sigmas, kind: str = kind
            ) -> torch.Tensor:
                return sample(
                    MODELS[model], start, sigmas, schedule=schedule_of(kind), solver=name,
                    disable=True, **how(name),
                )  # fmt: skip

            check(run, start.shape)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("bad", [0, 2, 5])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_model_that_breaks_is_named_with_step_and_sigma(
    name: str, bad: int, value: float
) -> None:
    calls = 0

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        out = x * 0.5
        out.view(-1)[0] = value if calls == bad + 1 else 0.0
        return out

    def run() -> torch.Tensor:
        return sample(
            model, START * 14.6, grid(14.6, 0.03, 6, True),
            schedule=schedule_of("vp"), solver=name, disable=True, **how(name),
        )  # fmt: skip

    check(run, torch.Size((2, 3)))
    if SOLVERS[name].kind == "multistep" and abs(value) != 3e38:
        with pytest.raises(ValueError, match=rf"in step {bad + 1} of 6 \(sigma "):
            calls = 0
            run()


@pytest.mark.parametrize("bad", [1, 3])
# The others take no output for more than it is, and cannot overflow.
@pytest.mark.parametrize(
    "name", [n for n, s in SOLVERS.items() if s.kind == "multistep" and s.max_order > 1]
)
def test_a_latent_that_overflows_is_named_by_its_step(name: str, bad: int) -> None:
    """The model's outputs are finite throughout; the update of step ``bad`` + 1 is the first whose
    latent the callback of the next call sees as not finite."""
    calls, seen = 0, []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return torch.full_like(x, (3.4e38, -3.4e38)[calls % 2] if calls > bad else 0.0)

    def watch(state: dict[str, Any]) -> None:
        seen.append(bool(torch.isfinite(state["x"]).all()))

    with pytest.raises(ValueError, match=WHERE) as caught:
        sample(
            model, START * 14.6, grid(14.6, 0.03, 5, True), schedule=schedule_of("vp"),
            solver=name, disable=True, callback=watch, lower_order=False,
        )  # fmt: skip
    first = seen.index(False) if False in seen else len(seen)
    assert f"after step {first} of 5 " in str(caught.value)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_start_that_is_not_finite_is_named(name: str) -> None:
    start = START.clone()
    start[1, 2] = float("nan")
    with pytest.raises(ValueError, match=r"^x: expected a finite latent to start from, got NaN"):
        sample(
            lambda x, sigma: torch.zeros_like(x), start, grid(14.6, 0.03, 6, True),
            schedule=schedule_of("vp"), solver=name, disable=True, **how(name),
        )  # fmt: skip


def test_latents_near_the_end_of_16_bits_are_images() -> None:
    """+-40000 is finite, though the two are further apart than float16 goes."""
    far = torch.tensor([[40000.0, -40000.0]], dtype=torch.float16)
    out = sample(
        lambda x, sigma: far.clone(), far, [5.0, 1.0, 0.0], schedule=schedule_of("vp"),
        solver="ddim", disable=True,
    )  # fmt: skip
    assert out.dtype == torch.float16 and torch.equal(out, far)


def test_a_latent_beyond_the_models_16_bits_is_no_fault_of_the_model() -> None:
    """The second call would be given 80000 in float16."""
    start = torch.zeros(1, 2, dtype=torch.float16)
    outputs = iter([60000.0, -60000.0, 60000.0, 60000.0, 60000.0])
    with pytest.raises(ValueError, match=r"after step \d of 5 \(sigma .*of finite outputs"):
        sample(
            lambda x, sigma: torch.full_like(x, next(outputs)), start,
            [100.0, 10.0, 1.0, 0.1, 0.01, 0.0], schedule=schedule_of("vp"), solver="dpmpp_2m",
            lower_order=False, disable=True,
        )  # fmt: skip


def test_an_adaptive_run_forgets_a_try_that_overflowed() -> None:
    """A first step far too long meets outputs that no latent can hold; shorter ones go on."""
    calls = 0

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return torch.full_like(x, (3.4e38, -3.4e38)[calls % 2]) if calls < 4 else 0.5 * x

    out = sample(
        model, START * 14.6, [14.6, 1.0, 0.05, 0.0], schedule=schedule_of("vp"), solver="dpm_23",
        tolerance=Tolerance(first_step=3.0), disable=True,
    )  # fmt: skip
    assert bool(torch.isfinite(out).all())


@pytest.mark.parametrize("size", [10.0, 1e3, 1e6])
def test_ratios_that_no_search_finds_end_in_words_or_in_an_image(size: float) -> None:
    ratios = [1.0, 1.0, size, -size, size, size]

    def run() -> torch.Tensor:
        return sample(
            lambda x, sigma: x / (1.0 + sigma.view(-1, 1) ** 2), START * 14.6,
            grid(14.6, 0.03, 6, True), schedule=schedule_of("vp"), ratios=ratios, disable=True,
        )  # fmt: skip

    check(run, torch.Size((2, 3)))


def _table() -> Schedule:
    return VPSchedule(discrete_time(torch.linspace(0.03, 14.6, 1000).tolist()))


@pytest.mark.parametrize("quality", ["paper", "ratios+", "schedule", "full"])
@pytest.mark.parametrize("model", MODELS)
def test_a_calibration_of_an_odd_model_ends_in_ratios_or_in_words(model: str, quality: str) -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)) * 14.6
    try:
        found = calibrate(
            MODELS[model], x, grid(14.6, 0.03, 5, True), schedule=_table(), check=2,
            quality=quality,
        )  # fmt: skip
    except ValueError as error:
        assert str(error).startswith("model: ")
    else:
        assert len(found.ratios) == 5 and found.report is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("answer", [torch.float16, torch.float64, torch.int64])
def test_a_model_may_answer_in_another_type(dtype: torch.dtype, answer: torch.dtype) -> None:
    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(x).to(answer)

    x = (START * 14.6).to(dtype)
    result = sample(model, x, grid(14.6, 0.03, 5, True), schedule=schedule_of("vp"), disable=True)
    assert result.dtype == dtype and torch.equal(result, torch.ones_like(x))
