"""The host's count of steps, where a solver calls its model more or less often than once a step.

By that count the host moves its bars, edits prompts and switches to the refiner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...solvers.run import Callback


def step_at(sigma: float, sigmas: Sequence[float]) -> int:
    """The step of a falling grid in which a sigma lies."""
    passed = sum(1 for known in sigmas[1:-1] if known >= sigma * (1 - 1e-6))
    return min(passed, max(len(sigmas) - 2, 0))


class OnceAStep:
    """Passes on what a solver tells of its way, once for each step that is behind it."""

    def __init__(self, callback: Callback | None, steps: int) -> None:
        self._callback = callback
        self._steps = steps
        self._told = 0
        self._last: dict[str, Any] = {}

    def __call__(self, state: dict[str, Any]) -> None:
        self._last = state
        self._tell(state["i"] + 1)

    def finish(self) -> None:
        """The steps that were left were done in one."""
        self._tell(self._steps)

    def _tell(self, steps: int) -> None:
        while self._callback is not None and self._last and self._told < steps:
            self._callback({**self._last, "i": self._told})
            self._told += 1
