"""Pictures of ratio curves, by matplotlib's object interface (no global state, no window)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .schedule import RatioSchedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#2b2d33"
_FAINT = "#c9ccd3"
_COLOURS = ("#2f6fde", "#e2662f", "#2f9e6e", "#a352c4", "#c9a227", "#d1477a", "#3aa3b5", "#7a6a5d")


def ratio_figure(
    schedules: Sequence[RatioSchedule],
    labels: Sequence[str] | None = None,
    title: str = "Compensation ratios",
    size: tuple[float, float] = (6.4, 4.0),
) -> Figure:
    """The ratios of one or more schedules over the step, with 1, no compensation, marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(labels) if labels is not None else [describe(s) for s in schedules]
    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.axhline(1.0, color=_INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for k, (schedule, name) in enumerate(zip(schedules, names)):
        steps = np.arange(1, schedule.steps + 1)
        axes.plot(
            steps, schedule.ratios, color=_COLOURS[k % len(_COLOURS)], marker="o", markersize=4.5,
            linewidth=1.8, label=name, zorder=2,
        )  # fmt: skip
    values = [ratio for schedule in schedules for ratio in schedule.ratios] or [1.0]
    low, high = min(*values, 0.9), max(*values, 1.1)
    margin = 0.12 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlabel("step", color=_INK)
    axes.set_ylabel("ratio  (1 = plain UniPC)", color=_INK)
    axes.set_title(title, color=_INK, fontsize=11, loc="left")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=_FAINT, linewidth=0.6, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_FAINT)
    axes.tick_params(colors=_INK, labelsize=9)
    if names:
        outside = len(names) > 4
        axes.legend(
            frameon=False, fontsize=8, loc="upper left" if outside else "best",
            bbox_to_anchor=(1.0, 1.0) if outside else None,
        )  # fmt: skip
    return figure


def comparison_figure(
    columns: Sequence[tuple[str, np.ndarray]], title: str = "", largest: int = 768
) -> Figure:
    """Images beside each other: for each label a column of images (rows, H, W, 3) in [0, 1].

    Images keep their pixels up to ``largest`` on the longer side.
    """
    from matplotlib.figure import Figure

    rows, height, width = columns[0][1].shape[:3]
    scale = max(1.0, 160 / max(height, width)) * min(1.0, largest / max(height, width))
    dpi, gap, head = 100, 6, 30 if not title else 54
    w, h = width * scale, height * scale
    full = (len(columns) * (w + gap) + gap, rows * (h + gap) + head + gap)
    figure = Figure(figsize=(full[0] / dpi, full[1] / dpi), dpi=dpi, facecolor="white")
    if title:
        figure.text(gap / full[0], 1 - 16 / full[1], title, color=_INK, fontsize=9, va="center")
    for c, (label, images) in enumerate(columns):
        left = gap + c * (w + gap)
        figure.text(
            left / full[0], 1 - (head - 13) / full[1], label, color=_INK, fontsize=10, va="center"
        )
        for r in range(rows):
            bottom = full[1] - head - (r + 1) * (h + gap) + gap
            axes = figure.add_axes((left / full[0], bottom / full[1], w / full[0], h / full[1]))
            smooth = "nearest" if scale > 1.0 else "antialiased"
            axes.imshow(np.clip(images[r], 0.0, 1.0), interpolation=smooth, aspect="auto")
            axes.set_axis_off()
    return figure


def describe(schedule: RatioSchedule) -> str:
    """A short name for a curve: steps, scale, where it comes from."""
    cfg = "" if schedule.cfg is None else f", CFG {schedule.cfg:g}"
    return f"{schedule.steps} steps{cfg} ({schedule.origin})"


def pixels(figure: Figure) -> np.ndarray:
    """A figure as an image, (height, width, 3) in 8 bits."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
