"""Where Gradio 3.41, 4.40, 5.50 and 6 differ, as far as the panel cares."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context


def known(function: Callable[..., Any], **wanted: Any) -> dict[str, Any]:
    """Those of the arguments that this Gradio's function has."""
    has = inspect.signature(function).parameters
    return {name: value for name, value in wanted.items() if name in has}


def event(listener: Callable[..., Any]) -> dict[str, Any]:
    """How the panel's events run: at once, not behind an image in the host's queue, and not as an
    endpoint for programs."""
    private = known(listener, api_visibility="private") or {"api_name": False}
    return {
        "queue": False,
        "show_progress": "hidden",
        **known(listener, trigger_mode="always_last"),
        **private,
    }


def follow(
    listener: Callable[..., Any],
    function: Callable[..., Any],
    inputs: list[Any],
    outputs: list[Any],
) -> None:
    """Call ``function`` while something changes, and for its last change in any case.

    Gradio 3 drops what happens while it waits for an answer, so it looks again after each.
    """
    options = event(listener)
    if "trigger_mode" in options:
        listener(function, inputs, outputs, **options)
        return
    answered = gr.State(None)

    def asked(values: tuple[Any, ...]) -> list[Any]:
        return [value for part, value in zip(inputs, values) if not isinstance(part, gr.State)]

    def first(*values: Any) -> list[Any]:
        found = function(*values[:-1])
        return [*(found if len(outputs) > 1 else [found]), asked(values)]

    def again(*values: Any) -> list[Any]:
        if asked(values) != values[-1]:
            return first(*values)
        same = [
            values[inputs.index(o)] if isinstance(o, gr.State) else gr.update() for o in outputs
        ]
        return [*same, values[-1]]

    everything = [*inputs, answered], [*outputs, answered]
    listener(first, *everything, **options).then(again, *everything, **options)


def on_load(function: Callable[..., Any], inputs: list[Any], outputs: list[Any]) -> None:
    """Call ``function`` when a page is opened on the Blocks that are being built."""
    blocks = Context.root_block
    assert blocks is not None, "the panel is drawn inside a gr.Blocks"
    blocks.load(function, inputs, outputs, **event(blocks.load))


def theme() -> Any:
    """The default theme in the fonts of the machine; its own come from the network."""
    return gr.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


@contextmanager
def blocks(title: str) -> Iterator[Any]:
    """A gr.Blocks to build in; from Gradio 6 on the theme goes to :func:`mount`."""
    with warnings.catch_warnings():
        # The last Gradio 5 warns of its themes and api_name, and has nothing else to offer.
        warnings.filterwarnings("ignore", ".*in Gradio 6", DeprecationWarning)
        with gr.Blocks(
            title=title, analytics_enabled=False, **known(gr.Blocks, theme=theme())
        ) as made:
            yield made


def mount(app: Any, panel: Any, most_bytes: int) -> Any:
    """The panel at the root of a FastAPI app."""
    wanted = {"footer_links": [], "run_history": False, "max_file_size": most_bytes,
              "show_error": False, "ssr_mode": False, "theme": theme()}  # fmt: skip
    return gr.mount_gradio_app(app, panel, path="/", **known(gr.mount_gradio_app, **wanted))


def uploaded(file: Any) -> tuple[Path, str]:
    """Where an uploaded file lies and what it was called."""
    path = getattr(file, "name", file)
    return Path(path), Path(getattr(file, "orig_name", None) or path).name
