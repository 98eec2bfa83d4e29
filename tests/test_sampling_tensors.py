"""The caller's tensors in ``sample``: any shape and type, the same bits, nothing written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from dc_solver.solvers import SOLVERS
from problems import Gaussian, Mixture
from runs import FIXED, GRIDS, KINDS, RATIOS, run, start, with_ratios

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


# The same bits


@pytest.mark.parametrize("name", SOLVERS)
def test_a_deterministic_solver_makes_the_same_twice(name: str) -> None:
    x = start("vp", dtype=torch.float32)
    results = [run("vp", Mixture("vp"), x, GRIDS["vp"], solver=name) for _ in range(2)]
    assert torch.equal(*results) == SOLVERS[name].deterministic


def final_states(sigmas: Sequence[float]) -> torch.Tensor:
    return run("vp", Mixture(), start("vp"), sigmas, ratios=RATIOS)


def test_sigmas_may_be_a_tensor_a_list_or_a_tuple() -> None:
    expected = final_states(GRIDS["vp"])
    assert torch.equal(final_states(tuple(GRIDS["vp"])), expected)
    as_tensor = torch.tensor(GRIDS["vp"], dtype=torch.float64)
    assert torch.equal(final_states(as_tensor), expected)  # type: ignore[arg-type]


def test_the_same_call_gives_the_same_bits() -> None:
    assert torch.equal(final_states(GRIDS["vp"]), final_states(GRIDS["vp"]))
