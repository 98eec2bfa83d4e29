"""Pictures of ratio curves, by matplotlib's object interface (no global state, no window)."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .cpr import CPR
from .schedule import RatioSchedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The colours of curves, in their order.
COLOURS = ("#2f6fde", "#e2662f", "#2f9e6e", "#a352c4", "#c9a227", "#d1477a", "#3aa3b5", "#7a6a5d")
#: What is written, and the lines behind it.
INK = "#2b2d33"
FAINT = "#c9ccd3"
_BELOW, _AT, _ABOVE = "#1f5fd0", "#f3f1ec", "#d9541e"
#: Rows and columns of a surface, at most.
_MOST_ROWS, _COLUMNS = 60, 41
_MOST_RATIO = 100.0


def ratio_figure(
    schedules: Sequence[RatioSchedule],
    labels: Sequence[str] | None = None,
    title: str = "Compensation ratios",
    size: tuple[float, float] = (6.4, 4.0),
    *,
    limits: Sequence[float] = (),
    dashed: Collection[int] = (),
) -> Figure:
    """The ratios of one or more schedules over the step, with 1, no compensation, marked.

    ``limits`` are ratios that the axis reaches at least, so that it stands still while a curve
    moves; ``dashed`` are the indices of curves that are not what was asked for.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(labels) if labels is not None else [describe(s) for s in schedules]
    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.axhline(1.0, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    for k, schedule in enumerate(schedules):
        steps = np.arange(1, schedule.steps + 1)
        axes.plot(
            steps, schedule.ratios, color=COLOURS[k % len(COLOURS)], marker="o", markersize=4.5,
            linewidth=1.8, linestyle=(0, (3, 2)) if k in dashed else "-", zorder=2,
        )  # fmt: skip
    values = [*(ratio for schedule in schedules for ratio in schedule.ratios), *limits, 1.0]
    low, high = min(*values, 0.9), max(*values, 1.1)
    margin = 0.12 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    _style(axes, title, "step", "ratio  (1 = no compensation)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=FAINT, linewidth=0.6, alpha=0.6)
    if names:
        outside = len(names) > 4
        legend = axes.legend(
            axes.get_lines()[1:], [str(k) for k in range(len(names))],
            frameon=False, fontsize=8, loc="upper left" if outside else "best",
            bbox_to_anchor=(1.0, 1.0) if outside else None,
        )  # fmt: skip
        for text, name in zip(legend.get_texts(), names):
            text.set_parse_math(False)  # a file may be named $x$
            text.set_text(name)
    return figure


def steps_figure(
    schedules: Sequence[RatioSchedule],
    title: str = "Learned steps",
    size: tuple[float, float] = (6.4, 4.0),
) -> Figure:
    """Where the learned steps are: the sigmas given and those learned, on a logarithmic scale.

    Crosses are what the model is told where that is not the sigma that it is at.  A last sigma of
    0 is left out.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.set_yscale("log")
    told_apart = False
    values: list[float] = []
    for k, schedule in enumerate(schedules):
        learned, given = schedule.learned, schedule.sigmas
        if learned is None or given is None:
            continue
        colour = COLOURS[k % len(COLOURS)]
        looks: list[tuple[Sequence[float], dict[str, Any]]] = [
            (given, {"linestyle": (0, (4, 3)), "linewidth": 1.2, "markerfacecolor": "none"}),
            (learned.sigmas, {"linestyle": "-", "linewidth": 1.8}),
        ]
        for sigmas, look in looks:
            above = [sigma for sigma in sigmas if sigma > 0.0]
            values += above
            axes.plot(range(len(above)), above, color=colour, marker="o", markersize=4.5, **look)
        if learned.inputs != learned.sigmas[:-1]:
            told_apart = True
            values += learned.inputs
            axes.plot(range(learned.steps), learned.inputs, color=colour, marker="x", markersize=6,
                      linestyle="none")  # fmt: skip
    _style(axes, title, "steps done", "sigma")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if values:
        low, high = min(values), max(values)
        axes.set_ylim(low / (high / low) ** 0.08, high * (high / low) ** 0.08)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        within = high < 100 * low  # else the powers of ten are labels enough
        minor = (2, 5) if high > 3 * low else range(2, 10)
        axes.yaxis.set_minor_locator(LogLocator(subs=minor))
        axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}") if within else NullFormatter())
        axes.tick_params(which="minor", colors=INK, labelsize=8)
    axes.grid(color=FAINT, linewidth=0.6, alpha=0.6)
    marks = [
        Line2D([], [], color=INK, marker="o", markersize=4.5, linestyle=(0, (4, 3)),
               linewidth=1.2, markerfacecolor="none", label="given"),
        Line2D([], [], color=INK, marker="o", markersize=4.5, linewidth=1.8, label="learned"),
    ]  # fmt: skip
    if told_apart:
        marks.append(Line2D([], [], color=INK, marker="x", markersize=6, linestyle="none",
                            label="told to the model"))  # fmt: skip
    axes.legend(handles=marks, frameon=False, fontsize=8, labelcolor=INK, loc="best")
    return figure


def strongest(schedule: RatioSchedule) -> float:
    """The ratio furthest from 1: how much a setting is compensated, and which way."""
    return max(schedule.ratios, key=lambda ratio: abs(ratio - 1.0), default=1.0)


@lru_cache(maxsize=8)
def surface(cpr: CPR) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strongest ratio over the fitted range: scales (W,), step counts (N,), values (N, W).

    A value is NaN where there is no prediction or none that could be meant.
    """
    low, high = cpr.steps_range
    steps = np.arange(max(low, 1), high + 1, -(-(high - low + 1) // _MOST_ROWS))
    cfgs = np.linspace(*cpr.cfg_range, _COLUMNS if cpr.cfg_range[0] < cpr.cfg_range[1] else 1)
    values = np.full((len(steps), len(cfgs)), np.nan)
    with np.errstate(all="ignore"):
        for i, count in enumerate(steps):
            for j, cfg in enumerate(cfgs):
                with contextlib.suppress(ValueError):  # coefficients too large to be meant
                    values[i, j] = strongest(cpr.predict(int(count), float(cfg)))
    values[np.abs(values) > _MOST_RATIO] = np.nan
    for array in (cfgs, steps, values):
        array.setflags(write=False)
    return cfgs, steps, values


def surface_figure(
    cpr: CPR,
    title: str = "Strongest ratio",
    size: tuple[float, float] = (5.2, 4.0),
) -> Figure:
    """The ratio furthest from 1 over CFG and steps, blue below 1 and orange above.

    Of all numbers about a curve this one says how much a setting is compensated and which way, and
    can be read off the curve itself; a mean would let high and low ratios cancel, and a fixed step
    means another place in a run of each length.  Rings mark the calibrations behind the fit,
    crosses those that kept ratios of 1.
    """
    from matplotlib.colors import CenteredNorm, LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    cfgs, steps, values = surface(cpr)
    row = (steps[1] - steps[0]) / 2 if len(steps) > 1 else 0.5
    column = (cfgs[1] - cfgs[0]) / 2 if len(cfgs) > 1 else 0.5
    extent = (cfgs[0] - column, cfgs[-1] + column, steps[0] - row, steps[-1] + row)
    reach = max(np.nanmax(np.abs(values - 1.0), initial=0.0), 0.1)
    look: dict[str, Any] = {
        "norm": CenteredNorm(1.0, reach), "interpolation": "nearest", "aspect": "auto",
        "cmap": LinearSegmentedColormap.from_list("ratio", (_BELOW, _AT, _ABOVE)),
        "origin": "lower",
    }  # fmt: skip
    figure = Figure(figsize=size, dpi=120, layout="constrained", facecolor="white")
    axes, bar = figure.subplots(1, 2, width_ratios=(22, 1))
    axes.imshow(values, extent=extent, **look)
    for active, marker in ((True, "o"), (False, "x")):
        cells = [(s.cfg, s.steps) for s in cpr.fitted if s.active is active and s.cfg is not None]
        axes.plot(
            [cfg for cfg, _ in cells], [count for _, count in cells], linestyle="none",
            marker=marker, markersize=6.5, markerfacecolor="none", markeredgecolor="#3c3e44",
            markeredgewidth=1.4, clip_on=False,
        )  # fmt: skip
    axes.set_xlim(*extent[:2])
    axes.set_ylim(*extent[2:])
    _style(axes, title, "CFG", "steps")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    shades = np.linspace(1.0 - reach, 1.0 + reach, 128)
    bar.imshow(shades[:, None], extent=(0.0, 1.0, shades[0], shades[-1]), **look)
    _style(bar, "", "", "ratio  (1 = no compensation)")
    bar.yaxis.set_label_position("right")
    bar.yaxis.tick_right()
    bar.set_xticks([])
    for part in (axes, bar):
        part.spines[:].set_visible(False)
    return figure


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9)


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
        figure.text(gap / full[0], 1 - 16 / full[1], title, color=INK, fontsize=9, va="center")
    for c, (label, images) in enumerate(columns):
        left = gap + c * (w + gap)
        figure.text(
            left / full[0], 1 - (head - 13) / full[1], label, color=INK, fontsize=10, va="center"
        )
        for r in range(rows):
            bottom = full[1] - head - (r + 1) * (h + gap) + gap
            axes = figure.add_axes((left / full[0], bottom / full[1], w / full[0], h / full[1]))
            smooth = "nearest" if scale > 1.0 else "antialiased"
            axes.imshow(np.clip(images[r], 0.0, 1.0), interpolation=smooth, aspect="auto")
            axes.set_axis_off()
    return figure


def describe(schedule: RatioSchedule) -> str:
    """A short name for a curve: steps, scale, where it comes from, what was learned beside."""
    cfg = "" if schedule.cfg is None else f", CFG {schedule.cfg:g}"
    learned = f", learned steps: {schedule.quality}" if schedule.moves_steps else ""
    return f"{schedule.steps} steps{cfg} ({schedule.origin}{learned})"


def pixels(figure: Figure) -> np.ndarray:
    """A figure as an image, (height, width, 3) in 8 bits."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
