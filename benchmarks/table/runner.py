"""Measures what is not yet in the files, line by line, and says how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from dc_solver.demo.experiment import TRUTH_STEPS
from dc_solver.ratios.fingerprint import fingerprint
from tqdm import tqdm

from . import sampling
from .axes import CFGS, MODELS, STEPS, Seeds
from .bench import Bench
from .comfy import Host, HostError, Install
from .entries import STOCK, Comfy, Entry, Outcome, check_host, entries, truth_moves
from .store import Key, Result, Results, file_name
from .task import Subject

#: The entry of the lines that tell how converged the reference is, and its number of steps.
TRUTH = "truth"
FINER = 2 * TRUTH_STEPS
_FINER_IMAGES = 8

Say = Callable[[str], None]


@dataclass(frozen=True)
class Selection:
    """The part of the table to measure."""

    folder: Path
    models: Sequence[str] = MODELS
    cfgs: Sequence[float] = CFGS
    steps: Sequence[int] = STEPS
    names: Sequence[str] | None = None
    schedules: Sequence[str] = STOCK
    again: Sequence[str] = ()
    seeds: Seeds = field(default_factory=Seeds)
    threads: int | None = None
    fast: bool = True

    @cached_property
    def entries(self) -> list[Entry]:
        found = entries()
        return [found[name] for name in (self.names or found)]


@dataclass
class Part:
    """The lines of a model at a guidance scale that are to be measured."""

    subject: Subject
    cfg: float
    results: Results
    todo: list[tuple[Entry, Key]]

    def work(self, seeds: Seeds) -> float:
        """Model calls times the points in them, about."""
        images = (seeds.held_out, seeds.rival)
        own = sum(e.work(self.subject, k.steps, k.schedule, images) for e, k in self.todo)
        return own + self.overhead(seeds)

    def overhead(self, seeds: Seeds) -> float:
        finer = 0 if _finer_key() in self.results.rows else FINER * _FINER_IMAGES
        return float(TRUTH_STEPS * len(seeds.all) + finer)


def _finer_key() -> Key:
    return Key(FINER, TRUTH, "")


def setting(subject: Subject, seeds: Seeds) -> str:
    """What all lines of a file have in common."""
    weights = fingerprint(subject.eager.network.state_dict())
    return (
        f"weights {str(weights)[:12]}, {seeds.held_out} held-out seeds, {seeds.rival} of the "
        f"rival, a reference of {TRUTH_STEPS} steps"
    )


def parts(selection: Selection, host: bool) -> list[Part]:
    """What is left to do."""
    found = []
    again = set(selection.again)
    for model in selection.models:
        subject = Subject(model, selection.fast)
        shared = setting(subject, selection.seeds)
        for cfg in selection.cfgs:
            results = Results(selection.folder / file_name(model, cfg), shared)
            todo = []
            for entry, key in lines(selection, cfg):
                known = results.rows.get(key)
                wanted = known is None or known.version != entry.version or entry.name in again
                if wanted and (host or not isinstance(entry, Comfy)):
                    todo.append((entry, key))
            if todo:
                found.append(Part(subject, cfg, results, todo))
    return found


def lines(selection: Selection, cfg: float) -> list[tuple[Entry, Key]]:
    """Every line that the selection asks for at a guidance scale."""
    return [
        (entry, Key(steps, entry.name, schedule))
        for steps in selection.steps
        for entry in selection.entries
        if entry.applies(cfg, steps)
        for schedule in entry.schedulers
        if schedule in selection.schedules
    ]


def measure(selection: Selection, say: Say = print, quiet: bool = False) -> list[str]:
    """Measure all that is missing; what failed, in words."""
    if selection.threads is not None:
        torch.set_num_threads(selection.threads)
    install = Install.from_environment()
    asked = any(isinstance(entry, Comfy) for entry in selection.entries)
    if asked and install is None:
        say("COMFYUI_PATH and COMFYUI_PYTHON are not set: ComfyUI's own samplers are left out")
    todo = parts(selection, install is not None)
    if not todo:
        say("nothing is left to measure")
        return []
    total = sum(part.work(selection.seeds) for part in todo)
    pace = seconds_a_point(todo[0], selection)
    count = sum(len(part.todo) for part in todo)
    say(f"{count} lines to measure, about {told(total * pace)} here; interrupt at will")
    failed: list[str] = []
    with tqdm(total=round(total), disable=quiet, bar_format=BAR) as bar:
        for model in selection.models:
            here = [part for part in todo if part.subject.name == model]
            if here:
                failed += _measure_model(here, selection, install, bar)
    return failed


BAR = "{percentage:3.1f}%|{bar}| {elapsed}, {remaining} left {postfix}"


def _measure_model(
    here: list[Part], selection: Selection, install: Install | None, bar: tqdm[None]
) -> list[str]:
    failed = []
    seeds, subject = selection.seeds, here[0].subject
    hosted = any(isinstance(entry, Comfy) for part in here for entry, _ in part.todo)
    with ExitStack() as stack:
        host = None
        if hosted and install is not None:
            threads = selection.threads or torch.get_num_threads()
            host = stack.enter_context(Host(install, subject, seeds, threads))
        for k, part in enumerate(here):
            stack.callback(part.results.pack)
            bench = Bench(subject, part.cfg, seeds, host)
            overhead = part.overhead(seeds)
            bar.set_postfix_str(f"{subject.name} CFG {part.cfg:g} reference")
            _note_truth(part, bench)
            if host is not None and k == 0:
                bar.write(f"{subject.name}: ComfyUI's euler is our DDIM to {check_host(bench):.0e}")
            bar.update(round(overhead))
            for entry, key in part.todo:
                bar.set_postfix_str(f"{subject.name} CFG {part.cfg:g} {' '.join(map(str, key))}")
                try:
                    outcome = entry.run(bench, key.steps, key.schedule)
                    part.results.put(key, result_of(outcome, bench, entry.version))
                except (HostError, ValueError) as error:
                    where = f"{subject.name} CFG {part.cfg:g} {key.steps} steps {key.schedule}"
                    failed.append(f"{where}, {entry.name}: {error}")
                images = (seeds.held_out, seeds.rival)
                bar.update(round(entry.work(subject, key.steps, key.schedule, images)))
    return failed


def result_of(outcome: Outcome, bench: Bench, version: str) -> Result:
    """The errors of an outcome, those of the rival's seeds apart."""
    errors = bench.errors(outcome.latents).numpy().astype(np.float32)
    at = bench.seeds.held_out
    return Result(
        errors[:at], errors[at:], outcome.calls, version, outcome.cost, dict(outcome.notes)
    )


def _note_truth(part: Part, bench: Bench) -> None:
    """How far the reference moves with twice the steps, once."""
    if _finer_key() in part.results.rows:
        return
    moved = truth_moves(bench, FINER, _FINER_IMAGES).numpy().astype(np.float32)
    part.results.put(_finer_key(), Result(moved, moved[:0], FINER, "1"))


def seconds_a_point(part: Part, selection: Selection) -> float:
    """Seconds of a model call over the points in it, the compilation before it left out."""
    model = part.subject.model
    data = part.subject.points(selection.seeds.all)
    sigmas = sampling.grid(model, "simple", 2)
    began = 0.0
    for _ in range(2):  # the first compiles
        began = time.monotonic()
        sampling.run(model, model.denoiser(part.cfg), data, sigmas, solver="ddim")
    return (time.monotonic() - began) / (2 * len(data.noise))


def told(seconds: float) -> str:
    """A time in words."""
    minutes = round(seconds / 60.0)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
