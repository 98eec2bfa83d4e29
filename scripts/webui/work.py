"""A calibration at work in the background, and what the fields of the page ask for."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import Any

from modules import call_queue, shared

from ...ratios import CPR, CPR_QUALITIES, QUALITIES, RatioSchedule, fit_cpr
from ...ratios.files import save_once
from ...ratios.library import LONGEST, path_in, usable_name
from ...ratios.qualities import check_counts
from ...ratios.text import duration
from ...solvers import get_solver
from ...solvers.choices import check_one_of
from . import library
from .calibrating import Job, run
from .typed import CORRECTOR

log = logging.getLogger("dc_solver")


class Work:
    """One calibration on a thread of its own, and what is known of it.

    ``name`` is that of its file; empty for :func:`name_of` the job, once its model is loaded.
    """

    def __init__(self, job: Job, name: str) -> None:
        self.job = job
        self.name = name
        self.stop = False
        self.done, self.total = 0, 0
        self.first = 0
        self.began: float | None = None
        self.result: list[RatioSchedule | CPR] = []
        self.curves: list[RatioSchedule] = []
        self.message = "waiting for the image that is being made"
        self.thread = threading.Thread(target=self._run, name="dc-solver-calibration")

    def _run(self) -> None:
        with call_queue.queue_lock:
            if self.stop:
                self.message = "stopped; nothing was saved"
                return
            self.message = "loading the model and the prompts"
            shared.state.begin(job="dc-solver-calibration")
            try:
                on_main_thread(self._calibrate)
            finally:
                shared.state.end()

    def _calibrate(self) -> None:
        """Every failure ends up in the message: nobody else would see it."""
        try:
            found = run(self.job, self._progress, lambda: self.stop)
            if found is None:
                self.message = "stopped; nothing was saved"
                return
            self.curves = found
            if len(found) > 1 and self.job.quality not in CPR_QUALITIES:
                self._save_each(found)
                return
            result = found[0] if len(found) == 1 else fit_cpr(found)
            path = path_in(library.folder(), self.name or name_of(self.job))
            path, there = save_once(result, path)
            self.result = [result]
            saved = f"{path.name} is the same already" if there else f"saved as {path.name}"
            acts = any(one.active for one in found)
            use = "the next image uses it" if acts else "it gained nothing, so images stay plain"
            self.message = f"{saved}; {use}"
        except Exception as error:
            log.exception("DC-Solver: the calibration failed")
            self.message = f"failed: {error}"

    def _save_each(self, found: list[RatioSchedule]) -> None:
        """Files of their own: what was learned for one setting says nothing of those between."""
        folder, names = library.folder(), []
        for one in found:
            cell = replace(self.job, steps=(one.steps,), cfgs=(one.cfg or 0.0,))
            name = name_of(cell)
            if self.name:
                name = _with_end(self.name, f" {one.steps} steps CFG {one.cfg or 0.0:g}")
            path, _ = save_once(one, path_in(folder, usable_name(name)))
            names.append(path.name)
        self.result = list(found)
        self.message = (
            f"saved as {len(names)} calibrations, {names[0]} to {names[-1]}, and no CPR: quality "
            f"{self.job.quality} finds other steps or settings for each; the next image uses them"
        )

    def _progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if done and self.began is None:
            self.first = done
            self.began = time.monotonic()
        shared.state.sampling_steps, shared.state.sampling_step = total, done

    def told(self) -> str:
        """Where it is, in a few words."""
        if not self.total:
            return self.message
        left = ""
        if self.began is not None and self.done > self.first:
            each = (time.monotonic() - self.began) / (self.done - self.first)
            left = f", {duration(each * (self.total - self.done))} left"
        return f"{self.done} of about {self.total} model calls of one image{left}"


def on_main_thread(action: Any) -> None:
    """Call it where the host generates: Forge has a thread for that, A1111 has not."""
    try:
        from modules_forge import main_thread
    except ImportError:
        action()
        return
    main_thread.run_and_wait_result(action)


def job_of(
    prompts: str,
    negative: str,
    steps: str,
    cfgs: str,
    scheduler: str,
    width: float,
    height: float,
    first_seed: float,
    seeds: float,
    check_seeds: float,
    batch: float,
    name: str,
    solver: str = "dc_solver",
    corrector: str = "automatic",
    quality: str = "paper",
) -> tuple[Job, str]:
    """A job of what the fields say, and the name of its file; empty where none is asked for.

    Raises ValueError where a field does not make sense.
    """
    lines = tuple(line.strip() for line in prompts.splitlines() if line.strip())
    if not lines:
        raise ValueError("prompts: expected one or more, one a line.")
    wished = _numbers("steps", steps, 1, 1000)
    if any(count % 1 for count in wished):
        raise ValueError(f"steps: expected whole numbers such as 5, 8; got {steps[:40]!r}.")
    counts = tuple(dict.fromkeys(int(count) for count in wished))
    scales = tuple(dict.fromkeys(_numbers("CFG", cfgs, 0, 100)))
    check_one_of("quality", quality, QUALITIES)
    check_counts("steps", counts, quality=quality)
    if len(counts) * len(scales) > 32:
        raise ValueError("steps, CFG: expected at most 32 pairs of the two.")
    job = Job(
        prompts=lines,
        negative=negative,
        steps=counts,
        cfgs=scales,
        scheduler=scheduler,
        width=_whole("width", width, 64, 4096) // 8 * 8,
        height=_whole("height", height, 64, 4096) // 8 * 8,
        first_seed=_whole("first seed", first_seed, 0, 2**32),
        seeds=_whole("search seeds", seeds, 1, 100),
        check_seeds=_whole("check seeds", check_seeds, 0, 100),
        batch=_whole("batch size", batch, 1, 100),
        solver=get_solver(solver).name,
        corrector=CORRECTOR[corrector],
        quality=quality,
    )
    return job, usable_name(name) if name.strip() else ""


def _whole(field: str, value: Any, low: int, high: int) -> int:
    """Raises ValueError for what is no whole number between the two, such as an empty field."""
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        found = low - 1
    if not low <= found <= high:
        raise ValueError(f"{field}: expected a number from {low} to {high}, got {value!r}.")
    return found


def _numbers(field: str, text: str, low: float, high: float) -> list[float]:
    words = text.replace(",", " ").split()
    try:
        found = [float(word) for word in words]
    except ValueError:
        found = []
    if not found or not all(low <= value <= high for value in found):
        raise ValueError(f"{field}: expected numbers from {low:g} to {high:g} such as 5, 8; got "
                         f"{text[:40]!r}.")  # fmt: skip
    return found


def _with_end(stem: str, end: str) -> str:
    """A name that keeps its end, however long the rest is."""
    room = LONGEST - len(end)
    return stem.encode("utf-8", "replace")[:room].decode("utf-8", "ignore") + end


def name_of(job: Job) -> str:
    """A name for its file: the model that is loaded now, and the settings."""

    def span(values: tuple[Any, ...]) -> str:
        return f"{min(values):g}" if len(values) == 1 else f"{min(values):g}-{max(values):g}"

    model = getattr(getattr(shared.sd_model, "sd_checkpoint_info", None), "model_name", "model")
    corrected = {None: "", True: " with UniC", False: " without UniC"}[job.corrector]
    own = "" if job.solver == "dc_solver" else f" {job.solver}"
    quality = "" if job.quality == "paper" else f" {job.quality}"
    settings = f"{quality} {span(job.steps)} steps CFG {span(job.cfgs)}"
    return usable_name(f"{model[:60]}{own}{corrected}{settings}")
