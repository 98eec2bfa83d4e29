"""The reference of a calibration: one that is known, or run for it, or a known one made finer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ..solvers import Schedule
from ..solvers.calls import Model
from ..solvers.grid import Grid
from .accuracy import PROBES, SHARE, Reference, fine_enough, resolutions_for
from .families import plain_course
from .points import Tally
from .reference import reference_sigmas, union
from .runs import Runs, Sketch
from .task import Task
from .trajectory import Trajectory

#: A chosen number of calls comes to more on a grid of more intervals, each of which takes one: how
#: many times those of a known reference they may be.
_MORE = 1.1
#: Sigmas at which two schedules are compared.
_LOOKED_AT = 9


class ReferenceRun:
    """The reference of all points of a task at one guidance scale, through the times of ``grids``.

    What is known is looked up at once, so that :attr:`work` is what there is to do.
    """

    def __init__(self, task: Task, grids: Sequence[Grid], cfg: float | None) -> None:
        self._task = task
        self._grids = grids
        self._wanted = union([grid.sigmas for grid in grids], task.schedule)
        self._everyone = range(task.points + task.check)
        self._probes = self._everyone[:PROBES]
        self._finest = max(grids, key=lambda grid: grid.steps)
        moves = len(union([self._finest.sigmas], task.schedule)) - 1  # a step may stand still
        self._resolutions = resolutions_for(self._calls, moves)
        self._key = None if task.references is None else _key(task, self._wanted, cfg)
        self._known = self._find()

    @property
    def reused(self) -> bool:
        """Whether one that was known before serves, as it is or made finer."""
        return self._known is not None

    @property
    def work(self) -> int:
        """Calls x points to come; where they are chosen, if the first level or what is known will
        do."""
        asked, everyone = self._task.reference_calls, len(self._everyone)
        if asked is not None:
            return 0 if self._known is not None else self._calls(asked) * everyone
        student = self._finest.steps * len(self._probes)
        if self._known is not None:
            return student
        rough, levels = self._resolutions
        probes = self._calls(rough) * len(self._probes)
        return self._calls(levels[0]) * everyone + probes + student

    def run(self, model: Model, tally: Tally) -> tuple[Trajectory, int]:
        """The reference, and the calls x points that were made for it.

        A whole one is kept for the next calibration.
        """
        task = self._task
        work = 0

        def make(calls: int, points: int | None) -> Trajectory:
            nonlocal work
            here = self._everyone if points is None else self._everyone[:points]
            more = self._known is not None or calls > self._resolutions.levels[0]
            if more and task.reference_calls is None:
                tally.expect(calls * len(here))
            made = Trajectory(
                task.point_model(model, here, tally), task.start[: len(here)], self._wanted,
                task.schedule, calls,
            )  # fmt: skip
            work += made.calls * len(here)
            return made

        if task.reference_calls is None:
            start = task.start[: len(self._probes)]
            runs = Runs(task.point_model(model, self._probes, tally), start, start, Sketch(1))
            course = plain_course(self._finest.sigmas, task.schedule, task.settings)
            student = runs.run(course).final
            work += runs.model.calls * len(self._probes)
            found = fine_enough(make, student, SHARE, self._resolutions, self._known)
        else:
            asked = task.reference_calls
            found = self._known or Reference(make(asked, None), asked)
        if task.references is not None and found is not self._known:
            task.references.keep(self._key, found)
        return found.trajectory, work

    def _find(self) -> Reference | None:
        """The known one, unless these grids go beyond its fine steps or the caller's number of
        calls comes to more on them."""
        store, asked = self._task.references, self._task.reference_calls
        known = None if store is None else store.find(self._key)
        if known is None or not known.trajectory.reaches(self._wanted):
            return None
        if asked is None:
            return known
        return known if self._calls(asked) <= _MORE * known.trajectory.calls else None

    def _calls(self, asked: int) -> int:
        return len(reference_sigmas(self._wanted, self._task.schedule, asked)[0]) - 1


def _key(task: Task, wanted: Sequence[float], cfg: float | None) -> Hashable:
    """All that the course of the reference depends on."""
    return (
        task.model_key,
        cfg,
        task.start_digest,
        task.dtype,
        _told(task.schedule, wanted[0]),
        (wanted[0], wanted[-1]),
        task.reference_calls,
    )


def _told(schedule: Schedule, first: float) -> Hashable:
    """A schedule by what it says of some sigmas; its time has no part in a reference."""
    sigmas = [first * (k + 1) / _LOOKED_AT for k in range(_LOOKED_AT)]
    return tuple((schedule.signal(s), schedule.half_logsnr(s), schedule.alpha(s)) for s in sigmas)
