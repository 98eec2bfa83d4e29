"""The sampling loop: one model call a step, whatever the solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
from tqdm.auto import trange

from .grid import make_grid
from .inputs import check_ratios, check_settings, check_state, check_takes_ratios
from .plan import Settings, Step, make_plan
from .registry import get_solver
from .schedules import Schedule

Model = Callable[..., torch.Tensor]
Callback = Callable[[dict[str, Any]], None]


@runtime_checkable
class SearchedRatios(Protocol):
    """Ratios with the settings they were searched with (``ratios.RatioSchedule`` is one)."""

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
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> torch.Tensor:
    """Integrate the diffusion ODE from ``sigmas[0]`` to ``sigmas[-1]``.

    The update is that of DC-Solver (2409.03755, algorithm 2) over UniPC (2302.04867), or of the
    named ``solver`` (see :data:`SOLVERS`).

    Args:
        model: called as ``model(x, sigma * ones(B), **extra_args)``; returns the denoised x0,
            shaped as ``x``.  Called once a step.
        x: the noisy start, shape ``(B, ...)`` of any rank, in the host's scaling.
        sigmas: ``N + 1`` sigmas, falling or rising, perhaps repeated, the last perhaps 0.
        schedule: how sigma relates to half-logSNR and model time.
        ratios: ``N`` compensation ratios, or a RatioSchedule, whose solver settings then win over
            the arguments.  ``ratios[i]`` compensates the newest output before the update from
            ``sigmas[i]`` to ``sigmas[i + 1]``; 1 leaves it alone, as do steps at which fewer than
            ``dc_order + 1`` outputs are known.
        order: 1 to 4, for the solvers that let one choose.
        variant: "bh1" or "bh2", UniPC's two B(h).
        dc_order: K, the degree of the compensation: 1, 2 or 3.
        variable: "t" or "lambda", in which the compensation interpolates.
        lower_order: True lowers the order at the end and on steps long in half-logSNR; "final" at
            the end only; False never (the step to sigma 0 is first order by its limit).
        first_corrector: whether the first step is corrected.
        extra_args: keyword arguments for every model call.
        callback: receives ``{"x", "i", "sigma", "sigma_hat", "denoised"}`` once a step.
        disable: hides the console's progress bar; None hides it where there is no terminal.

    Returns:
        The state at ``sigmas[-1]``, of the shape and dtype of ``x``.  The arithmetic is in float32
        or better; no argument is written to.

    Raises:
        TypeError, ValueError: an argument does not fit, or the model returned NaN or infinity; the
            message says what was expected.
    """
    if isinstance(ratios, SearchedRatios):
        check_takes_ratios(get_solver(solver))
        if solver not in ("dc_solver", ratios.solver):
            raise ValueError(
                f"solver: expected {ratios.solver}, which the ratios were searched with, got "
                f"{solver}; leave solver out, or calibrate with {solver}."
            )
        solver, order, variant = ratios.solver, ratios.order, ratios.variant
        dc_order, variable = ratios.dc_order, ratios.variable
        lower_order, first_corrector = ratios.lower_order, ratios.first_corrector
        ratios = ratios.ratios
    entry = get_solver(solver)
    settings = check_settings(
        entry,
        Settings(
            order=order,
            variant=variant,
            corrector=entry.corrector,
            dc_order=dc_order,
            variable=variable,
            lower_order=lower_order,
            first_corrector=first_corrector,
        ),
    )
    check_state(model, x, schedule)
    grid = make_grid(sigmas, schedule)
    checked = None if ratios is None else check_ratios(entry, ratios, grid.steps)
    if checked is None or all(ratio == 1.0 for ratio in checked):
        settings = replace(settings, dc_order=None)
    plan = make_plan(grid, schedule, settings, checked)
    finite: list[torch.Tensor] = []

    def watch(seen: dict[str, Any]) -> None:
        finite.append(torch.isfinite(seen["denoised"]).all())
        if callback is not None:
            callback(seen)

    state = run_plan(plan, grid.sigmas, model, x, extra_args, watch, disable)
    _check_finite(finite, grid.sigmas)
    return state


def _check_finite(finite: Sequence[torch.Tensor], sigmas: Sequence[float]) -> None:
    """Raises ValueError naming the first step at which the model was not finite.

    Asked once after the run: a question at every step would keep the host waiting for the device.
    """
    if not finite or finite[0].is_meta:  # which has no values
        return
    if bool(torch.stack(tuple(finite)).all()):
        return
    step = next(i for i, flag in enumerate(finite) if not flag)
    raise ValueError(
        f"model: expected finite outputs, got NaN or infinity in step {step + 1} of "
        f"{len(sigmas) - 1} (sigma {sigmas[step]:.6g}); try another precision, or check the model."
    )


def run_plan(
    plan: Sequence[Step],
    sigmas: Sequence[float],
    model: Model,
    x: torch.Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = True,
    outputs: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """Run the steps of a plan; ``outputs`` are those known before it starts, newest first."""
    arguments = dict(extra_args or {})
    dtype = state_dtype(x.dtype)
    state = x.to(dtype)
    buffer = [output.to(dtype) for output in outputs]
    correct: tuple[float, ...] | None = None
    for i in trange(len(plan), disable=disable):
        step = plan[i]
        if step.calls_model:
            denoised = call_model(model, state.to(x.dtype), sigmas[i], arguments).to(dtype)
            if correct is not None:
                state = combine((1.0, *correct), (state, denoised, *buffer))
            if step.replaces_newest:
                del buffer[0]
            buffer.insert(0, denoised)
        if callback is not None:
            shown = denoised if step.calls_model else state
            sigma = torch.full((), sigmas[i], dtype=dtype, device=x.device)
            callback({"x": state, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": shown})
            del shown
        if step.compensate is not None:
            buffer[0] = combine(step.compensate, buffer)
            denoised = buffer[0]
        del buffer[max(len(step.outputs), step.keep) :]
        state = combine((step.state, *step.outputs), (state, *buffer))
        correct = step.correct
        del buffer[step.keep :]
    return state.to(x.dtype) if plan else x.clone()


def call_model(
    model: Model, x: torch.Tensor, sigma: float, extra_args: Mapping[str, Any]
) -> torch.Tensor:
    """One model call.  Raises ValueError where the output is not shaped as ``x``."""
    batch = torch.full((x.shape[0],), sigma, dtype=state_dtype(x.dtype), device=x.device)
    denoised = model(x, batch, **extra_args)
    shape = getattr(denoised, "shape", None)
    if shape != x.shape:
        got = type(denoised).__name__ if shape is None else tuple(shape)
        raise ValueError(
            f"model: expected a denoised latent of shape {tuple(x.shape)}, got {got} at sigma "
            f"{sigma:.6g}; the model must return x0."
        )
    return denoised


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where the caller brings it."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def combine(weights: Sequence[float], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """``sum_j weights[j] * tensors[j]`` in a new tensor; a weight of 0 is never multiplied."""
    total: torch.Tensor | None = None
    for weight, tensor in zip(weights, tensors):
        if weight == 0.0:
            continue
        if total is None:
            total = torch.mul(tensor, weight)
        else:
            total.add_(tensor, alpha=weight)
    return torch.zeros_like(tensors[0]) if total is None else total
