"""The one door at which the arguments of a run are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from .plan import Settings
from .registry import SOLVERS, Solver
from .schedules import Schedule
from .unipc import VARIANTS

VARIABLES = ("t", "lambda")
DC_ORDERS = (1, 2, 3)
LOWER_ORDERS = (True, "final", False)


def check_settings(solver: Solver, settings: Settings) -> Settings:
    """The settings with the solver's own order filled in.

    Raises ValueError for an order, variant, K or variable that does not exist.
    """
    _one_of("variant", settings.variant, VARIANTS)
    _one_of("dc_order", settings.dc_order, DC_ORDERS)
    _one_of("variable", settings.variable, VARIABLES)
    _one_of("lower_order", settings.lower_order, LOWER_ORDERS)
    _one_of("first_corrector", settings.first_corrector, (True, False))
    if solver.order is not None:
        return replace(settings, order=solver.order, variant="bh2")
    _one_of("order", settings.order, tuple(range(1, solver.max_order + 1)))
    return settings


def check_state(model: Any, x: Any, schedule: Any) -> None:
    """Raises TypeError unless the model can be called, x is a latent and the schedule is one."""
    if not callable(model):
        raise TypeError(
            f"model: expected a function model(x, sigma, **extra_args), got {type(model).__name__}."
        )
    if not isinstance(x, torch.Tensor) or not x.is_floating_point() or x.ndim < 1:
        got = f"{x.dtype} of rank {x.ndim}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise TypeError(f"x: expected a floating point tensor of shape (B, ...), got {got}.")
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule: expected VPSchedule(...) or FlowSchedule(...), got "
            f"{type(schedule).__name__}."
        )


def check_takes_ratios(solver: Solver) -> None:
    """Raises ValueError for a solver without compensation."""
    if not solver.compensates:
        takers = ", ".join(name for name, entry in SOLVERS.items() if entry.compensates)
        raise ValueError(
            f"ratios: {solver.name} runs without compensation, got ratios; use one of {takers}, "
            "or pass no ratios."
        )


def check_ratios(solver: Solver, ratios: Sequence[float], steps: int) -> tuple[float, ...]:
    """The ratios as floats.

    Raises ValueError where the solver takes none, their number is not the number of steps, or one
    is not finite; TypeError where they are not numbers.
    """
    check_takes_ratios(solver)
    try:
        values = tuple(float(ratio) for ratio in ratios)
    except (TypeError, ValueError) as error:
        raise TypeError(f"ratios: expected a sequence of numbers, got {ratios!r}.") from error
    if len(values) != steps:
        raise ValueError(
            f"ratios: expected {steps}, one for each of the {steps} steps, got {len(values)}; "
            "calibrate or predict them for this number of steps."
        )
    for i, value in enumerate(values):
        if not math.isfinite(value):
            raise ValueError(f"ratios: expected finite numbers, got {value!r} at step {i}.")
    return values


def _one_of(name: str, value: Any, allowed: Sequence[Any]) -> None:
    if not any(type(value) is type(option) and value == option for option in allowed):
        listed = ", ".join(repr(option) for option in allowed)
        raise ValueError(f"{name}: expected one of {listed}, got {value!r}.")
