"""Figures as SVG inside a page: sharp at any size, and in the colours of its theme."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ...ratios import CPR, RatioSchedule
from ...ratios.plots import FAINT, INK, ratio_figure, steps_figure, surface_figure
from .words import safe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE, _NARROW = (8.6, 3.6), (5.4, 3.6)
#: Matplotlib makes no promise about threads, and a server has several.
_one_at_a_time = threading.Lock()


def curves_svg(
    schedules: Sequence[RatioSchedule],
    title: str,
    *,
    limits: Sequence[float] = (),
    dashed: Collection[int] = (),
    wide: bool = True,
) -> str:
    """The curves without their names, which the table below gives."""
    size = _WIDE if wide else _NARROW
    with _one_at_a_time:
        figure = ratio_figure(schedules, [], title, size, limits=limits, dashed=dashed)
        _fix(figure, left=0.62, right=0.12)
        return _svg(figure, title)


def steps_svg(schedules: Sequence[RatioSchedule], title: str) -> str:
    """The sigmas of those of the schedules that have learned steps, in their colours."""
    with _one_at_a_time:
        figure = steps_figure(schedules, title, _NARROW)
        _fix(figure, left=0.72, right=0.12)
        return _svg(figure, title)


def surface_svg(cpr: CPR, title: str, here: tuple[int, float]) -> str:
    """The heat map with a diamond at ``here``, (steps, CFG), moved into the fitted range."""
    drawn, (left, bottom, right, top), (x_low, x_high, y_low, y_high) = _surface(cpr, title)
    (low, high), (least, most) = cpr.cfg_range, cpr.steps_range
    across = (min(max(here[1], low), high) - x_low) / (x_high - x_low)
    up = (min(max(here[0], least), most) - y_low) / (y_high - y_low)
    x, y = left + across * (right - left), bottom + up * (top - bottom)
    mark = f'<path class="dc-here" d="M{x:.2f} {y - 7:.2f}l7 7l-7 7l-7 -7z"/>'
    return drawn.replace("</svg>", f"{mark}</svg>")


@lru_cache(maxsize=16)
def _surface(
    cpr: CPR, title: str
) -> tuple[str, tuple[float, float, float, float], tuple[float, float, float, float]]:
    """The heat map, where its axes are in the SVG's own units, and the values at their ends."""
    with _one_at_a_time:
        figure = surface_figure(cpr, title, _NARROW)
        _fix(figure, left=0.5, right=0.66)
        drawn = _svg(figure, title)
        axes = figure.axes[0]
        box = axes.get_position()
        width, height = (72.0 * side for side in _NARROW)
        place = (box.x0 * width, (1 - box.y0) * height, box.x1 * width, (1 - box.y1) * height)
        return drawn, place, (*axes.get_xlim(), *axes.get_ylim())


def _fix(figure: Figure, left: float, right: float) -> None:
    """Place the axes by margins in inches, in half of the time that it takes to find them."""
    width = figure.get_figwidth()
    figure.set_layout_engine(None)
    figure.subplots_adjust(
        left=left / width, right=1 - right / width, bottom=0.13, top=0.91, wspace=0.06
    )


def _svg(figure: Figure, label: str) -> str:
    """The figure as an element of a page: clear ground, ink in the colour of the text around it.

    ``label`` says what it shows to who cannot see it.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set_visible(False)
    text = io.StringIO()
    canvas: Any = FigureCanvasSVG(figure)
    canvas.print_svg(text, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = text.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    drawn = drawn.replace(FAINT, f"var(--dc-faint, {FAINT})")
    drawn = re.sub(r"<style.*?</style>", "", drawn, flags=re.DOTALL)  # it would style the page
    drawn = re.sub(r' id="[\w.]+_\d+"', "", drawn)  # names of groups, the same in every figure
    opening = f'<svg role="img" aria-label="{safe(label)}" style="stroke-linejoin: round" '
    return re.sub(r'^<svg (.*?)width="\S+" height="\S+" ', rf"{opening}\1", drawn, count=1)
