"""The WebUI's tab: the panel, and a page that calibrates the loaded model."""

from __future__ import annotations

import html
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
from modules import call_queue, script_callbacks, sd_schedulers, shared

from ...ratios import CPR, RatioSchedule, fit_cpr, save
from ...ratios.library import free_path, path_in
from ...ratios.plots import ratio_figure
from ...ratios.prompts import DEFAULT_PROMPTS
from ...ratios.text import describe, duration
from . import library
from .calibrating import Job, run

log = logging.getLogger("dc_solver")
_EVERY = 0.5  # seconds between two looks at the progress


def register() -> None:
    script_callbacks.on_ui_tabs(_tab)


def _tab() -> list[tuple[Any, str, str]]:
    from ...web.panel import layout

    with gr.Blocks(analytics_enabled=False) as tab:
        layout.draw(library.folder, calibrate=_calibrate_page)
    return [(tab, "DC-Solver", "dc_solver")]


class Work:
    """One calibration on a thread of its own, and what is known of it."""

    def __init__(self, job: Job, name: str) -> None:
        self.job = job
        self.path = path_in(library.folder(), name)
        self.stop = False
        self.done, self.total = 0, 0
        self.began: float | None = None
        self.result: RatioSchedule | CPR | None = None
        self.curves: list[RatioSchedule] = []
        self.message = "waiting for the image that is being made"
        self.thread = threading.Thread(target=self._run, name="dc-solver-calibration")

    def _run(self) -> None:
        with call_queue.queue_lock:
            if self.stop:
                self.message = "stopped"
                return
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
            self.result = found[0] if len(found) == 1 else fit_cpr(found)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path = save(self.result, free_path(self.path))
            self.message = f"saved as {self.path.name}; the next image uses it"
        except Exception as error:
            log.exception("DC-Solver: the calibration failed")
            self.message = f"failed: {error}"

    def _progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if done and self.began is None:
            self.began = time.monotonic()
            self.first = done
        shared.state.sampling_steps, shared.state.sampling_step = total, done

    def told(self) -> str:
        """Where it is, in a few words."""
        if not self.total:
            return "starting" if self.began else self.message
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


_current: list[Work] = []


def start(*values: Any) -> Iterator[tuple[Any, ...]]:
    """Calibrate, telling where it is: a bar, the report and the curves."""
    try:
        job, name = job_of(*values)
        work = Work(job, name)
    except ValueError as error:
        yield _bar(0.0, str(error)), "", gr.update()
        return
    if _current and _current[0].thread.is_alive():
        yield _bar(0.0, "a calibration is running already"), "", gr.update()
        return
    _current[:] = [work]
    work.thread.start()
    while work.thread.is_alive():
        yield _bar(work.done / max(work.total, 1), work.told()), "", gr.update()
        time.sleep(_EVERY)
    share = 1.0 if work.result is not None else 0.0
    report, figure = "", gr.update()
    if work.result is not None:
        report = describe(work.result)
        figure = ratio_figure(work.curves)
    yield _bar(share, work.message), report, figure


def stop() -> None:
    """Stop the calibration before its next model call."""
    for work in _current:
        work.stop = True


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
) -> tuple[Job, str]:
    """A job of what the fields say, and the name of its file.

    Raises ValueError where a field does not make sense.
    """
    lines = tuple(line.strip() for line in prompts.splitlines() if line.strip())
    if not lines:
        raise ValueError("prompts: expected one or more, one a line.")
    counts = tuple(dict.fromkeys(int(n) for n in _numbers("steps", steps, 1, 1000)))
    scales = tuple(dict.fromkeys(_numbers("CFG", cfgs, 0, 100)))
    if len(counts) * len(scales) > 32:
        raise ValueError("steps, CFG: expected at most 32 pairs of the two.")
    job = Job(
        prompts=lines,
        negative=negative,
        steps=counts,
        cfgs=scales,
        scheduler=scheduler,
        width=int(width) // 8 * 8,
        height=int(height) // 8 * 8,
        first_seed=max(int(first_seed), 0),
        seeds=max(int(seeds), 1),
        check_seeds=max(int(check_seeds), 0),
        batch=max(int(batch), 1),
    )
    return job, name.strip() or _name_of(job)


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


def _name_of(job: Job) -> str:
    def span(values: tuple[Any, ...]) -> str:
        return f"{min(values):g}" if len(values) == 1 else f"{min(values):g}-{max(values):g}"

    model = getattr(getattr(shared.sd_model, "sd_checkpoint_info", None), "model_name", "model")
    return f"{model[:60]} {span(job.steps)} steps CFG {span(job.cfgs)}"


def _bar(share: float, text: str) -> str:
    percent = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    return (
        '<div style="border:1px solid var(--border-color-primary);border-radius:6px;'
        'overflow:hidden;position:relative;padding:0.5em 0.8em">'
        f'<div style="position:absolute;inset:0;width:{percent};opacity:0.25;'
        'background:var(--color-accent)"></div>'
        f'<span style="position:relative">{html.escape(text)}</span></div>'
    )


def _calibrate_page() -> None:
    """The fields, drawn inside a page of the panel."""
    labels = [s.label for s in sd_schedulers.schedulers if s.function is not None]
    with gr.Row():
        with gr.Column(scale=3):
            prompts = gr.Textbox(
                DEFAULT_PROMPTS, lines=10, label="Prompts",
                info="One a line; the seeds take turns at them. Different ones make ratios that "
                     "hold for any prompt.",
            )  # fmt: skip
            negative = gr.Textbox("", lines=1, label="Negative prompt")
        with gr.Column(scale=2):
            with gr.Row():
                steps = gr.Textbox("8", label="Steps", info="Several, such as 5, 6, 8, 10,")
                cfgs = gr.Textbox("7", label="CFG", info="make a CPR for all in between.")
            scheduler = gr.Dropdown(
                labels, value="Simple" if "Simple" in labels else labels[0], label="Schedule type"
            )
            with gr.Row():
                width = gr.Slider(64, 2048, 512, step=8, label="Width")
                height = gr.Slider(64, 2048, 512, step=8, label="Height")
            with gr.Row():
                seeds = gr.Slider(1, 32, 10, step=1, label="Seeds to search on")
                check = gr.Slider(0, 32, 3, step=1, label="Seeds to check on")
            with gr.Row():
                batch = gr.Slider(1, 16, 1, step=1, label="Images a model call")
                first = gr.Number(1, precision=0, label="First seed")
            name = gr.Textbox("", label="File name", info="Empty: the model and the settings.")
    with gr.Row():
        go = gr.Button("Calibrate", variant="primary", elem_id="dc_solver_calibrate")
        halt = gr.Button("Interrupt", elem_id="dc_solver_interrupt")
    bar = gr.HTML(elem_id="dc_solver_progress")
    with gr.Row():
        report = gr.Textbox("", lines=12, label="Report", interactive=False,
                            elem_id="dc_solver_report")  # fmt: skip
        curves = gr.Plot(label="Ratios")
    fields = [prompts, negative, steps, cfgs, scheduler, width, height, first, seeds, check, batch,
              name]  # fmt: skip
    go.click(start, fields, [bar, report, curves], show_progress=False)
    halt.click(stop, None, None)
