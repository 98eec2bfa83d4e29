"""Sigmas for flow models, where the WebUI's own leave their range."""

from __future__ import annotations

import torch

#: A float32 table may end a little above its largest sigma.
_ROOM = 1e-3


def sound_grid(sigmas: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """``sigmas`` where a flow model can take them, else as many from its table, evenly spread.

    ``table`` are the model's sigmas, rising, shape ``(T,)``.  A grid is sound that falls strictly
    from at most the largest of them to 0.  Forge takes indices into the table for times, and for
    Flux makes 9999 of them and ends in two zeros.
    """
    steps = len(sigmas) - 1
    if steps < 1 or _is_sound(sigmas, float(table[-1])):
        return sigmas
    places = [len(table) - 1 - int(k * len(table) / steps) for k in range(steps)]
    grid = [float(table[place]) for place in places] + [0.0]
    return torch.tensor(grid, dtype=sigmas.dtype)


def _is_sound(sigmas: torch.Tensor, largest: float) -> bool:
    falling = bool((sigmas[1:] < sigmas[:-1]).all())
    return falling and bool(sigmas[0] <= largest * (1 + _ROOM)) and float(sigmas[-1]) >= 0.0
