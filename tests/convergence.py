"""The error of a solver on Gaussian data, whose solution is known, and its slope over the steps."""

from __future__ import annotations

import math

import torch
from dc_solver.solvers import SOLVERS
from dc_solver.solvers.grid import Point, make_grid
from dc_solver.solvers.parameterisation import output_weights
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.run import converted, run_plan
from dc_solver.solvers.step import Settings
from problems import Gaussian, schedule_of

#: Several at once: the error of a single one may pass through zero and spoil the slope.
VARIANCES = (0.02, 0.05, 0.1, 0.3, 1.0, 4.0)
FIRST, LAST = -0.5, 1.5  # half-logSNR
#: Any grid that is smooth; even in half-logSNR stands for it.
SMOOTH = "lambda"


def settings_for(name: str, order: int, variant: str = "bh2") -> Settings:
    return Settings(solver=name, order=order, variant=variant, lower_order=False)


def exact(kind: str, x: torch.Tensor, sigma: float, target: float) -> torch.Tensor:
    """Row j is the solution for ``VARIANCES[j]``."""
    rows = [
        Gaussian(kind, 0.7, variance).exact(row, sigma, target)
        for variance, row in zip(VARIANCES, x)
    ]
    return torch.stack(rows)


def final_error(
    kind: str,
    settings: Settings,
    steps: int,
    ratio: float = 0.0,
    even_in: str | None = None,
) -> float:
    """Root mean square error at the end, with exact outputs known before the start.

    The grid is even in half-logSNR or in sigma, as the solver's order asks for; all ratios are
    ``1 + ratio``.
    """
    entry = SOLVERS[settings.solver]
    schedule = schedule_of(kind)
    first, last = schedule.sigma_at(FIRST), schedule.sigma_at(LAST)

    def sigma_at(k: int) -> float:
        share = k / steps
        if (even_in or entry.even_in) == "sigma":
            return first + (last - first) * share
        return schedule.sigma_at(FIRST + (LAST - FIRST) * share)

    sigmas = [sigma_at(k) for k in range(steps + 1)]
    earlier = [] if entry.kind == "singlestep" else [sigma_at(-k) for k in range(1, 5)]
    generator = torch.Generator().manual_seed(0)
    x = 0.3 + 2.0 * torch.randn(len(VARIANCES), 16, generator=generator, dtype=torch.float64)
    model = Gaussian(kind, 0.7)
    model.variance = torch.tensor(VARIANCES, dtype=x.dtype).view(-1, 1)  # type: ignore[assignment]
    history = []
    for sigma in earlier:
        there = exact(kind, x, sigmas[0], sigma)
        denoised = model(there, torch.full((len(x),), sigma, dtype=torch.float64))
        weights = output_weights(entry.parameterisation, Point.at(sigma, schedule))
        history.append(converted(weights, there, denoised))
    plan = make_plan(
        make_grid(sigmas, schedule), schedule, settings, [1.0 + ratio] * steps, earlier
    )
    final = run_plan(plan, model, x, outputs=history)
    return float((final - exact(kind, x, sigmas[0], sigmas[-1])).square().mean().sqrt())


def slope(
    kind: str, settings: Settings, compensation: float = 0.0, even_in: str | None = None
) -> float:
    """The fitted slope; ratios are ``1 + compensation * h^order``."""
    # Whole numbers of steps of order 2 and 3, fine enough for the slope and above rounding.  Even
    # in sigma the last steps are the longest in half-logSNR.
    counts = (144, 288, 576) if SOLVERS[settings.solver].even_in == "sigma" else (36, 72, 144)
    d = [(LAST - FIRST) / n for n in counts]
    errors = [
        final_error(kind, settings, n, compensation * h**settings.order, even_in)
        for n, h in zip(counts, d)
    ]
    x = torch.tensor(counts, dtype=torch.float64).log()
    y = torch.tensor(errors, dtype=torch.float64).log()
    x, y = x - x.mean(), y - y.mean()
    return -float((x * y).sum() / (x * x).sum()) if all(map(math.isfinite, errors)) else math.nan
