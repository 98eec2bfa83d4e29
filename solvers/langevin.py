"""Langevin steps as a stochastic corrector (2011.13456, algorithms 4 and 5) between solver steps.

At a noise level they draw the state towards the model's own distribution there, whatever error the
solver made on the way, at one model call each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

_OTHER = 0x5DEECE66


@dataclass(frozen=True)
class Langevin:
    """``steps`` Langevin steps after each step of the solver, of a signal-to-noise ratio ``snr``.

    The noise comes from generators of its own on the CPU, one a sample: it is the same on every
    device, the caller's random numbers are left alone, and sample ``k`` of a batch has the noise
    that it has alone with the seed ``seed + k``.  It is not the noise that a host starts from with
    that seed.  A sequence gives each sample a seed of its own.
    """

    steps: int = 1
    snr: float = 0.1
    seed: int | Sequence[int] = 0


def generators(seed: int | Sequence[int], count: int) -> list[torch.Generator]:
    """One a sample.  The seed is mixed with another number: a host draws its starting noise from a
    generator of the plain one, and the first Langevin noise would be that noise again."""
    seeds = [seed + k for k in range(count)] if isinstance(seed, int) else seed
    # Of more than 32 bits the CPU's generator takes no note.
    mixed = [(one ^ _OTHER) % 2**32 for one in seeds]
    return [torch.Generator(device="cpu").manual_seed(one) for one in mixed]


def langevin_step(
    x: torch.Tensor,
    denoised: torch.Tensor,
    signal: float,
    sigma: float,
    snr: float,
    noise: Sequence[torch.Generator],
) -> torch.Tensor:
    """``x + g score + sqrt(2 g) z`` with ``g = 2 (snr |z| / |score|)^2``, one ``g`` a sample.

    ``score = (signal * denoised - x) / sigma^2`` in the host's scaling.
    """
    drawn = [
        torch.randn(x.shape[1:], generator=one, dtype=torch.float32, device="cpu") for one in noise
    ]
    z = torch.stack(drawn).to(x.device, x.dtype)
    # The score times sigma: of order 1 at every sigma.
    score = (signal * denoised - x) / sigma
    share = _norms(z) / _norms(score).clamp_min(1e-12)
    g = 2.0 * (snr * share) ** 2
    g = g.view(-1, *[1] * (x.ndim - 1))
    return x + sigma * (g * score + (2.0 * g).sqrt() * z)


def _norms(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(len(x), -1).norm(dim=1)
