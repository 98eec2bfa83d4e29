"""Devices without float64 (Apple's, many NPUs): sampling and calibrating make no such tensor."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from dc_solver import ratios
from dc_solver.solvers import SOLVERS, VPSchedule, sample
from problems import Mixture, schedule_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

#: The device that stands for one without float64; its tensors hold their numbers on the CPU.
DEVICE = torch.device("meta")


class Double(TypeError):
    """What such a device raises for a float64 tensor."""


class OnDevice(torch.Tensor):
    """A tensor on the device."""

    held: torch.Tensor
    # Only the operations below count; torch 2.1 would make results of this class once more.
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> OnDevice:
        if held.dtype == torch.float64:
            raise Double("this device has no float64")
        made: OnDevice = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, dtype=held.dtype, strides=held.stride(), device=DEVICE
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        return run(function, arguments, keywords or {})


def run(function: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
    """Run an operation on the numbers; its result is on the device unless it asks for another."""
    given = keywords.get("device")
    holders: list[OnDevice] = []

    def unwrap(value: Any) -> Any:
        if isinstance(value, OnDevice):
            holders.append(value)
            return value.held
        return value

    plain_arguments, plain_keywords = tree_map(unwrap, arguments), tree_map(unwrap, keywords)
    if "device" in plain_keywords:
        plain_keywords["device"] = torch.device("cpu")
    made = function(*plain_arguments, **plain_keywords)
    on_device = bool(holders) if given is None else torch.device(given) == DEVICE
    if not on_device:
        return made
    inplace = {id(holder.held): holder for holder in holders}  # operations that write in place

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, OnDevice):
            return value
        return inplace[id(value)] if id(value) in inplace else OnDevice(value)

    return tree_map(wrap, made)


class Device(TorchDispatchMode):
    """Catches what is made on the device from nothing, such as ``torch.full(device=...)``."""

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        return run(function, arguments, keywords or {})


@pytest.fixture
def device() -> Iterator[None]:
    with Device():
        yield


@functools.cache
def start(dtype: torch.dtype) -> torch.Tensor:
    return 15.0 * torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0)).to(dtype)


GRID = {
    "vp": [15.0, 7.0, 3.0, 1.0, 0.4, 0.1, 0.0],
    "flow": [1.0, 0.9, 0.75, 0.5, 0.3, 0.1, 0.0],
}


def begin(kind: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return start(dtype) / (15.0 if kind == "flow" else 1.0)


class Model:
    """A denoiser that stays on the device, in float32."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.sigmas: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.sigmas.append(sigma)
        return Mixture(self.kind)(x.float(), sigma.float()).to(x.dtype)


def test_the_stand_in_refuses_what_such_a_device_refuses(device: None) -> None:
    here = OnDevice(torch.ones(3))
    assert here.device == DEVICE and torch.equal((2.0 * here).cpu(), torch.full((3,), 2.0))
    assert isinstance(torch.zeros(2, device=DEVICE), OnDevice)
    for make in (
        lambda: here.double(),
        lambda: here.to(torch.float64),
        lambda: torch.zeros(3, dtype=torch.float64, device=DEVICE),
        lambda: torch.ones(3, dtype=torch.float64).to(DEVICE),
    ):
        with pytest.raises(Double):
            make()
    assert here.cpu().double().dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", GRID)
@pytest.mark.parametrize("solver", SOLVERS)
def test_sampling(device: None, solver: str, kind: str, dtype: torch.dtype) -> None:
    compensated = {"ratios": [1.0, 1.0, 1.1, 0.9, 1.2, 1.0]} if solver == "dc_solver" else {}
    model, plain = Model(kind), Model(kind)
    settings: dict[str, Any] = {
        "solver": solver, "schedule": schedule_of(kind), "disable": True, **compensated,
    }  # fmt: skip
    seen: list[dict[str, Any]] = []
    x = OnDevice(begin(kind, dtype).clone())
    found = sample(model, x, OnDevice(torch.tensor(GRID[kind])), callback=seen.append, **settings)
    assert found.device == DEVICE and found.dtype == dtype
    assert all(sigma.device == DEVICE for sigma in model.sigmas)
    for told in seen:
        assert all(v.device == DEVICE for v in told.values() if isinstance(v, torch.Tensor))
    expected = sample(plain, begin(kind, dtype), torch.tensor(GRID[kind]), **settings)
    assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("kind", GRID)
def test_calibrating(device: None, kind: str) -> None:
    """Starting states on the device: the model never sees another, and nothing is float64."""
    model = Model(kind)
    settings: dict[str, Any] = {"schedule": schedule_of(kind), "check": 1, "chunk": 2}
    found = ratios.calibrate(model, OnDevice(begin(kind).clone()), GRID[kind], **settings)
    assert model.sigmas and all(sigma.device == DEVICE for sigma in model.sigmas)
    expected = ratios.calibrate(Model(kind), begin(kind), GRID[kind], **settings)
    assert found.ratios == expected.ratios


def test_a_float64_model_time_is_a_number_and_no_tensor(device: None) -> None:
    """The host's maps from sigma to time are called with Python numbers."""
    asked: list[Any] = []

    def time(sigma: float) -> float:
        asked.append(sigma)
        return -1.0 / (1.0 + sigma)

    sample(Model("vp"), OnDevice(begin("vp").clone()), GRID["vp"], schedule=VPSchedule(time),
           ratios=[1.0, 1.0, 1.1, 0.9, 1.2, 1.0], disable=True)  # fmt: skip
    assert asked and all(type(sigma) is float for sigma in asked)
