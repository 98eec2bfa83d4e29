"""The demo's contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from .emoji import decode


def contact_sheet(
    solvers: Sequence[tuple[str, torch.Tensor]],
    truth: torch.Tensor,
    base: str,
    path: Path,
    title: str,
) -> None:
    """A labelled row of images for each solver and, last, for the reference ``truth``; under each
    image its square distance to that, as a share of the same of ``base``.

    ``solvers`` are labels and latents (B, 16, 8, 8), ``base`` one of the labels.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [*solvers, ("reference", truth)]
    errors = {label: (latents - truth).square().flatten(1).mean(dim=1) for label, latents in shown}
    columns = len(truth)
    size = (1.75 * columns + 1.2, 2.0 * len(shown) + 0.5)
    figure = Figure(figsize=size, dpi=100, facecolor="white")
    figure.suptitle(title, x=0.012, ha="left", fontsize=14)
    grid = figure.subplots(len(shown), columns, squeeze=False)
    for row, (label, latents) in zip(grid, shown):
        row[0].set_ylabel(label, fontsize=12, rotation=90, labelpad=8)
        share = errors[label] / errors[base]
        for axes, image, error in zip(row, decode(latents).numpy(), share.tolist()):
            axes.imshow(image, interpolation="bicubic")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color("#c9ccd3")
            if label != "reference":
                axes.set_xlabel(f"{error:.0%}", fontsize=12, labelpad=3)
    figure.tight_layout(rect=(0.0, 0.0, 1.0, 0.985))
    FigureCanvasAgg(figure).print_figure(str(path))
