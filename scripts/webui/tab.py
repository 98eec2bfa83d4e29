"""The WebUI's tab: the panel, and a page that calibrates the loaded model."""

from __future__ import annotations

import html
import inspect
import threading
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr
from modules import script_callbacks, sd_schedulers

from ...ratios import QUALITIES
from ...ratios.plots import ratio_figure, steps_figure
from ...ratios.prompts import DEFAULT_PROMPTS
from ...ratios.text import describe
from ...solvers import compensating
from . import library
from .typed import CORRECTOR
from .work import Work, job_of

_EVERY = 0.5  # seconds between two looks at the progress
_QUALITIES = (
    "paper: its ratios, in the fewest calls. ratios+: several kinds of them, tried on whole runs. "
    "tournament: the best solver and schedule, then ratios. schedule: steps moved, then ratios. "
    "full: steps, what the model is told there, and the weights of its outputs, in three times the "
    "calls at 5 steps and five at 10; leaves least of the error. Moved steps serve whole runs "
    "alone. Of several settings paper and schedule make a CPR; else each is a file of its own."
)


def register() -> None:
    script_callbacks.on_ui_tabs(_tab)


def _tab() -> list[tuple[Any, str, str]]:
    from ...web.panel import layout

    with gr.Blocks(analytics_enabled=False) as tab:
        layout.draw(library.folder, calibrate=_calibrate_page)
    return [(tab, "DC-Solver", "dc_solver")]


def _named(name: str, label: str) -> dict[str, str]:
    """The host keeps a field's default by its label, and scripts find it by its id."""
    return {"label": label, "elem_id": f"dc_solver_{name}"}


_current: list[Work] = []
_starting = threading.Lock()


def start(*values: Any) -> Iterator[tuple[Any, ...]]:
    """Calibrate, telling where it is: a bar, the report and the curves.

    One that runs already, which another page has begun or this one before it was loaded again, is
    followed in place of a second one.
    """
    try:
        job, name = job_of(*values)
        work = Work(job, name)
    except ValueError as error:
        yield _bar(0.0, str(error)), "", gr.update()
        return
    with _starting:
        free = not (_current and _current[0].thread.is_alive())
        if free:
            _current[:] = [work]
            work.thread.start()
        work = _current[0]
    said = "" if free else "running already, this is not begun: "
    while work.thread.is_alive():
        yield _bar(work.done / max(work.total, 1), f"{said}{work.told()}"), "", gr.update()
        time.sleep(_EVERY)
    share = 1.0 if work.result else 0.0
    report, figure = "", gr.update()
    if work.result:
        report = "\n\n".join(map(describe, work.result))
        learned = [one for one in work.curves if one.learned is not None]
        figure = steps_figure(learned) if learned else ratio_figure(work.curves)
    after = "" if free else "; yours was not begun: press Calibrate again"
    yield _bar(share, f"{work.message}{after}"), report, figure


def stop() -> None:
    """Stop the calibration before its next model call."""
    for work in _current:
        work.stop = True


def _bar(share: float, text: str) -> str:
    percent = f"{100 * min(max(share, 0.0), 1.0):.1f}%"
    return (
        '<div style="border:1px solid var(--border-color-primary);border-radius:6px;'
        'overflow:hidden;position:relative;padding:0.5em 0.8em">'
        f'<div style="position:absolute;inset:0;width:{percent};opacity:0.25;'
        'background:var(--color-accent)"></div>'
        f'<span style="position:relative">{html.escape(text)}</span></div>'
    )


def _at_once() -> dict[str, Any]:
    """That a second page is told that one runs: gradio 4 and later let it wait for the end of that,
    and gradio 3 does not know how to be told."""
    known = inspect.signature(gr.Blocks.queue).parameters  # Forge hides those of a click
    return {"concurrency_limit": None} if "default_concurrency_limit" in known else {}


def _calibrate_page() -> None:
    """The fields, drawn inside a page of the panel."""
    labels = [s.label for s in sd_schedulers.schedulers if s.function is not None]
    with gr.Row():
        with gr.Column(scale=3):
            prompts = gr.Textbox(
                DEFAULT_PROMPTS, lines=10, **_named("prompts", "Prompts"),
                info="One a line; the seeds take turns at them. Different ones make ratios that "
                     "hold for any prompt.",
            )  # fmt: skip
            negative = gr.Textbox("", lines=1, **_named("negative", "Negative prompt"))
            quality = gr.Radio(
                list(QUALITIES),
                value="paper",
                **_named("quality", "Quality"),
                info=_QUALITIES,
            )
            name = gr.Textbox(
                "",
                **_named("name", "File name"),
                info="Empty: the model and the settings.",
            )
        with gr.Column(scale=2):
            with gr.Row():
                # The host keeps defaults by label: those of the library's sliders are taken.
                steps = gr.Textbox(
                    "8",
                    **_named("steps", "Step counts"),
                    info="Such as 8, or several: 5, 6, 8, 10",
                )
                cfgs = gr.Textbox(
                    "7",
                    **_named("cfgs", "CFG scales"),
                    info="Such as 7, or several: 2, 4, 7. Several of either make a CPR, at quality "
                    "paper or schedule.",
                )
            scheduler = gr.Dropdown(
                labels,
                value="Simple" if "Simple" in labels else labels[0],
                **_named("scheduler", "Schedule type"),
            )
            with gr.Row():
                width = gr.Slider(64, 2048, 512, step=8, **_named("width", "Width"))
                height = gr.Slider(64, 2048, 512, step=8, **_named("height", "Height"))
            with gr.Row():
                seeds = gr.Slider(1, 32, 10, step=1, **_named("seeds", "Search seeds"))
                check = gr.Slider(0, 32, 6, step=1, **_named("check", "Check seeds"))
            with gr.Row():
                batch = gr.Slider(1, 16, 1, step=1, **_named("batch", "Batch size"))
                first = gr.Number(1, precision=0, **_named("first", "First seed"))
            with gr.Row():
                solver = gr.Dropdown(
                    compensating(),
                    value="dc_solver",
                    **_named("solver", "Calibrated solver"),
                    info="Ratios are for one solver.",
                )
                corrector = gr.Dropdown(
                    list(CORRECTOR),
                    value="automatic",
                    **_named("corrector", "Its corrector"),
                    info="As in the accordion.",
                )
    with gr.Row():
        go = gr.Button("Calibrate", variant="primary", elem_id="dc_solver_calibrate")
        halt = gr.Button("Interrupt", elem_id="dc_solver_interrupt")
    bar = gr.HTML(elem_id="dc_solver_progress")
    with gr.Row():
        report = gr.Textbox("", lines=12, label="Report", interactive=False,
                            elem_id="dc_solver_report")  # fmt: skip
        curves = gr.Plot(show_label=False)
    fields = [prompts, negative, steps, cfgs, scheduler, width, height, first, seeds, check, batch,
              name, solver, corrector, quality]  # fmt: skip
    go.click(start, fields, [bar, report, curves], show_progress=False, **_at_once())
    halt.click(stop, None, None)
