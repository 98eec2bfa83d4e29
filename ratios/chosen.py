"""Ratios for a run, told in words: those that a user brought, or those of the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..solvers import RunReport, get_solver
from .cpr import CPR
from .lookup import SAME_CFG, Choice, Entry, Run, choose, same_solver, with_grid
from .matching import carry_over, same_grid
from .prior import PREDICTIONS, SCHEDULERS, STEPS, prior
from .schedule import PRIOR, RatioSchedule
from .text import counted, label_of, listed, plain_of

#: Qualities that say whether ratios help; of others it is known of moved steps alone.
_OF_RATIOS = ("paper", "ratios+")


def choose_ratios(
    brought: RatioSchedule | None,
    library: Callable[[], Sequence[Entry]] | None,
    run: Callable[[], Run],
    steps: int,
    refused: str = "",
) -> Choice:
    """The ratios that somebody brought, fitted to the run, else those of the library, else the
    prior's.

    ``library`` gives its entries, None where nobody should look; ``run`` says what is about to be
    sampled.  Both are asked only where that matters.  ``refused`` says why the run takes none
    (:func:`refusal`).
    """
    if steps == 0:
        return Choice(reason="nothing to do")
    if refused:
        unused = "; the connected ratios are not used" if brought is not None else ""
        return Choice(reason=refused + unused)
    if brought is not None:
        return Choice(fitted(brought, run()))
    if library is None:
        return Choice(reason="looking in the library is off")
    entries = library()
    empty = Choice(reason="the library is empty")
    if not entries and not STEPS[0] <= steps <= STEPS[1]:
        return empty
    here = run()
    choice = choose(entries, here) if entries else empty
    if choice.ratios is None:
        guess = prior(here.sigmas, here.cfg, here.schedule, here.solver)
        if guess is not None and _unknown(entries, here):
            return Choice(guess.with_notes(choice.reason))
    return choice


def _unknown(entries: Sequence[Entry], run: Run) -> bool:
    """Whether the run is one that the prior is for: a model that nothing changes beside CFG, over a
    whole schedule that was measured, and no calibration of it that found ratios to be of no help.

    A LoRA may be one that makes another model of it, for few steps.
    """
    here = run.identity
    return (
        here.guidance is None
        and here.lora is None
        and here.prediction in PREDICTIONS
        and not any(_no_help(found, run) for _, found in entries)
        and any(
            grid is not None and same_grid(grid, run.sigmas, run.schedule)
            for grid in (run.grid_of(name, run.steps) for name in SCHEDULERS)
        )
    )


def _no_help(found: RatioSchedule | CPR, run: Run) -> bool:
    """Whether it is a calibration of the run's model and solver that kept ratios of 1, or a CPR of
    some that did."""
    if isinstance(found, CPR):
        return any(_no_help(each, run) for each in found.fitted)
    here, there = run.identity, found.identity
    return (
        not found.active
        and found.quality in _OF_RATIOS
        and there.fingerprint is not None
        and there.fingerprint == here.fingerprint
        and there.lora == here.lora
        and same_solver(found, run)
    )


def refusal(solver: str, langevin: bool = False, threshold: bool = False) -> str:
    """Why a run of this solver takes no ratios; empty where it does."""
    if not get_solver(solver).compensates:
        return f"{solver} takes no ratios"
    if langevin:
        return "Langevin steps take no ratios"
    return "with thresholding there are no ratios" if threshold else ""


def fitted(ratios: RatioSchedule, run: Run) -> RatioSchedule:
    """The ratios over the run's sigmas; their notes say what does not fit."""
    if ratios.steps == 0:  # a file that is missing, as its note says
        return replace(ratios, ratios=(1.0,) * run.steps)
    found = carry_over(with_grid(ratios, run.grid_of, run.schedule), run.sigmas, run.schedule)
    here, there = run.identity, ratios.identity
    notes = []
    asked = run.solver.get("solver", ratios.solver)
    if asked not in (ratios.solver, "dc_solver"):
        notes.append(f"the ratios are for {ratios.solver}, which runs in place of {asked}")
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


def told(choice: Choice, solver: str = "dc_solver", corrector: bool | None = None) -> str:
    """Which ratios run, in one line; ``solver`` is the one that was asked for."""
    ratios = choice.ratios
    if ratios is None:
        plain = f"plain {label_of(solver, corrector)}"
        if not get_solver(solver).compensates:
            unused = ": those connected are not used" if "connected" in choice.reason else ""
            return f"{plain}, which takes no ratios{unused}"
        return f"no ratios: {plain} ({choice.reason})" if choice.reason else plain
    source = [] if choice.source is None else [f"{choice.source} in the library"]
    notes = "".join(f" ({note})" for note in (*source, *ratios.notes))
    if not ratios.acts:
        return f"ratios of 1: plain {plain_of(ratios)}{notes}"
    of = "" if ratios.solver == "dc_solver" else f"{ratios.solver}, "
    return f"{of}{_what(ratios)}{notes}"


def _what(ratios: RatioSchedule) -> str:
    """The numbers that run."""
    if ratios.learned is None:
        return f"ratios {numbers(ratios.ratios)}"
    cfg = "" if ratios.cfg is None else f" at CFG {ratios.cfg:g}"
    beside = f", ratios {numbers(ratios.ratios)}" if ratios.compensates else ""
    return (
        f"learned steps ({ratios.quality}) for {counted(ratios.steps)}{cfg}, sigmas "
        f"{listed(ratios.learned.sigmas)}{beside}"
    )


def numbers(ratios: Sequence[float]) -> str:
    return " ".join(f"{ratio:.3f}" for ratio in ratios)


def record(choice: Choice, solver: str = "dc_solver", text: str = "") -> dict[str, Any]:
    """The choice as it is saved with an image, ``text`` being what was told of it."""
    if choice.ratios is None:
        return {
            "told": text, "solver": solver, "ratios": None, "quality": None,
            "source": choice.source,
        }  # fmt: skip
    ratios = [round(ratio, 6) for ratio in choice.ratios.ratios]
    return {
        "told": text, "solver": choice.ratios.solver, "ratios": ratios,
        "quality": choice.ratios.quality if choice.ratios.active else None,
        "source": choice.source or (PRIOR if choice.ratios.origin == PRIOR else None),
    }  # fmt: skip


def report_text(solver: str, report: RunReport) -> str:
    """What an adaptive run took, in one line."""
    text = (
        f"{get_solver(solver).label}: {report.calls} model calls, {report.accepted} steps kept, "
        f"{report.rejected} tried again"
    )
    if report.capped:
        text += "; the calls ran out, so the rest was one long step: allow more, or a larger error"
    return text


def _plain(guidance: str | None) -> str:
    return guidance or "no guidance beside CFG"
