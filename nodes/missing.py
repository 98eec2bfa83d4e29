"""What stands in for a calibration that is not there, so that a shared workflow still runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ratios import CPR, RatioSchedule


@dataclass(frozen=True)
class MissingCPR(CPR):
    """A regression that predicts ratios of 1 and says why."""

    why: str = ""

    def predict(self, steps: int, cfg: float) -> RatioSchedule:
        return super().predict(steps, cfg).with_notes(self.why)


def missing_ratios(why: str) -> RatioSchedule:
    """Ratios for no steps, which sample as UniPC."""
    return RatioSchedule((), notes=(why,))


def missing_cpr(why: str) -> CPR:
    ones = (0.0,) * 8 + (1.0,) + (0.0,) * 27  # the constant term of the regression
    return MissingCPR(ones, steps_range=(1, 1000), cfg_range=(0.0, 1000.0), why=why)


def why_missing(found: Any) -> str | None:
    """Why these ratios or this regression only stand in for others; None where they do not."""
    if isinstance(found, MissingCPR):
        return found.why
    if isinstance(found, RatioSchedule) and found.steps == 0:
        return "; ".join(found.notes) or "there are no ratios in it"
    return None
