"""The table as a picture: error over the rival's by number of steps, a panel a model."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .cells import Cells
from .demands import summarise
from .entries import SAME

_GIVEN = ("simple", "beta")


def table_figure(cells: Cells) -> Figure:
    """A line each for the uncalibrated sampler and every calibration, on `simple` and `beta`
    together; *rival* = 1."""
    models = sorted({cell.model for cell in cells.results})
    figure = Figure(figsize=(4.4 * len(models) + 2.2, 4.2), layout="constrained")
    axes = figure.subplots(1, len(models), sharey=True, squeeze=False)[0]
    for axis, model in zip(axes, models):
        steps = sorted({cell.steps for cell in cells.results if cell.model == model})
        for k, entry in enumerate((SAME, *cells.modes)):
            points = []
            for count in steps:
                lines = [
                    line
                    for line in cells.lines(entry, (count,))
                    if line.cell.model == model and (entry != SAME or line.pair.schedule in _GIVEN)
                ]
                summary = summarise(lines, "rival")
                if summary is not None:
                    points.append((count, summary.geometric_mean))
            label = "same" if entry == SAME else entry
            style = {"color": "0.4", "linestyle": "--"} if entry == SAME else {"color": f"C{k - 1}"}
            if points:
                axis.plot(*zip(*points), marker="o", markersize=3.5, label=label, **style)
        axis.axhline(1.0, color="black", linewidth=0.8)
        axis.set_yscale("log")
        for ticks in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
            ticks(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_title(model)
        axis.set_xlabel("steps")
        axis.set_xticks(steps)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("error, rival = 1 (geometric mean)")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside right upper")
    return figure
