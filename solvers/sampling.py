"""Sampling: from the arguments of a caller to a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch

from .adaptive import RunReport, Tolerance, run_adaptive
from .calls import Calls, Model
from .grid import make_grid
from .inputs import (
    check_falling,
    check_langevin,
    check_ratios,
    check_report,
    check_settings,
    check_state,
    check_takes_ratios,
    check_threshold,
    check_time,
    check_tolerance,
)
from .langevin import Langevin, generators, langevin_step
from .learned import LearnedSteps, learned_over, learned_plan
from .plan import make_plan
from .registry import get_solver
from .run import Between, Callback, run_plan
from .schedules import Schedule
from .step import Settings


@runtime_checkable
class SearchedRatios(Protocol):
    """Ratios with the settings they were searched with (``ratios.RatioSchedule`` is one).

    One that has ``learned``, :class:`LearnedSteps` or None, runs them.
    """

    @property
    def ratios(self) -> Sequence[float]: ...
    @property
    def solver(self) -> str: ...
    @property
    def order(self) -> int: ...
    @property
    def variant(self) -> str: ...
    @property
    def dc_order(self) -> int: ...
    @property
    def variable(self) -> str: ...
    @property
    def lower_order(self) -> bool | str: ...
    @property
    def first_corrector(self) -> bool: ...
    @property
    def corrector(self) -> bool | None: ...


@torch.no_grad()
def sample(
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor | Sequence[float],
    *,
    solver: str = "dc_solver",
    schedule: Schedule,
    ratios: SearchedRatios | Sequence[float] | None = None,
    order: int = 2,
    variant: str = "bh2",
    dc_order: int = 2,
    variable: str = "t",
    lower_order: bool | str = True,
    first_corrector: bool = True,
    corrector: bool | None = None,
    threshold: float | None = None,
    langevin: Langevin | None = None,
    tolerance: Tolerance | None = None,
    report: Callable[[RunReport], None] | None = None,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> torch.Tensor:
    """Integrate the diffusion ODE from ``sigmas[0]`` to ``sigmas[-1]``.

    The update is that of DC-Solver (2409.03755, algorithm 2) over UniPC (2302.04867), or of the
    named ``solver`` (see :data:`SOLVERS`).

    Args:
        model: called as ``model(x, sigma * ones(B), **extra_args)``; returns the denoised x0,
            shaped as ``x``.  Called once for each interval of the grid (an adaptive solver and
            Langevin steps make their own number of calls).
        x: the noisy start, shape ``(B, ...)`` of any rank, in the host's scaling.
        sigmas: ``N + 1`` sigmas, falling or rising, perhaps repeated, the last perhaps 0.
        schedule: how sigma relates to half-logSNR and model time.
        ratios: ``N`` compensation ratios, or a RatioSchedule, whose solver settings then win over
            the arguments.  ``ratios[i]`` compensates the newest output before the update from
            ``sigmas[i]`` to ``sigmas[i + 1]``; 1 leaves it alone, as do steps at which fewer than
            ``dc_order + 1`` outputs are known.  Learned steps of a RatioSchedule replace those
            between the first and the last of ``sigmas``.
        order: for the solvers that let one choose, from 1 up to their ``max_order``.
        variant: "bh1" or "bh2", UniPC's two B(h).
        dc_order: K, the degree of the compensation: 1, 2 or 3.
        variable: "t" or "lambda", in which the compensation interpolates.
        lower_order: True lowers the order at the end and on steps long in half-logSNR; "final" at
            the end only; False never (the step to sigma 0 is first order by its limit).
        first_corrector: whether the first step is corrected.
        corrector: whether UniC corrects the steps of a multistep solver; None leaves that to it.
        threshold: dynamic thresholding of x0 at this quantile, such as 0.995, for pixel models.
        langevin: Langevin steps after each step of the solver, in place of UniC.
        tolerance: what an adaptive solver aims for.
        report: receives the number of model calls, and of an adaptive run its steps, at the end.
        extra_args: keyword arguments for every model call.
        callback: receives ``{"x", "i", "sigma", "sigma_hat", "denoised"}`` once for each interval
            of the grid, those from sigma 0 on too, and not for Langevin steps; of an adaptive
            solver at least once a model call.
        disable: hides the console's progress bar; None hides it where there is no terminal.

    Returns:
        The state at ``sigmas[-1]``, of the shape and dtype of ``x``.  The arithmetic is in float32
        or better; no argument is written to.

    Raises:
        TypeError, ValueError: an argument does not fit, or the model returned NaN or infinity; the
            message says what was expected.
    """
    learned: LearnedSteps | None = None
    if isinstance(ratios, SearchedRatios):
        learned = getattr(ratios, "learned", None)
        if learned is None and getattr(ratios, "warp", None) is not None:
            raise ValueError(
                "ratios: expected moved steps laid over the sigmas of this run, got a warp alone; "
                "pass what ratios.carry_over(found, sigmas, schedule) returns."
            )
        check_takes_ratios(get_solver(solver))
        if solver not in ("dc_solver", ratios.solver):
            raise ValueError(
                f"solver: expected {ratios.solver}, which the ratios were searched with, got "
                f"{solver}; leave solver out, or calibrate with {solver}."
            )
        solver, order, variant = ratios.solver, ratios.order, ratios.variant
        dc_order, variable = ratios.dc_order, ratios.variable
        lower_order, first_corrector = ratios.lower_order, ratios.first_corrector
        corrector, ratios = ratios.corrector, ratios.ratios
    settings = check_settings(
        Settings(
            solver=solver,
            order=order,
            variant=variant,
            corrector=corrector,
            dc_order=dc_order,
            variable=variable,
            lower_order=lower_order,
            first_corrector=first_corrector,
        )
    )
    entry = get_solver(solver)
    check_state(model, x, schedule)
    check_time(entry, schedule)
    grid = make_grid(sigmas, schedule)
    if learned is not None:
        learned = learned_over(learned, grid, schedule)
    checked = None if ratios is None else check_ratios(entry, ratios, grid.steps)
    if checked is None or all(ratio == 1.0 for ratio in checked):
        settings = replace(settings, dc_order=None)
    limits = check_tolerance(tolerance)
    check_report(report)
    calls = Calls(model, x, extra_args, check_threshold(threshold))
    noisy = check_langevin(entry, langevin, checked, len(x), learned is not None)
    if entry.kind == "adaptive" and grid.steps:
        check_falling(entry, grid)
        state, done = run_adaptive(entry, grid, schedule, limits, calls, x, callback, disable)
    else:
        between = None
        if noisy is not None:
            settings = replace(settings, corrector=False)
            between = _langevin(noisy, calls, schedule, len(x))
        if learned is not None:
            plan = learned_plan(learned, schedule, settings, checked)
        else:
            plan = make_plan(grid, schedule, settings, checked)
        state = run_plan(plan, calls, x, callback=callback, disable=disable, between=between)
        done = RunReport(calls.count)
    calls.check_finite(grid.steps, state, outputs_alone=entry.kind == "adaptive")
    if report is not None:
        report(done)
    return state


def _langevin(langevin: Langevin, calls: Calls, schedule: Schedule, count: int) -> Between:
    noise = generators(langevin.seed, count)

    def between(state: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        signal = schedule.signal(sigma)
        for _ in range(langevin.steps):
            denoised = calls(state, sigma, step)
            state = langevin_step(state, denoised, signal, sigma, langevin.snr, noise)
        return state

    return between
