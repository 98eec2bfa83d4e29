"""Ratios for a run, told in words: those that a user brought, or those of the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from .lookup import SAME_CFG, Choice, Entry, Run, choose, with_grid
from .matching import carry_over
from .schedule import RatioSchedule


def choose_ratios(
    brought: RatioSchedule | None,
    library: Callable[[], Sequence[Entry]] | None,
    run: Callable[[], Run],
    steps: int,
) -> Choice:
    """The ratios that somebody brought, fitted to the run, else those of the library.

    ``library`` gives its entries, None where nobody should look; ``run`` says what is about to be
    sampled.  Both are asked only where that matters.
    """
    if steps == 0:
        return Choice(reason="nothing to do")
    if brought is not None:
        return Choice(fitted(brought, run()))
    if library is None:
        return Choice(reason="looking in the library is off")
    entries = library()
    return choose(entries, run()) if entries else Choice(reason="the library is empty")


def fitted(ratios: RatioSchedule, run: Run) -> RatioSchedule:
    """The ratios over the run's sigmas; their notes say what does not fit."""
    if ratios.steps == 0:  # a file that is missing, as its note says
        return replace(ratios, ratios=(1.0,) * run.steps)
    found = carry_over(with_grid(ratios, run.grid_of, run.schedule), run.sigmas, run.schedule)
    here, there = run.identity, ratios.identity
    notes = []
    if run.cfg is not None and found.cfg is not None and abs(found.cfg - run.cfg) > SAME_CFG:
        notes.append(f"the ratios are for CFG {found.cfg:g}, not {run.cfg:g}")
    if there.prediction is not None and there.prediction != here.prediction:
        notes.append(f"the ratios are for a model of {there.prediction}, not {here.prediction}")
    elif there.fingerprint is not None and there.fingerprint != here.fingerprint:
        notes.append("the ratios are another model's")
    elif there.fingerprint is not None:
        if there.lora != here.lora:
            notes.append("the ratios were found with other LoRAs than this model has")
        if there.guidance != here.guidance:
            notes.append(f"the ratios were found with {_plain(there.guidance)}, "
                         f"this model has {_plain(here.guidance)}")  # fmt: skip
    return found.with_notes(*(note for note in notes if note not in found.notes))


def told(choice: Choice) -> str:
    """Which ratios run, in one line."""
    ratios = choice.ratios
    if ratios is None:
        return f"no ratios: plain UniPC ({choice.reason})" if choice.reason else "plain UniPC"
    source = [] if choice.source is None else [f"{choice.source} in the library"]
    notes = "".join(f" ({note})" for note in (*source, *ratios.notes))
    if not ratios.active:
        return f"ratios of 1: plain UniPC{notes}"
    return f"ratios {numbers(ratios.ratios)}{notes}"


def numbers(ratios: Sequence[float]) -> str:
    return " ".join(f"{ratio:.3f}" for ratio in ratios)


def record(choice: Choice) -> dict[str, Any]:
    """The choice as it is saved with an image."""
    ratios = None if choice.ratios is None else [round(r, 6) for r in choice.ratios.ratios]
    return {"told": told(choice), "ratios": ratios, "source": choice.source}


def _plain(guidance: str | None) -> str:
    return guidance or "no guidance beside CFG"
