"""The sigma grids that the hosts' schedulers make, from a model's training sigmas.

Each follows the scheduler of the same name in ComfyUI; a host test holds them equal.  All end in
sigma 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy import stats

Table = Sequence[float]


def make_sigmas(scheduler: str, table: torch.Tensor, steps: int, *, flow: bool) -> torch.Tensor:
    """``steps + 1`` sigmas (ddim_uniform may give a few more) from a table in ascending order.

    Raises ValueError for an unknown scheduler or fewer than 1 step.
    """
    if scheduler not in SCHEDULERS:
        raise ValueError(f"scheduler: expected one of {', '.join(SCHEDULERS)}, got {scheduler!r}.")
    if steps < 1:
        raise ValueError(f"steps: expected 1 or more, got {steps}.")
    values = SCHEDULERS[scheduler](table.tolist(), steps, flow)
    return torch.tensor(values, dtype=torch.float32)


def _simple(table: Table, steps: int, flow: bool) -> list[float]:
    stride = len(table) / steps
    return [table[-1 - int(i * stride)] for i in range(steps)] + [0.0]


def _ddim_uniform(table: Table, steps: int, flow: bool) -> list[float]:
    stride = max(len(table) // steps, 1)
    return [*table[1::stride]][::-1] + [0.0]


def _normal(table: Table, steps: int, flow: bool) -> list[float]:
    return _even_times(table, flow, _linspace(1.0, 0.0, steps)) + [0.0]


def _sgm_uniform(table: Table, steps: int, flow: bool) -> list[float]:
    return _even_times(table, flow, _linspace(1.0, 0.0, steps + 1)[:-1]) + [0.0]


def _even_times(table: Table, flow: bool, positions: Sequence[float]) -> list[float]:
    """Sigmas at even positions of the model's time, 0 at the smallest sigma and 1 at the largest.

    For a flow model ComfyUI's time is sigma itself, which its scheduler then shifts once more.
    """
    if flow:
        shift = _flow_shift(table)
        times = [table[0] + (table[-1] - table[0]) * position for position in positions]
        return [shift * t / (1.0 + (shift - 1.0) * t) for t in times]
    logs = np.log(np.asarray(table, dtype=np.float64))
    index = np.asarray(positions) * (len(table) - 1)
    return np.exp(np.interp(index, np.arange(len(table)), logs)).tolist()


def _flow_shift(table: Table) -> float:
    """The shift of a flow model's table: at t = 1/2 it has ``s = shift / (shift + 1)``."""
    middle = table[len(table) // 2 - 1]
    return middle / (1.0 - middle)


def _karras(table: Table, steps: int, flow: bool, rho: float = 7.0) -> list[float]:
    low, high = table[0] ** (1.0 / rho), table[-1] ** (1.0 / rho)
    return [r**rho for r in _linspace(high, low, steps)] + [0.0]


def _exponential(table: Table, steps: int, flow: bool) -> list[float]:
    return [math.exp(v) for v in _linspace(math.log(table[-1]), math.log(table[0]), steps)] + [0.0]


def _beta(table: Table, steps: int, flow: bool, a: float = 0.6, b: float = 0.6) -> list[float]:
    positions = 1.0 - np.linspace(0.0, 1.0, steps, endpoint=False)
    indices = np.rint(stats.beta.ppf(positions, a, b) * (len(table) - 1)).astype(int)
    return [table[i] for i in dict.fromkeys(indices.tolist())] + [0.0]


def _kl_optimal(table: Table, steps: int, flow: bool) -> list[float]:
    if steps == 1:
        return [table[-1], 0.0]
    return [math.tan(v) for v in _linspace(math.atan(table[-1]), math.atan(table[0]), steps)] + [
        0.0
    ]


def _linear_quadratic(
    table: Table, steps: int, flow: bool, threshold: float = 0.025
) -> list[float]:
    """A linear rise of 1 - sigma to ``threshold`` over half the steps, then a parabola to 1."""
    if steps == 1:
        return [table[-1], 0.0]
    half = steps // 2
    rest = steps - half
    slope = threshold / half
    curve = (1.0 - threshold - slope * rest) / rest**2
    linear = [slope * i for i in range(half)]
    quadratic = [threshold + slope * i + curve * i * i for i in range(rest)]
    return [table[-1] * (1.0 - done) for done in [*linear, *quadratic, 1.0]]


def _linspace(first: float, last: float, count: int) -> list[float]:
    return np.linspace(first, last, count).tolist()


SCHEDULERS: dict[str, Callable[[Table, int, bool], list[float]]] = {
    "simple": _simple,
    "sgm_uniform": _sgm_uniform,
    "karras": _karras,
    "exponential": _exponential,
    "ddim_uniform": _ddim_uniform,
    "beta": _beta,
    "normal": _normal,
    "linear_quadratic": _linear_quadratic,
    "kl_optimal": _kl_optimal,
}
