"""Learned steps: where a run steps, what the model is told there, and how its outputs are weighed.

A calibration beyond ratios, at one model call a step: sigmas in other places than the host's, input
times apart from them (LD3, 2405.15506), and weights of the outputs apart from the solver's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from .grid import Grid, falls_strictly, make_grid, same_point, sigma_list
from .plan import make_plan
from .run import run_plan
from .schedules import Schedule
from .step import Settings, Step

#: Steps whose outputs may be weighed anew: each keeps all outputs, and their weights grow squared.
MOST_CHANGED = 64
#: Far beyond any that a search finds; what grows by more in each step overflows a long run.
LARGEST_CHANGE = 100.0
_ZERO_SUM = 1e-6


@dataclass(frozen=True)
class LearnedSteps:
    """The steps of a run over a host's grid of ``N + 1`` sigmas, as they were learned for it.

    ``sigmas`` are the ``N + 1`` that are stepped, the first and the last those of the host's;
    ``inputs`` the ``N`` that the model is told, where none are given the first ``N`` of ``sigmas``.
    ``changes`` are ``N`` rows of ``N`` weights: written as a linear combination of the starting
    state and the outputs ``m_0 .. m_i``, the state after step ``i`` is the solver's own over
    ``sigmas`` plus ``sum_j changes[i][j] m_j``.  Each row sums to 0, so that a constant output
    stays one.

    Raises TypeError for what are no numbers, ValueError for numbers that make no such run.
    """

    sigmas: tuple[float, ...]
    inputs: tuple[float, ...] = ()
    changes: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        sigmas = _numbers("sigmas", self.sigmas)
        inputs = _numbers("inputs", self.inputs) or sigmas[:-1]
        steps = len(sigmas) - 1
        if steps < 1:
            raise ValueError(f"learned sigmas: expected two or more, got {len(sigmas)}.")
        if not falls_strictly(sigmas) or sigmas[-1] < 0.0:
            raise ValueError(f"learned sigmas: expected falling numbers, the last perhaps 0, got "
                             f"{_short(sigmas)}; calibrate again.")  # fmt: skip
        if len(inputs) != steps:
            raise ValueError(f"learned inputs: expected {steps}, one for each of the {steps} "
                             f"steps, got {len(inputs)}.")  # fmt: skip
        if min(inputs) <= 0.0:
            raise ValueError(f"learned inputs: expected sigmas above 0, got {_short(inputs)}.")
        if max(inputs) > sigmas[0]:
            raise ValueError(f"learned inputs: expected sigmas up to the first that is stepped, "
                             f"{sigmas[0]:.6g}, got {_short(inputs)}.")  # fmt: skip
        object.__setattr__(self, "sigmas", sigmas)
        object.__setattr__(self, "inputs", inputs)
        if self.changes is not None:
            object.__setattr__(self, "changes", _checked(self.changes, steps))

    @property
    def steps(self) -> int:
        """The number of steps, ``N``."""
        return len(self.inputs)


def learned_over(learned: LearnedSteps, grid: Grid, schedule: Schedule) -> LearnedSteps:
    """The learned steps from the first sigma of a run's own grid to its last.

    Raises ValueError where the run has another number of steps, or other ends.
    """
    ours, theirs = learned.sigmas, grid.sigmas
    if len(ours) != len(theirs) or not all(
        same_point(ours[end], theirs[end], schedule) for end in (0, -1)
    ):
        raise ValueError(
            f"ratios: expected a run of {learned.steps} steps from sigma {ours[0]:.6g} to "
            f"{ours[-1]:.6g}, which the learned steps are for, got {_run(theirs)}; pass the sigmas "
            "that they were calibrated on, or the learned ones."
        )
    first, *others = learned.inputs
    first = theirs[0] if first == ours[0] else first
    return replace(
        learned,
        sigmas=(theirs[0], *ours[1:-1], theirs[-1]),
        inputs=tuple(min(told, theirs[0]) for told in (first, *others)),
    )


def learned_plan(
    learned: LearnedSteps,
    schedule: Schedule,
    settings: Settings,
    ratios: Sequence[float] | None = None,
) -> list[Step]:
    """The plan of learned steps over the solver that ``settings`` and ``ratios`` name.

    A callback is told the sigma that the model is.  Raises ValueError for a sigma that the schedule
    does not have.
    """
    plan = make_plan(make_grid(learned.sigmas, schedule), schedule, settings, ratios)
    if learned.changes is None:
        return [replace(step, sigma=told) for step, told in zip(plan, learned.inputs)]
    rows = plan_rows(plan, learned.steps)
    rows[1:, 1:] += torch.tensor(learned.changes, dtype=torch.float64, device="cpu")
    return rows_plan(rows, learned.sigmas, learned.inputs)


def plan_rows(plan: Sequence[Step], steps: int) -> torch.Tensor:
    """A plan of ``steps`` steps as a matrix over ``[start, m_0, .., m_{N-1}]``, (N + 1, N + 1).

    Row ``k`` is the state at which call ``k`` is made, the last row the final state, in float64 on
    the CPU.  Steps from sigma 0 on make no call, and their rows are the final state too.
    """
    basis = torch.eye(steps + 1, dtype=torch.float64, device="cpu")
    states: list[torch.Tensor] = []

    def output(state: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        states.append(state)
        return basis[len(states)][None]

    final = run_plan(plan, output, basis[:1])
    states += [final] * (steps + 1 - len(states))
    return torch.cat(states)


def rows_plan(
    rows: torch.Tensor | Sequence[Sequence[float]],
    sigmas: Sequence[float],
    inputs: Sequence[float],
) -> list[Step]:
    """The plan whose rows these are (see :func:`plan_rows`), the model told the ``inputs``.

    ``sigmas`` are the ``N + 1`` that are stepped.  Every step goes from the starting state, so all
    outputs of a run are kept until its end.
    """
    values = rows.tolist() if isinstance(rows, torch.Tensor) else rows
    steps = len(inputs)
    return [
        Step(
            told,
            after,
            state=values[i + 1][0],
            outputs=tuple(values[i + 1][i + 1 : 0 : -1]),
            correct=None,
            order=i + 1,
            starts=i == 0,
            completes=i == steps - 1,
            keep=(i + 1) % steps,
        )
        for i, (told, after) in enumerate(zip(inputs, sigmas[1:]))
    ]


def _numbers(name: str, values: Any) -> tuple[float, ...]:
    try:
        found = sigma_list(values)
    except TypeError as error:
        raise TypeError(f"learned {name}: expected numbers, got {values!r}.") from error
    for value in found:
        if not math.isfinite(value):
            raise ValueError(f"learned {name}: expected finite numbers, got {value!r}.")
    return found


def _checked(changes: Any, steps: int) -> tuple[tuple[float, ...], ...]:
    """The changes as tuples of floats."""
    if steps > MOST_CHANGED:
        raise ValueError(
            f"learned changes: expected at most {MOST_CHANGED} steps, got {steps}; learn sigmas "
            "alone for so many."
        )
    rows = tuple(_numbers("changes", row) for row in changes)
    sizes = sorted({len(row) for row in rows})
    if len(rows) != steps or sizes != [steps]:
        raise ValueError(
            f"learned changes: expected {steps} rows of {steps}, got {len(rows)} of {sizes}."
        )
    for i, row in enumerate(rows):
        if any(row[i + 1 :]):
            raise ValueError(
                f"learned changes: expected 0 after the first {i + 1} of row {i}, whose step knows "
                f"no later output, got {_short(row)}."
            )
        most = max(map(abs, row))
        if most > LARGEST_CHANGE:
            raise ValueError(
                f"learned changes: expected numbers of {LARGEST_CHANGE:g} at most, got {most:g} in "
                f"row {i}; those of a search are of order 1."
            )
        if abs(math.fsum(row)) > _ZERO_SUM:
            raise ValueError(
                f"learned changes: expected rows that sum to 0, got {math.fsum(row):.3g} for row "
                f"{i}; take from one output what another gets."
            )
    return rows


def _run(sigmas: Sequence[float]) -> str:
    if len(sigmas) < 2:
        return "no steps"
    return f"{len(sigmas) - 1} from {sigmas[0]:.6g} to {sigmas[-1]:.6g}"


def _short(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
