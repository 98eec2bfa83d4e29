"""A figure as the nodes give it out: a preview in the node and an IMAGE."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..ratios import RatioSchedule
from ..ratios.plots import pixels, ratio_figure
from . import host


def plot(
    schedules: Sequence[RatioSchedule], title: str = "Compensation ratios"
) -> tuple[list[dict[str, str]], torch.Tensor]:
    """The entries for ``ui.images`` and the image (1, H, W, 3) in [0, 1].

    Without matplotlib there is no picture, but nothing that was calibrated is lost.
    """
    try:
        image = pixels(ratio_figure(schedules, title=title))
    except ImportError as error:
        host.log.warning("DC-Solver: no picture, for want of matplotlib (%s)", error)
        return [], torch.ones(1, 64, 64, 3)
    return [host.save_preview(image)], torch.from_numpy(image).float().div(255.0)[None]
