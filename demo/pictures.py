"""The demo's contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from .emoji import decode


def contact_sheet(
    columns: Sequence[tuple[str, torch.Tensor]],
    truth: torch.Tensor,
    path: Path,
    title: str,
) -> None:
    """Rows of images, a labelled column for each solver; under each its error to the last column.

    ``columns`` are labels and latents (B, 16, 8, 8), the reference ``truth`` being drawn last.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [*columns, ("reference", truth)]
    images = [decode(latents).numpy() for _, latents in shown]
    rows = len(truth)
    figure = Figure(figsize=(1.5 * rows + 1.6, 1.75 * len(shown) + 0.5), dpi=110, facecolor="white")
    figure.suptitle(title, x=0.012, ha="left", fontsize=12)
    grid = figure.subplots(len(shown), rows, squeeze=False)
    for r, (label, latents) in enumerate(shown):
        errors = (latents - truth).square().flatten(1).mean(dim=1)
        for c in range(rows):
            axes = grid[r][c]
            axes.imshow(images[r][c], interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color("#c9ccd3")
            if label != "reference":
                axes.set_xlabel(f"error {float(errors[c]):.4f}", fontsize=8, labelpad=2)
        grid[r][0].set_ylabel(label, fontsize=10, rotation=90, labelpad=8)
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.98))
    FigureCanvasAgg(figure).print_figure(str(path))
