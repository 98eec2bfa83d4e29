"""A figure as the nodes give it out: a preview in the node and an IMAGE."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..ratios import RatioSchedule
from ..ratios.plots import pixels, ratio_figure
from . import host


def plot(
    schedules: Sequence[RatioSchedule], title: str = "Compensation ratios"
) -> tuple[dict[str, str], torch.Tensor]:
    """The entry for ``ui.images`` and the image (1, H, W, 3) in [0, 1]."""
    image = pixels(ratio_figure(schedules, title=title))
    return host.save_preview(image), torch.from_numpy(image).float().div(255.0)[None]
