"""Figures of errors: of one line, against a yardstick, and over many cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Figures:
    """Of the errors themselves, or of their ratios to a yardstick image by image (then ``mean`` is
    the ratio of the mean errors)."""

    geometric_mean: float
    mean: float
    median: float
    percentile_90: float


@dataclass(frozen=True)
class Against(Figures):
    """Against a yardstick; ``worse`` is the share of images whose error is above it."""

    worse: float


def figures(errors: Values) -> Figures:
    """Of one line's errors, an image each."""
    values = errors.astype(np.float64)
    return Figures(
        geometric_mean(values),
        float(values.mean()),
        float(np.median(values)),
        float(np.percentile(values, 90)),
    )


def against(errors: Values, base: Values) -> Against:
    """Of a line's errors against a yardstick's of the same images."""
    values, others = errors.astype(np.float64), base.astype(np.float64)
    ratios = values / others
    return Against(
        geometric_mean(ratios),
        float(values.mean() / others.mean()),
        float(np.median(ratios)),
        float(np.percentile(ratios, 90)),
        float((ratios > 1.0).mean()),
    )


@dataclass(frozen=True)
class Summary:
    """Over cells: geometric means of what :func:`against` gives in each, the 95th percentile and
    the worst of the cells' geometric means, the mean share of images worse."""

    cells: int
    geometric_mean: float
    percentile_95: float
    worst: float
    mean: float
    median: float
    percentile_90: float
    worse: float

    @classmethod
    def of(cls, cells: Sequence[Against]) -> Summary | None:
        """None where there are no cells."""
        if not cells:
            return None
        means = np.array([cell.geometric_mean for cell in cells])
        return cls(
            cells=len(cells),
            geometric_mean=geometric_mean(means),
            percentile_95=float(np.percentile(means, 95)),
            worst=float(means.max()),
            mean=geometric_mean(np.array([cell.mean for cell in cells])),
            median=geometric_mean(np.array([cell.median for cell in cells])),
            percentile_90=geometric_mean(np.array([cell.percentile_90 for cell in cells])),
            worse=math.fsum(cell.worse for cell in cells) / len(cells),
        )


def geometric_mean(values: Values) -> float:
    """``exp(mean(log(values)))``."""
    return float(np.exp(np.log(values.astype(np.float64)).mean()))


def share_within(values: Sequence[float], limit: float) -> float:
    """The share of values of at most the limit."""
    return sum(value <= limit for value in values) / len(values)
