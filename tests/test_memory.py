"""Calibration on a device whose memory runs out, and the final states that it hands out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from dc_solver.ratios import Finals, calibrate
from dc_solver.solvers import sample
from problems import Gaussian, schedule_of

GRID = [12.0, 6.0, 3.0, 1.4, 0.6, 0.0]


def starts(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return GRID[0] * torch.randn(count, 24, generator=generator, dtype=torch.float64)


class LittleMemory:
    """A model that runs out of memory where a call has more than ``most`` points."""

    def __init__(self, problem: Any, most: int, error: Exception) -> None:
        self.problem, self.most, self.error = problem, most, error
        self.sizes: list[int] = []

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise self.error
        return torch.as_tensor(self.problem(x, sigma))


OUT_OF_MEMORY = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: str(error)[:10])
def test_out_of_memory_halves_the_chunk_once_and_changes_nothing(error: Exception) -> None:
    problem, x = Gaussian("vp"), starts(12)
    expected = calibrate(problem, x, GRID, schedule=schedule_of("vp"), check=3, reference_calls=64)
    model = LittleMemory(problem, 3, error)
    done: list[int] = []
    found = calibrate(
        model, x, GRID, schedule=schedule_of("vp"), check=3, chunk=12, reference_calls=64,
        progress=lambda now, total: done.append(now),
    )  # fmt: skip
    assert found.ratios == pytest.approx(expected.ratios, abs=1e-6)
    assert found.report is not None and expected.report is not None
    assert found.report.calls == expected.report.calls
    assert model.sizes[:3] == [12, 6, 3] and max(model.sizes[3:]) == 3
    assert done == sorted(done)


@pytest.mark.parametrize("error", [*OUT_OF_MEMORY, RuntimeError("mat1 and mat2 shapes")], ids=str)
def test_an_error_that_a_smaller_chunk_cannot_help_is_the_callers(error: Exception) -> None:
    most = 0 if "memory" in str(error) else 3
    model = LittleMemory(Gaussian("vp"), most, error)
    with pytest.raises(type(error), match=r"memory|shapes") as raised:
        calibrate(model, starts(4), GRID, schedule=schedule_of("vp"))
    assert raised.value is error
    assert model.sizes == ([4, 2, 1] if most == 0 else [4])


def test_final_states_are_those_of_the_check_points() -> None:
    problem, x = Gaussian("vp"), starts(8)
    seen: list[Finals] = []
    found = calibrate(problem, x, GRID, schedule=schedule_of("vp"), check=3, finals=seen.append)
    (finals,) = seen
    for name, ratios in (("plain", None), ("compensated", found.report.found)):  # type: ignore
        own = sample(problem, x[5:], GRID, schedule=schedule_of("vp"), ratios=ratios)
        assert (getattr(finals, name) - own).abs().max() < 1e-5, name
    exact = problem.exact(x[5:], GRID[0], GRID[-1])
    assert (finals.reference - exact).abs().max() < 0.05
