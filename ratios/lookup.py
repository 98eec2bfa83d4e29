"""Ratios found by themselves: what a library holds for a run that nobody chose any for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..solvers import Schedule
from ..solvers.grid import SAME_POINT, same_point
from .cpr import CPR
from .fingerprint import MERGE
from .matching import nearest_place, over_whole, part_at, place_of, same_grid
from .schedule import Identity, RatioSchedule, choosing
from .text import counted

#: Guidance scales this close are the same.
SAME_CFG = 0.05
#: Two sigmas this close in half-logSNR (1% in sigma) are the same, for an exact calibration.
SAME_SIGMA = 0.01
#: At scales up to here a LoRA is often one that makes another model of it (Turbo, LCM, Lightning).
DISTILLED_CFG = 2.0
_TOLD = 3
#: Step counts of a regression that a part of a run is looked for in; files may claim a thousand.
_MOST_COUNTS = 100

GridOf = Callable[[str, int], Sequence[float] | None]
Entry = tuple[str, RatioSchedule | CPR]


@dataclass(frozen=True)
class Run:
    """What is about to be sampled.

    ``cfg`` is None where the guider has no single one; ``solver`` are the settings, as
    :func:`ratios.settings_of` gives them; ``grid_of(scheduler, steps)`` are the sigmas of a named
    scheduler for this model, None where it has no such scheduler.
    """

    sigmas: tuple[float, ...]
    cfg: float | None
    identity: Identity
    solver: dict[str, object]
    schedule: Schedule
    grid_of: GridOf

    @property
    def steps(self) -> int:
        return max(len(self.sigmas) - 1, 0)


@dataclass(frozen=True)
class Choice:
    """The ratios for a run, fitted to its sigmas, and the name they have in the library.

    Without ratios ``reason`` says why there are none.
    """

    ratios: RatioSchedule | None = None
    source: str | None = None
    reason: str = ""


def choose(library: Iterable[Entry], run: Run) -> Choice:
    """The best of the library for a run: a calibration of its settings, else a CPR in range.

    A calibration serves runs of its model, solver settings, guidance and CFG over its sigmas (each
    within 1%) or over a part of them; a CPR those within its range whose sigmas are, within 5%,
    those of its schedule family or a part of them.  Learned steps serve whole runs alone, over
    their grid or over the learned sigmas.  One that was made with the same LoRA comes before
    others, then one of the same latent size, then the one that left least of the error
    (``report.estimate``; ratios that were not checked, or kept at 1, count as 1), then the first in
    the library, which is the newest.
    """
    here = run.identity
    if here.fingerprint is None:
        return Choice(reason="the weights of this model are of a kind that cannot be recognised")
    of_model = [
        (name, found)
        for name, found in library
        if found.identity.fingerprint == here.fingerprint
        and found.identity.prediction in (None, here.prediction)
        and not _merged(found.identity, here)
    ]
    if not of_model:
        return Choice(reason="the library has no calibration of this model")
    if run.cfg is None:
        return Choice(reason="this guider has no single CFG to look up")

    fitting = [
        entry for entry in of_model if same_solver(entry[1], run) and _same_lora(entry[1], run)
    ]
    fitting.sort(key=lambda entry: (*_distance(entry[1].identity, here), _gain(entry[1])))
    for find in (_calibration, _prediction):
        for whole in (True, False):
            for name, found in fitting:
                ratios = find(found, run, whole)
                if ratios is not None:
                    return Choice(ratios.with_notes(*_differences(found.identity, here)), name)
    known = list(dict.fromkeys(_label(found) for _, found in of_model))
    more = f" and {len(known) - _TOLD} more" if len(known) > _TOLD else ""
    beside = f" with {here.guidance}" if here.guidance else ""
    return Choice(
        reason=f"for this model the library has {'; '.join(known[:_TOLD])}{more}; nothing for "
        f"{counted(run.steps)} at CFG {run.cfg:g}{beside}{_where(of_model, run)}"
    )


def _where(entries: Iterable[Entry], run: Run) -> str:
    """What keeps calibrations of the same steps and CFG from serving a run."""
    assert run.cfg is not None
    same = [
        found
        for _, found in entries
        if (
            found.covers(run.steps, run.cfg)
            if isinstance(found, CPR)
            else found.steps == run.steps
            and found.cfg is not None
            and abs(found.cfg - run.cfg) <= SAME_CFG
        )
    ]
    if not same:
        return ""
    of_solver = [found for found in same if same_solver(found, run)]
    if not of_solver:
        here = run.solver.get("solver", "dc_solver")
        if all(found.serves["solver"] != here for found in same):
            return f" for the solver {here}"
        return "" if run.identity.guidance else " with these solver settings"
    if not any(_same_lora(found, run) for found in of_solver):
        return " without a LoRA" if run.identity.lora is None else " with this LoRA"
    return " on the sigmas of this run: another schedule, denoise or shift"


def with_grid(ratios: RatioSchedule, run_grid: GridOf, schedule: Schedule) -> RatioSchedule:
    """The ratios with the sigmas of their scheduler, where they were stored without."""
    name = ratios.identity.scheduler
    if ratios.sigmas is not None or name is None or ratios.start is None or ratios.steps == 0:
        return ratios
    grid = run_grid(name, ratios.steps)
    if grid is None or len(grid) != ratios.steps + 1:
        return ratios
    if not same_point(grid[0], ratios.start, schedule):
        return ratios
    return replace(ratios, sigmas=tuple(grid))


def _calibration(found: RatioSchedule | CPR, run: Run, whole: bool) -> RatioSchedule | None:
    if not isinstance(found, RatioSchedule) or found.cfg is None or run.cfg is None:
        return None
    if abs(found.cfg - run.cfg) > SAME_CFG:
        return None
    known = with_grid(found, run.grid_of, run.schedule)
    return _fitted(known, run, whole, SAME_SIGMA)


def _prediction(found: RatioSchedule | CPR, run: Run, whole: bool) -> RatioSchedule | None:
    if not isinstance(found, CPR) or run.cfg is None:
        return None
    low, high = found.steps_range
    longer = range(max(low, run.steps + 1), high + 1)[:_MOST_COUNTS]
    counts = [run.steps] if whole else longer
    counts = [count for count in counts if found.covers(count, run.cfg)]
    family = _family(found, run) if counts else None
    if family is None:
        return None
    near: list[tuple[float, int, Sequence[float]]] = []
    for count in counts:
        grid = family(count)
        if grid is None or len(grid) != count + 1:  # a scheduler may have dropped some
            continue
        place = (0.0, 0) if whole else nearest_place(run.sigmas, grid, run.schedule)
        if place is not None:
            near.append((place[0], count, grid))
    # Schedules of neighbouring numbers of steps are alike at their ends.
    for _, count, grid in sorted(near, key=lambda entry: entry[:2]):
        predicted = replace(found.predict(count, run.cfg), sigmas=tuple(grid))
        fitted = _fitted(predicted, run, whole, SAME_POINT)
        if fitted is not None:
            return fitted
    return None


def _fitted(known: RatioSchedule, run: Run, whole: bool, within: float) -> RatioSchedule | None:
    """The ratios where the run is over their sigmas or those that they move to, or over a part of
    them long enough to act."""
    if known.sigmas is None or (len(known.sigmas) == len(run.sigmas)) != whole:
        return None
    if whole:
        over = over_whole(known, run.sigmas, run.schedule, within)
        return over if over is not None and over.moves_steps == known.moves_steps else None
    # Of a part of a run nothing is known but its ratios.
    if known.moves_steps or run.steps <= known.dc_order:
        return None
    place = place_of(run.sigmas, known.sigmas, run.schedule, within)
    part = None if place is None else part_at(known, run.sigmas, place)
    return None if part is None or (part.chose_solver and not part.compensates) else part


def _family(cpr: CPR, run: Run) -> Callable[[int], Sequence[float] | None] | None:
    """The sigmas of the CPR's schedule family by step count, where the host has the same family."""
    stored = {s.steps: s.sigmas for s in cpr.fitted if s.sigmas is not None}
    name = cpr.identity.scheduler
    named = name is not None and bool(stored)
    for count, sigmas in stored.items():
        own = run.grid_of(name, count) if named and name is not None else None
        named = own is not None and same_grid(own, sigmas, run.schedule)
        if not named:
            break

    def grid(steps: int) -> Sequence[float] | None:
        if steps in stored:
            return stored[steps]
        return run.grid_of(name, steps) if named and name is not None else None

    return grid if stored else None


def same_solver(found: RatioSchedule | CPR, run: Run) -> bool:
    """Whether the solver is the run's; K and the variable are the ratios' own.

    A calibration that chose its solver serves runs of DC-Solver as it is by default.
    """
    there = found.serves
    same = all(there.get(name) == value for name, value in choosing(run.solver).items())
    return same and found.identity.guidance == run.identity.guidance


def _same_lora(found: RatioSchedule | CPR, run: Run) -> bool:
    """Whether the LoRAs are the same, or the scale is one at which they change little."""
    assert run.cfg is not None
    return found.identity.lora == run.identity.lora or run.cfg > DISTILLED_CFG


def _merged(there: Identity, here: Identity) -> bool:
    """Whether one of the two is a merge that the other is not."""
    return there.lora != here.lora and any(
        lora is not None and lora.startswith(MERGE) for lora in (there.lora, here.lora)
    )


def _distance(there: Identity, here: Identity) -> tuple[bool, bool]:
    return (there.lora != here.lora, there.latent_shape != here.latent_shape)


def _gain(found: RatioSchedule | CPR) -> float:
    """How much of the error without ratios is left; of a CPR in the mean.  Unchecked ones come
    after all that helped."""
    if isinstance(found, CPR):
        return math.prod(map(_gain, found.fitted)) ** (1.0 / max(len(found.fitted), 1))
    return 1.0 if found.gain is None else found.gain


def _differences(there: Identity, here: Identity) -> list[str]:
    notes = []
    if there.lora != here.lora:
        notes.append("found without this LoRA" if there.lora is None else "found with another LoRA")
    a, b = there.latent_shape, here.latent_shape
    if a is not None and b is not None and a != b:
        notes.append(f"found on latents of {_size(a)}, this is {_size(b)}")
    return notes


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _label(found: RatioSchedule | CPR) -> str:
    if isinstance(found, CPR):
        of = "a CPR for" if found.warp is None else "a CPR of learned steps for whole runs of"
        steps = f"{of} {found.steps_range[0]} to {found.steps_range[1]} steps"
        cfg = f"CFG {found.cfg_range[0]:g} to {found.cfg_range[1]:g}"
    else:
        steps = counted(found.steps)
        if found.moves_steps:
            steps = f"learned steps for whole runs of {steps}"
        cfg = "any CFG" if found.cfg is None else f"CFG {found.cfg:g}"
    on = f" on {found.identity.scheduler}" if found.identity.scheduler else ""
    beside = f" with {found.identity.guidance}" if found.identity.guidance else ""
    serves = found.serves
    own = serves["solver"] == "dc_solver"
    order = f", order {serves['order']}" if own and serves["order"] != 2 else ""
    solver = "" if own else f" for {serves['solver']}"
    return f"{steps} at {cfg}{on}{beside}{order}{solver}"
