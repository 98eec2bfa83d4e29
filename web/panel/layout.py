"""The panel's components and what happens when they are used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from .desk import Answer, Desk, Seen
from .shelf import ENDINGS, Shelf
from .versions import event, follow, on_load, uploaded
from .views import CFG, STEPS

_SMALL: dict[str, Any] = {"size": "sm", "min_width": 56}
_IMPORT = (
    '<p class="dc-fitted">A shared calibration (.safetensors), or the authors\' regressions (.npy) '
    "and lists of ratios (.json), 4 MB at most. A list does not say its CFG.</p>"
)
_CSS = Path(__file__).with_name("panel.css")


def draw(folder: Callable[[], Path], calibrate: Callable[[], None] | None = None) -> None:
    """Build the panel in the gr.Blocks that is being built.

    ``folder`` is asked for the library's folder each time.  ``calibrate`` is called inside a second
    tab, "Calibrate", for a host to put its own components there.
    """
    desk = Desk(Shelf(folder))
    with gr.Column(elem_id="dc_panel"):
        gr.HTML(f"<style>{_CSS.read_text(encoding='utf-8')}</style>", elem_id="dc_style")
        if calibrate is None:
            _library(desk)
            return
        with gr.Tabs():
            with gr.Tab("Library"):
                _library(desk)
            with gr.Tab("Calibrate"):
                calibrate()


def _library(desk: Desk) -> None:
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            words = gr.Textbox(
                show_label=False, placeholder="Filter: name, model, 5 steps …", container=False,
                max_lines=1, elem_id="dc_filter",
            )  # fmt: skip
            with gr.Row(elem_id="dc_actions"):
                add = gr.Button("Import …", elem_id="dc_add", **_SMALL)
                rename = gr.Button("Rename …", elem_id="dc_rename", **_SMALL)
                delete = gr.Button("Delete …", elem_id="dc_delete", **_SMALL)
                refresh = gr.Button("Refresh", elem_id="dc_refresh", **_SMALL)
            with gr.Column(visible=False, elem_id="dc_adding") as adding:
                gr.HTML(_IMPORT)
                scale = gr.Textbox(label="CFG of a .json list, if known", elem_id="dc_scale")
                with gr.Row():
                    upload = gr.UploadButton(
                        "Choose files …", file_count="multiple", file_types=list(ENDINGS),
                        variant="primary", elem_id="dc_upload", **_SMALL,
                    )  # fmt: skip
                    unadded = gr.Button("Cancel", **_SMALL)
            with gr.Column(visible=False, elem_id="dc_naming") as naming:
                name = gr.Textbox(label="New name", interactive=True, elem_id="dc_name")
                with gr.Row():
                    renamed = gr.Button("Rename", variant="primary", elem_id="dc_renamed", **_SMALL)
                    unnamed = gr.Button("Cancel", **_SMALL)
            with gr.Column(visible=False, elem_id="dc_deleting") as deleting:
                doomed = gr.HTML(elem_id="dc_doomed")
                with gr.Row():
                    deleted = gr.Button("Delete for good", variant="stop", elem_id="dc_deleted",
                                        **_SMALL)  # fmt: skip
                    kept = gr.Button("Keep", elem_id="dc_kept", **_SMALL)
            files = gr.CheckboxGroup(
                [], show_label=False, container=False, interactive=True, elem_id="dc_files"
            )
            counted = gr.HTML(elem_id="dc_count")
        with gr.Column(scale=5, min_width=480):
            said = gr.HTML(elem_id="dc_said")
            with gr.Row(visible=False) as sliders:
                steps = gr.Slider(*STEPS, value=7, step=1, label="Steps", elem_id="dc_steps")
                cfg = gr.Slider(*CFG, value=4.0, step=0.1, label="CFG", elem_id="dc_cfg")
                fitted = gr.HTML(elem_id="dc_fitted")
            board = gr.HTML(elem_id="dc_board")
            report = gr.HTML(elem_id="dc_report")
    seen = gr.State(Seen())
    parts = {
        "files": files, "counted": counted, "said": said, "sliders": sliders, "steps": steps,
        "cfg": cfg, "fitted": fitted, "board": board, "report": report, "naming": naming,
        "name": name, "deleting": deleting, "doomed": doomed, "adding": adding, "words": words,
    }  # fmt: skip

    def answered(method: Callable[..., Answer]) -> Callable[..., list[Any]]:
        def run(*values: Any) -> list[Any]:
            changes, now = method(*values)
            return [gr.update(**changes.get(part, {})) for part in parts] + [now]

        return run

    def listed(chosen: Any, wanted: str) -> list[Any]:
        changes = desk.filter(chosen, wanted)
        return [gr.update(**changes[part]) for part in ("files", "counted")]

    def on(listener: Any, method: Callable[..., Answer], *inputs: Any) -> None:
        outputs = [*parts.values(), seen]
        listener(answered(method), [seen, *inputs], outputs, **event(listener))

    def take_in(held: Seen, uploads: Any, *values: Any) -> Answer:
        several = uploads if isinstance(uploads, list) else [uploads]
        return desk.bring_in(held, [uploaded(file) for file in several if file], *values)

    setting = (steps, cfg)
    on_load(answered(desk.open), [seen, words, *setting], [*parts.values(), seen])
    on(refresh.click, desk.refresh, files, words, *setting)
    follow(files.input, answered(desk.choose), [seen, files, *setting], [*parts.values(), seen])
    follow(words.change, listed, [files, words], [files, counted])
    for slider in setting:
        follow(slider.input, desk.move, [files, *setting], [board])
    on(add.click, desk.ask_files)
    on(rename.click, desk.ask_name)
    on(renamed.click, desk.rename, name, words, *setting)
    on(name.submit, desk.rename, name, words, *setting)
    on(delete.click, desk.ask_delete)
    on(deleted.click, desk.delete, words, *setting)
    for button in (unadded, unnamed, kept):
        on(button.click, desk.close)
    on(upload.upload, take_in, upload, scale, *setting)
