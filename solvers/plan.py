"""All coefficients of one run, computed in float64 before the first model call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .grid import Grid
from .multistep import multistep_plan
from .registry import get_solver
from .schedules import Schedule
from .singlestep import singlestep_plan
from .step import Settings, Step


def make_plan(
    grid: Grid,
    schedule: Schedule,
    settings: Settings,
    ratios: Sequence[float] | None = None,
    earlier_sigmas: Sequence[float] = (),
) -> list[Step]:
    """The steps of a run over ``grid``.

    ``ratios`` has one number a step; those where fewer than ``dc_order + 1`` outputs are known
    are ignored.  ``earlier_sigmas``, newest first, are the sigmas of outputs known before the run
    starts.  Raises ValueError where compensation in ``t``, or a solver that integrates in it, meets
    a schedule without a model time.
    """
    entry = get_solver(settings.solver)
    settings = resolved(settings)
    if entry.kind == "multistep":
        return multistep_plan(entry, grid, schedule, settings, ratios, earlier_sigmas)
    return singlestep_plan(entry, grid, schedule, settings)


def resolved(settings: Settings) -> Settings:
    """The settings with what the solver itself decides filled in: a fixed order, its corrector."""
    entry = get_solver(settings.solver)
    corrector = entry.corrector if settings.corrector is None else settings.corrector
    order = settings.order if entry.order is None else entry.order
    variant = settings.variant if entry.has_variants else "bh2"
    return replace(settings, order=order, variant=variant, corrector=corrector)
