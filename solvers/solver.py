"""What a solver is: an entry of the registry, with the coefficients of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .grid import Point
from .schedules import Schedule

Weights = tuple[float, ...]
PointAt = Callable[[float], Point]


@dataclass(frozen=True)
class Span:
    """One step of a multistep method: from the newest of ``known`` to ``target``.

    ``known`` are the points at which outputs are known, newest first, as many as the order.
    """

    known: Sequence[Point]
    target: Point
    variant: str
    schedule: Schedule

    @property
    def h(self) -> float:
        """The step in half-logSNR."""
        return self.target.lam - self.known[0].lam


@dataclass(frozen=True)
class Stage:
    """One update inside a singlestep step, from the state at its start to ``target``.

    ``outputs`` are the weights of the x0 known by then, oldest first; they sum to 0 and come on top
    of the first-order step.
    """

    target: Point
    outputs: Weights


@dataclass(frozen=True)
class Solver:
    """What a caller may want to know of a solver before running it.

    Attributes:
        name, label, source: for the code, for people, and where it is from.
        kind: "multistep" (uses earlier outputs), "singlestep" (its own alone) or "adaptive"
            (singlestep, and chooses its steps).
        order: the fixed order, or None where the caller chooses it up to ``max_order``.
        parameterisation: what it integrates: "data", "noise" or "derivative"
            (see :func:`solvers.parameterisation.output_weights`).
        corrector: whether UniC acts unless the caller says otherwise.
        compensates: whether it takes ratios.
        deterministic: whether the same start gives the same end.
        calls_per_step: model calls for each interval of the grid; None where it chooses its own.
        spans: intervals of the grid that one full step covers, with as many calls.
        timed: whether the coefficients need the model's time.
        even_in: the grid on which the order holds: even in "lambda" stands for any smooth grid.
        predict, correct: the coefficients of a multistep method: the weights of the outputs in
            the state at the target, and those of the new and the known outputs in corrected less
            predicted.
        stages: the updates of a singlestep step of an order between two points, the last of them
            to the target; its last argument makes a point of a half-logSNR.
        embedded: of an adaptive solver, the update of one order less from the first outputs of the
            same step, which the error is estimated with.
    """

    name: str
    label: str
    source: str
    kind: str = "multistep"
    order: int | None = None
    max_order: int = 1
    parameterisation: str = "data"
    corrector: bool = False
    compensates: bool = False
    deterministic: bool = True
    calls_per_step: int | None = 1
    spans: int = 1
    timed: bool = False
    even_in: str = "lambda"
    predict: Callable[[Span], Weights] | None = None
    correct: Callable[[Span], Weights] | None = None
    stages: Callable[[int, Point, Point, PointAt], list[Stage]] | None = None
    embedded: Callable[[Point, Point, PointAt], Stage] | None = None

    @property
    def has_variants(self) -> bool:
        """Whether UniPC's B(h) makes a difference."""
        return self.order is None and self.parameterisation != "derivative"

    @property
    def orders(self) -> tuple[int, ...]:
        """The orders that it runs at."""
        return tuple(range(1, self.max_order + 1)) if self.order is None else (self.order,)
