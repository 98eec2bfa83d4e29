"""What the ways to calibrate must show, each with its figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .axes import CFGS, FEW_STEPS, MODELS, STEPS
from .cells import Cells, Line, Pair
from .entries import entries
from .figures import Summary, against, geometric_mean, share_within
from .memory import Peak
from .store import Errors

PAPER, PLUS, TOURNAMENT, FULL = "paper", "ratios_plus", "tournament", "full"
AUTHORS, SCHEDULE, PRIOR = "authors", "schedule", "prior"
#: Each regression with the search of its quality.
CPRS = {"cpr": PAPER, "cpr_schedule": SCHEDULE}
#: How often a bound on cells must hold.
MOST = 0.95


@dataclass(frozen=True)
class Demand:
    """``met`` is None where nothing has been measured of it, ``whole`` False where not all has."""

    text: str
    figure: str
    met: bool | None
    whole: bool = True


def demands(cells: Cells, memory: Mapping[str, Peak]) -> list[Demand]:
    """All, in the order of the modes."""
    return [
        *_against_authors(cells),
        _most(cells, PAPER, "same", "geometric_mean", 0.88, "error against *same*"),
        _most(cells, PLUS, "same", "geometric_mean", 0.82, "error against *same*"),
        _most(cells, TOURNAMENT, "rival", "geometric_mean", 1.05, "error against *rival*"),
        _most(cells, FULL, "rival", "geometric_mean", 0.80, "error against *rival*"),
        _most(cells, FULL, "rival", "mean", 1.0, "mean error against *rival*"),
        _most(cells, FULL, "same", "worse", 0.20, "share of images worse than *same*"),
        _cost(cells, FULL, 300),
        *(_safe(cells, mode) for mode in (PAPER, PLUS, TOURNAMENT, FULL)),
        *(demand for pair in CPRS.items() for demand in _cpr(cells, *pair)),
        _most(cells, PRIOR, "same", "geometric_mean", 0.93, "error against *same*"),
        _worst(cells, PRIOR, 1.03),
        *(_memory(memory, mode) for mode in (PAPER, PLUS, TOURNAMENT, FULL)),
    ]


def _against_authors(cells: Cells) -> Iterator[Demand]:
    pairs = list(_with(cells, PAPER, AUTHORS))
    text = f"{PAPER}: error at most 1.02 of {AUTHORS} in {MOST:.0%} of the cells"
    costs = f"{PAPER}: at most a fifth of the calls of {AUTHORS}, in every cell"
    if not pairs:
        yield _missing(text)
        yield _missing(costs)
    else:
        means = [against(a.result.errors, b).geometric_mean for a, b, _ in pairs]
        share = share_within(means, 1.02)
        figure = f"{share:.1%} of {{}}, worst {max(means):.3f}"
        yield _over(text, figure, share >= MOST, len(means), _planned(AUTHORS, STEPS))
        shares = [line.result.cost / cost for line, _, cost in pairs]
        yield Demand(costs, f"{max(shares):.3f} at most", max(shares) <= 0.2)
    yield _cost(cells, PAPER, 90)


def _with(cells: Cells, entry: str, other: str) -> Iterator[tuple[Line, Errors, float]]:
    """The lines of one entry where there is the other on the same schedule, with its errors and
    cost."""
    for line in cells.lines(entry):
        found = cells.results[line.cell].get(Pair(other, line.pair.schedule))
        if found is not None:
            yield line, found.errors, found.cost


def _most(cells: Cells, mode: str, yardstick: str, figure: str, limit: float, what: str) -> Demand:
    """A figure of the summary over few steps is at most the limit."""
    text = f"{mode}: {what} at most {limit:g}"
    summary = summarise(cells.lines(mode, FEW_STEPS), yardstick)
    if summary is None:
        return _missing(text)
    value, planned, everywhere = float(getattr(summary, figure)), _planned(mode), _planned(PAPER)
    told = f"{value:.3f} over {{}} cells"
    if planned < everywhere:
        silent = value ** (planned / everywhere)
        told += f"; {silent:.3f} with those that it is not for as 1"
    return _over(text, told, value <= limit, summary.cells, planned)


def _cost(cells: Cells, mode: str, limit: float) -> Demand:
    text = f"{mode}: at most {limit:g} calls a point at 5 steps"
    costs = [line.result.cost for line in cells.lines(mode, (5,))]
    return Demand(text, f"{max(costs):.0f}", max(costs) <= limit) if costs else _missing(text)


def _safe(cells: Cells, mode: str) -> Demand:
    text = f"{mode}: error at most 1.03 of *same* in {MOST:.0%} of the cells"
    means = _means(cells, mode)
    if not means:
        return _missing(text)
    share = share_within(means, 1.03)
    figure = f"{share:.1%} of {{}}, worst {max(means):.3f}"
    return _over(text, figure, share >= MOST, len(means), _planned(mode))


def _worst(cells: Cells, mode: str, limit: float) -> Demand:
    text = f"{mode}: error at most {limit:g} of *same* in every cell"
    means = _means(cells, mode)
    if not means:
        return _missing(text)
    figure = f"worst {max(means):.3f} of {{}}"
    return _over(text, figure, max(means) <= limit, len(means), _planned(mode))


def _means(cells: Cells, mode: str) -> list[float]:
    """The geometric means against *same*, a cell each, at few steps."""
    return [line.same.geometric_mean for line in cells.lines(mode, FEW_STEPS) if line.same]


def _cpr(cells: Cells, cpr: str, searched: str) -> Iterator[Demand]:
    text = (
        f"{cpr}: error at most 1.05 of {searched}, at scales and, of 7 and 9, at numbers of steps "
        "that it has not seen"
    )
    means = [against(a.result.errors, b).geometric_mean for a, b, _ in _with(cells, cpr, searched)]
    if means:
        value = geometric_mean(np.array(means))
        figure = f"{value:.3f} over {{}} cells"
        yield _over(text, figure, value <= 1.05, len(means), _planned(cpr))
    else:
        yield _missing(text)
    yield _worst(cells, cpr, 1.0)


def _memory(memory: Mapping[str, Peak], mode: str) -> Demand:
    text = f"{mode}: peak memory at most 1.1 of plain sampling of the same points"
    if mode not in memory:
        return _missing(text)
    peak = memory[mode]
    figure = f"{peak.device:.2f} on the model's device, {peak.all:.2f} with what is kept beside it"
    return Demand(text, figure, peak.device <= 1.1)


def _planned(name: str, steps: Iterable[int] = FEW_STEPS) -> int:
    """In how many cells of the whole table an entry is run, one a schedule."""
    entry = entries()[name]
    cells = [(cfg, count) for cfg in CFGS for count in steps if entry.applies(cfg, count)]
    return len(MODELS) * len(cells) * len(entry.schedulers)


def _over(text: str, figure: str, met: bool, count: int, planned: int) -> Demand:
    """A demand over some of the cells that are planned; ``{}`` in the figure is their number."""
    whole = count >= planned
    return Demand(text, figure.format(count if whole else f"{count} of {planned}"), met, whole)


def _missing(text: str) -> Demand:
    return Demand(text, "not measured", None)


def summarise(lines: Iterable[Line], yardstick: str) -> Summary | None:
    """Over lines, against "same" or "rival"."""
    found = [getattr(line, yardstick) for line in lines]
    return Summary.of([each for each in found if each is not None])
