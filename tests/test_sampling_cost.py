"""What a run of ``sample`` costs beside the model: no device sync, no float64, few latents."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from dc_solver.solvers import VPSchedule, sample
from runs import FIXED, GRIDS, KINDS, RATIOS, even_grid, run, start, with_ratios
from torch.utils._python_dispatch import TorchDispatchMode


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


def counting(alive: Callable[[], int], counts: list[int]) -> Callable[..., torch.Tensor]:
    """A model that notes how many latents there are when it is called."""

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        counts.append(alive())
        return x * 0.5

    return model


@pytest.mark.parametrize(
    ("order", "dc_order"), [(1, 1), (2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3), (4, 3)]
)
def test_memory_is_bounded_by_the_history_in_use(order: int, dc_order: int) -> None:
    """At most K + 3 latents beside the caller's own, however many steps."""
    shape = (1, 37, 41)
    x = torch.randn(shape)
    counts: list[int] = []
    with new_latents(shape) as alive:
        result = run(
            "vp",
            counting(alive, counts),
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
        run("vp", counting(alive, counts), x, even_grid("vp", -2.0, 2.0, 8), solver=name)
    assert max(counts) == most
