"""The results as Markdown: what was asked for, the modes, the solvers, every cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .axes import FEW_STEPS
from .cells import Cell, Cells, Line, Pair
from .demands import demands, summarise
from .entries import SAME, STOCK, entries
from .figures import against, figures
from .memory import Peak, read_memory
from .plot import table_figure

YARDSTICKS = ("same", "rival")
_HEAD = """\
# The table

An image's error is the mean square, over the elements of its final latent, of the distance to a
converged reference: {setting}. A figure is
the geometric mean over the images of that error over a yardstick's, averaged geometrically over the
cells: models, guidance scales, numbers of steps and the schedules that a calibration was given.

- *same*: `{same}` without calibration, on the stock schedule that the calibration was given.
- *rival*: the best pair of solver and stock schedule without calibration, chosen in each cell on
  seeds of its own among those that make no more model calls than steps.
- *calls a point*: the model calls of a calibration times the points in each, its reference and its
  check included, a backward pass as two, over the number of points that it searches on.
"""
_DETAILS = """\
# Every cell

The errors themselves, of the rival, of the uncalibrated sampler on the schedules that calibrations
were given, and of the calibrations; the geometric means of the errors over those of *same* and of
*rival*, with the share of images that are worse; and the calls a point of the calibration.
"""


_MET = {True: "yes", False: "**no**", None: ""}


def write_report(folder: Path) -> list[Path]:
    """Write ``table.md``, ``cells.md`` and ``table.png`` into the folder of the results.

    Raises ValueError where there are none, or of different seeds.
    """
    cells = Cells.read(folder)
    if not cells.results:
        raise ValueError(f"{folder}: expected results, found none; run without --report first.")
    files = {
        folder / "table.md": list(_table(cells, read_memory(folder))),
        folder / "cells.md": list(_details(cells)),
    }
    for path, lines in files.items():
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot = folder / "table.png"
    table_figure(cells).savefig(plot, dpi=110)
    return [*files, plot]


def _table(cells: Cells, memory: dict[str, Peak]) -> Iterator[str]:
    models = sorted({cell.model for cell in cells.results})
    yield from _head(cells, models)
    yield from ("", "## What the modes must show", "")
    yield from _rows(
        ("demand", "figure", "met"),
        (
            (d.text, d.figure, _MET[d.met] + ("" if d.whole or d.met is None else " so far"))
            for d in demands(cells, memory)
        ),
    )
    few = f"{FEW_STEPS[0]} to {FEW_STEPS[-1]} steps"
    for yardstick in YARDSTICKS:
        yield from ("", f"## The modes against *{yardstick}*", "")
        yield from _modes(cells, yardstick, {few: FEW_STEPS, "15 and 20": (15, 20)})
    yield from ("", f"## The modes by number of steps, against {' and '.join(YARDSTICKS)}", "")
    yield from _by_steps(cells, models)
    yield from ("", f"## Solvers without calibration, {few}, *rival* = 1", "")
    yield "Geometric mean over the cells; in brackets the largest number of model calls above the"
    yield "steps asked for, with which a pair is not a rival."
    for model in models:
        yield from ("", f"**{model}**", "")
        yield from _solvers(cells, model)
    yield from ("", "## The rivals", "")
    yield f"With the error of *same* ({SAME}) on `simple` and on `beta` over the rival's."
    for model in models:
        yield from ("", f"**{model}**", "")
        yield from _rivals(cells, model)


def _head(cells: Cells, models: Sequence[str]) -> Iterator[str]:
    settings = {setting.split(", ", 1)[1] for setting in cells.settings.values()}
    if len(settings) > 1:
        raise ValueError(f"expected results of one setting, got {'; '.join(sorted(settings))}.")
    yield from _HEAD.format(setting=settings.pop(), same=SAME).splitlines()
    pairs = [entry for entry in entries().values() if entry.schedulers == STOCK]
    counts = [sum(r.plain for r in cell.values()) for cell in cells.results.values()]
    yield ""
    yield f"Models: {', '.join(models)}. Cells: {len(cells.results)}, each with at least"
    yield f"{min(counts)} of {len(pairs) * len(STOCK)} pairs without calibration."
    ratios = _truth_ratios(cells)
    if ratios:
        yield f"With twice its steps the reference moves by {max(ratios):.1e} of the rival's error"
        yield "in the cell where that is most (geometric means)."
    if cells.outdated:
        yield f"{cells.outdated} lines are of earlier versions and left out."


def _truth_ratios(cells: Cells) -> list[float]:
    found = []
    for cell in cells.results:
        rival, truth = cells.rival(cell), cells.truths.get((cell.model, cell.cfg))
        if rival is not None and truth is not None:
            images = min(len(truth.errors), len(rival.errors))
            moved = against(truth.errors[:images], rival.errors[:images])
            found.append(moved.geometric_mean)
    return found


def _modes(cells: Cells, yardstick: str, ranges: dict[str, Iterable[int]]) -> Iterator[str]:
    head = (
        "mode", "steps", "cells", "geometric mean", "95th percentile cell", "worst cell",
        "images worse", "mean error", "median", "90th percentile", "calls a point at 5 steps",
    )  # fmt: skip
    rows = []
    for mode in cells.modes:
        costs = [line.result.cost for line in cells.lines(mode, (5,))]
        cost = f"{min(costs):.0f} to {max(costs):.0f}" if costs else ""
        for label, steps in ranges.items():
            summary = summarise(cells.lines(mode, set(steps)), yardstick)
            if summary is not None:
                rows.append(
                    (
                        mode, label, str(summary.cells), f"**{summary.geometric_mean:.3f}**",
                        f"{summary.percentile_95:.3f}", f"{summary.worst:.3f}",
                        f"{summary.worse:.0%}", f"{summary.mean:.3f}", f"{summary.median:.3f}",
                        f"{summary.percentile_90:.3f}", cost,
                    )
                )  # fmt: skip
    yield from _rows(head, rows)


def _by_steps(cells: Cells, models: Sequence[str]) -> Iterator[str]:
    steps = sorted({cell.steps for cell in cells.results})
    rows = []
    for model in models:
        for mode in cells.modes:
            row = [model, mode]
            for count in steps:
                lines = [line for line in cells.lines(mode, (count,)) if line.cell.model == model]
                parts = [summarise(lines, yardstick) for yardstick in YARDSTICKS]
                row.append(", ".join(f"{p.geometric_mean:.2f}" if p else "-" for p in parts))
            rows.append(row)
    yield from _rows(("model", "mode", *(f"{count} steps" for count in steps)), rows)


def _solvers(cells: Cells, model: str) -> Iterator[str]:
    rows = []
    for entry in entries().values():
        if len(entry.schedulers) < len(STOCK):
            continue
        row = [entry.name]
        for schedule in STOCK:
            lines = [
                line
                for line in cells.lines(entry.name, FEW_STEPS)
                if line.cell.model == model and line.pair.schedule == schedule
            ]
            summary = summarise(lines, "rival")
            more = max((line.result.calls - line.cell.steps for line in lines), default=0)
            row.append("" if summary is None else _number(summary.geometric_mean) + _more(more))
        rows.append(row)
    yield from _rows(("solver", *STOCK), (row for row in rows if any(row[1:])))


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 100.0 else f"{value:.0e}"


def _more(calls: int) -> str:
    return f" (+{calls})" if calls > 0 else ""


def _rivals(cells: Cells, model: str) -> Iterator[str]:
    here = [cell for cell in cells.rivals if cell.model == model]
    steps = sorted({cell.steps for cell in here})
    rows = []
    for cfg in sorted({cell.cfg for cell in here}):
        row = [f"{cfg:g}"]
        for count in steps:
            cell = Cell(model, cfg, count)
            pair, rival = cells.rivals.get(cell), cells.rival(cell)
            if pair is None or rival is None:
                row.append("")
                continue
            sames = [cells.same(cell, schedule) for schedule in ("simple", "beta")]
            over = [
                "-" if same is None else _number(against(same.errors, rival.errors).geometric_mean)
                for same in sames
            ]
            row.append(f"{pair}: {', '.join(over)}")
        rows.append(row)
    yield from _rows(("CFG", *(f"{count} steps" for count in steps)), rows)


def _details(cells: Cells) -> Iterator[str]:
    yield from _DETAILS.splitlines()
    head = (
        "entry", "schedule", "geometric mean", "mean", "median", "90th percentile", "same", "worse",
        "rival", "worse", "calls a point",
    )  # fmt: skip
    for cell, pairs in cells.results.items():
        yield from ("", f"**{cell.model}, CFG {cell.cfg:g}, {cell.steps} steps**", "")
        rival = cells.rivals.get(cell)
        given = {pair.schedule for pair, result in pairs.items() if not result.plain}
        wanted = [pair for pair in (rival,) if pair is not None]
        wanted += [Pair(SAME, s) for s in sorted(given) if Pair(SAME, s) in pairs]
        wanted += [p for mode in cells.modes for p in sorted(pairs) if p.entry == mode]
        yield from _rows(head, (_detail(cells.line(cell, p)) for p in dict.fromkeys(wanted)))


def _detail(line: Line) -> list[str]:
    own = figures(line.result.errors)
    row = [line.pair.entry, line.pair.schedule]
    row += [f"{v:.2e}" for v in (own.geometric_mean, own.mean, own.median, own.percentile_90)]
    for yardstick in (line.same, line.rival):
        if yardstick is None:
            row += ["", ""]
        else:
            row += [_number(yardstick.geometric_mean), f"{yardstick.worse:.0%}"]
    return [*row, "" if line.result.plain else f"{line.result.cost:.0f}"]


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
