"""Langevin steps as a stochastic corrector (2011.13456, algorithms 4 and 5) between solver steps.

At a noise level they draw the state towards the model's own distribution there, whatever error the
solver made on the way, at one model call each.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Langevin:
    """``steps`` Langevin steps after each step of the solver, of a signal-to-noise ratio ``snr``.

    The noise comes from a generator of its own, seeded with ``seed``, on the CPU: the same on every
    device, and the caller's random numbers are left alone.
    """

    steps: int = 1
    snr: float = 0.1
    seed: int = 0


def langevin_step(
    x: torch.Tensor,
    denoised: torch.Tensor,
    signal: float,
    sigma: float,
    snr: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """``x + g score + sqrt(2 g) z`` with ``g = 2 (snr |z| / |score|)^2``, one ``g`` a sample.

    ``score = (signal * denoised - x) / sigma^2`` in the host's scaling.
    """
    z = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x.device, x.dtype)
    # The score times sigma: of order 1 at every sigma.
    score = (signal * denoised - x) / sigma
    share = _norms(z) / _norms(score).clamp_min(1e-12)
    g = 2.0 * (snr * share) ** 2
    g = g.view(-1, *[1] * (x.ndim - 1))
    return x + sigma * (g * score + (2.0 * g).sqrt() * z)


def _norms(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).norm(dim=1)
