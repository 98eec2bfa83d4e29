"""Dynamic thresholding of x0 (Imagen, 2205.11487, section 2.3), for models of pixels.

Strong guidance drives pixels beyond the range [-1, 1] of images.  Each sample is clamped to a high
quantile ``s`` of its own absolute values, at least 1, and divided by it.  For latents, which have
no such range, it makes no sense.
"""

from __future__ import annotations

import math

import torch


def dynamic_threshold(denoised: torch.Tensor, quantile: float, limit: float = 1.0) -> torch.Tensor:
    """``denoised`` (B, ...) with each sample inside ``[-limit, limit]``.

    ``quantile`` is a share such as 0.995 of a sample's elements that are to stay unclamped.
    """
    flat = denoised.reshape(len(denoised), -1).abs()
    place = quantile * (flat.shape[1] - 1)
    low = math.floor(place)
    # Sorted by hand: torch.quantile refuses samples of more than 16 million elements.
    ordered = flat.sort(dim=1).values
    at, after = ordered[:, low], ordered[:, min(low + 1, flat.shape[1] - 1)]
    scale = torch.lerp(at, after, place - low).clamp_min(limit)
    scale = scale.view(-1, *[1] * (denoised.ndim - 1))
    return denoised.clamp(-scale, scale) * (limit / scale)
