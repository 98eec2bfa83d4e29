"""The order of each step, as a function of half-logSNR alone."""

from __future__ import annotations

from collections.abc import Sequence

#: A step longer than this many times the history it extrapolates from lowers its order.
#: Found on trained models over the hosts' schedules (benchmarks/order_rule.py).
LONGEST_STEP = 2.0


def step_order(
    history: Sequence[float], target: float, *, order: int, lower_long_steps: bool
) -> int:
    """The order of the step from ``history[0]`` to ``target`` (both half-logSNR).

    ``history`` holds the half-logSNR of the known model outputs, newest first, all finite but
    perhaps the newest.  The order is at most the number of outputs, and 1 where an end is
    infinite.  With ``lower_long_steps`` it drops by one as long as the step is longer than
    ``LONGEST_STEP`` times the span of the ``order`` outputs it would use: a polynomial carried
    that far beyond its nodes does more harm than good.
    """
    order = min(order, len(history))
    step = abs(target - history[0])
    if step == float("inf"):
        return 1
    if lower_long_steps:
        while order > 1 and step > LONGEST_STEP * abs(history[0] - history[order - 1]):
            order -= 1
    return order
