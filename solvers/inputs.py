"""The one door at which the arguments of a run are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from .adaptive import Tolerance
from .choices import check_one_of
from .exponential import VARIANTS
from .grid import Grid
from .langevin import Langevin
from .plan import resolved
from .registry import compensating, get_solver
from .schedules import Schedule
from .solver import Solver
from .step import Settings

VARIABLES = ("t", "lambda")
DC_ORDERS = (1, 2, 3)
LOWER_ORDERS = (True, "final", False)


def check_settings(settings: Settings) -> Settings:
    """The settings with what the solver itself decides filled in.

    Raises ValueError for a solver, order, variant, K or variable that does not exist, and for a
    corrector where there is none.
    """
    entry = get_solver(settings.solver)
    check_one_of("variant", settings.variant, VARIANTS)
    check_one_of("dc_order", settings.dc_order, DC_ORDERS)
    check_one_of("variable", settings.variable, VARIABLES)
    check_one_of("lower_order", settings.lower_order, LOWER_ORDERS)
    check_one_of("first_corrector", settings.first_corrector, (True, False))
    check_one_of("corrector", settings.corrector, (None, True, False))
    if settings.corrector and entry.kind != "multistep":
        raise ValueError(
            f"corrector: expected none with the {entry.kind} solver {entry.name}, got True; UniC "
            "needs the outputs of earlier steps."
        )
    if entry.order is None:
        check_one_of("order", settings.order, entry.orders, f" with {entry.name}")
    return resolved(settings)


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


def check_time(solver: Solver, schedule: Schedule) -> None:
    """Raises ValueError where a solver needs the model's time and the schedule has none."""
    if solver.timed and not schedule.has_model_time:
        raise ValueError(
            f"solver: {solver.name} interpolates in the model's time, and this schedule has none; "
            "pass VPSchedule(sigma_to_t=...), or use deis_rhoab, which interpolates in sigma."
        )


def check_report(report: Any) -> None:
    """Raises TypeError for what cannot be called once the run is over."""
    if report is not None and not callable(report):
        raise TypeError(f"report: expected a function of a RunReport, got {report!r}.")


#: The powers of larger ones have no place in 32 bits.
LARGEST_RATIO = 1e6


def check_takes_ratios(solver: Solver) -> None:
    """Raises ValueError for a solver without compensation."""
    if not solver.compensates:
        takers = ", ".join(compensating())
        raise ValueError(
            f"ratios: {solver.name} runs without compensation, got ratios; use one of {takers}, "
            "or pass no ratios."
        )


def check_ratios(solver: Solver, ratios: Sequence[float], steps: int) -> tuple[float, ...]:
    """The ratios as floats.

    Raises ValueError where the solver takes none, their number is not the number of steps, or one
    is not finite or beyond all bounds; TypeError where they are not numbers.
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
        if abs(value) > LARGEST_RATIO:
            raise ValueError(
                f"ratios: expected numbers of {LARGEST_RATIO:g} at most, got {value:g} at step {i}"
                "; those of a search lie between -1 and 4."
            )
    return values


def check_threshold(threshold: Any) -> float | None:
    """Raises ValueError for a quantile that is none."""
    if threshold is None:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
        raise ValueError(f"threshold: expected a quantile such as 0.995, got {threshold!r}.")
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold: expected a quantile above 0 and up to 1, got {threshold!r}.")
    return float(threshold)


def check_langevin(
    solver: Solver,
    langevin: Any,
    ratios: Sequence[float] | None,
    samples: int = 1,
    learned: bool = False,
) -> Langevin | None:
    """The Langevin steps; None where there are none.

    Raises TypeError for something else, ValueError where they do not go with the solver, or with
    ratios or learned steps, which were searched on trajectories without noise.
    """
    if langevin is None:
        return None
    if not isinstance(langevin, Langevin):
        raise TypeError(f"langevin: expected Langevin(...), got {type(langevin).__name__}.")
    if not _whole(langevin.steps):
        raise ValueError(f"langevin: expected a whole number of steps, got {langevin.steps!r}.")
    one = isinstance(langevin.seed, int)
    seeds = [langevin.seed] if one else langevin.seed
    if not isinstance(seeds, Sequence) or not all(map(_whole, seeds)):
        raise ValueError(f"langevin: expected a whole number for a seed, got {langevin.seed!r}.")
    if not one and len(seeds) != samples:
        raise ValueError(
            f"langevin: expected a seed for each of the samples, {samples} seeds, got "
            f"{len(seeds)}; a number alone serves them all."
        )
    if langevin.steps < 0 or not _positive(langevin.snr):
        raise ValueError(
            "langevin: expected 0 or more steps and a signal-to-noise ratio above 0, got "
            f"{langevin.steps} and {langevin.snr!r}."
        )
    if langevin.steps == 0:
        return None
    if solver.kind == "adaptive":
        raise ValueError(
            f"langevin: expected a solver of fixed steps, got {solver.name}, whose error estimate "
            "the noise would spoil."
        )
    if learned or (ratios is not None and any(ratio != 1.0 for ratio in ratios)):
        raise ValueError(
            "langevin: expected no ratios beside Langevin steps, got some; ratios are searched "
            "without noise and do not fit trajectories with it."
        )
    return langevin


def check_tolerance(tolerance: Any) -> Tolerance:
    """Raises TypeError and ValueError for a tolerance that no run could meet."""
    if tolerance is None:
        return Tolerance()
    if not isinstance(tolerance, Tolerance):
        raise TypeError(f"tolerance: expected Tolerance(...), got {type(tolerance).__name__}.")
    for name in ("atol", "rtol", "first_step", "safety"):
        value = getattr(tolerance, name)
        if not _positive(value) or (name == "safety" and value > 1.0):
            most = " and up to 1" if name == "safety" else ""
            raise ValueError(f"tolerance: expected {name} above 0{most}, got {value!r}.")
    if not _whole(tolerance.max_calls) or tolerance.max_calls < 4:
        raise ValueError(
            f"tolerance: expected a whole max_calls of 4 or more, got {tolerance.max_calls!r}; "
            "less is not enough for one step and the ends."
        )
    return tolerance


def check_falling(solver: Solver, grid: Grid) -> None:
    """Raises ValueError where an adaptive solver would have no way down."""
    falls = all(after <= here for here, after in zip(grid.sigmas, grid.sigmas[1:]))
    if not falls or grid.sigmas[0] <= grid.sigmas[-1]:
        raise ValueError(
            f"sigmas: expected a falling grid for the adaptive {solver.name}, got {grid.sigmas}."
        )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0.0 < value < math.inf
