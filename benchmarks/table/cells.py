"""The results as cells, with the yardsticks of each."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from .entries import SAME, entries
from .figures import Against, against, geometric_mean
from .runner import TRUTH
from .store import Result, Results


class Cell(NamedTuple):
    """A model at a guidance scale and a number of steps."""

    model: str
    cfg: float
    steps: int


class Pair(NamedTuple):
    """A solver or a way to calibrate, and a schedule."""

    entry: str
    schedule: str

    def __str__(self) -> str:
        return f"{self.entry} on {self.schedule}"


#: The share of the largest field of pairs that a cell must have for one of them to be its rival.
_WHOLE_FIELD = 0.9


@dataclass(frozen=True)
class Line:
    """What a pair reached in a cell; its own schedule is that of *same*."""

    cell: Cell
    pair: Pair
    result: Result
    same: Against | None
    rival: Against | None


@dataclass(frozen=True)
class Cells:
    """All results; ``outdated`` counts lines that a later version has replaced."""

    results: dict[Cell, dict[Pair, Result]]
    truths: dict[tuple[str, float], Result]
    settings: dict[str, str]
    outdated: int

    @classmethod
    def read(cls, folder: Path) -> Cells:
        known = entries()
        results: dict[Cell, dict[Pair, Result]] = {}
        truths: dict[tuple[str, float], Result] = {}
        settings: dict[str, str] = {}
        outdated = 0
        for path in sorted(folder.glob("*_cfg*.npz")):
            model, _, scale = path.stem.rpartition("_cfg")
            cfg = float(scale)
            file = Results(path)
            settings[path.name] = file.setting
            for key, result in file.rows.items():
                if key.entry == TRUTH:
                    truths[model, cfg] = result
                elif key.entry in known and known[key.entry].version == result.version:
                    pairs = results.setdefault(Cell(model, cfg, key.steps), {})
                    pairs[Pair(key.entry, key.schedule)] = result
                else:
                    outdated += 1
        return cls(dict(sorted(results.items())), truths, settings, outdated)

    @cached_property
    def rivals(self) -> dict[Cell, Pair]:
        """The rival of each cell that has its field: a cell still being filled has none, for the
        best of a few is an easy one."""
        field = {
            cell: sum(result.plain for result in pairs.values())
            for cell, pairs in self.results.items()
        }
        whole = _WHOLE_FIELD * max(field.values(), default=0)
        found = {}
        for cell, pairs in self.results.items():
            rival = choose_rival(pairs, cell.steps)
            if rival is not None and field[cell] >= whole:
                found[cell] = rival
        return found

    def rival(self, cell: Cell) -> Result | None:
        """What the rival of a cell reached on the held-out images."""
        pair = self.rivals.get(cell)
        return None if pair is None else self.results[cell][pair]

    def same(self, cell: Cell, schedule: str) -> Result | None:
        """What the uncalibrated sampler reached on a schedule."""
        return self.results[cell].get(Pair(SAME, schedule))

    @cached_property
    def modes(self) -> list[str]:
        """The calibrations that there are results of."""
        pairs = [each for cell in self.results.values() for each in cell.items()]
        names = {pair.entry for pair, result in pairs if not result.plain}
        return [name for name in entries() if name in names]

    def lines(self, entry: str, steps: Container[int] | None = None) -> Iterator[Line]:
        """Those of an entry, at some numbers of steps or all."""
        for line in self._lines.get(entry, ()):
            if steps is None or line.cell.steps in steps:
                yield line

    @cached_property
    def _lines(self) -> dict[str, list[Line]]:
        found: dict[str, list[Line]] = {}
        for cell, pairs in self.results.items():
            for pair in pairs:
                found.setdefault(pair.entry, []).append(self.line(cell, pair))
        return found

    def line(self, cell: Cell, pair: Pair) -> Line:
        """A pair of a cell against its yardsticks."""
        result = self.results[cell][pair]
        same, rival = self.same(cell, pair.schedule), self.rival(cell)
        return Line(
            cell,
            pair,
            result,
            None if same is None else against(result.errors, same.errors),
            None if rival is None else against(result.errors, rival.errors),
        )


def choose_rival(pairs: dict[Pair, Result], steps: int) -> Pair | None:
    """The best pair without calibration that takes no more model calls than steps, by the geometric
    mean over the images that are there to choose it."""
    means = {
        pair: geometric_mean(result.rival)
        for pair, result in pairs.items()
        if result.plain and result.calls <= steps
    }
    finite = {pair: mean for pair, mean in means.items() if math.isfinite(mean)}
    return min(finite, key=lambda pair: finite[pair]) if finite else None
