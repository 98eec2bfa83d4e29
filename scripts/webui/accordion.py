"""The accordion under the sampler: which ratios, and the solver's settings."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from modules import scripts
from modules.ui_common import create_refresh_button

from . import infotext, library
from .asked import AUTOMATIC, LOWER_ORDER, OFF, TYPED, ask, asked_in

log = logging.getLogger("dc_solver")


def choices() -> list[str]:
    return [AUTOMATIC, OFF, TYPED, *library.names()]


def make(base: type) -> type:
    """The script that the host shows, a subclass of its ``Script``."""

    class DCSolverScript(base):  # type: ignore[misc,valid-type]
        def title(self) -> str:
            return "DC-Solver"

        def show(self, is_img2img: bool) -> Any:
            return scripts.AlwaysVisible

        def ui(self, is_img2img: bool) -> list[Any]:
            fields = _fields(self.elem_id)
            # By these keys a pasted infotext fills the fields.
            keys = ("typed", "order", "k", "variant", "lower_order", "more")
            names = (infotext.RATIOS, infotext.ORDER, infotext.K, infotext.VARIANT, infotext.LOWER,
                     infotext.MORE)  # fmt: skip
            self.infotext_fields = [
                (fields["choice"], infotext.pasted_choice),
                *((fields[key], infotext.pasted(name)) for key, name in zip(keys, names)),
            ]
            return list(fields.values())

        def process(self, p: Any, *values: Any) -> None:
            infotext.forget(p)
            try:
                ask(p, asked_in(*values))
            except (KeyError, TypeError, ValueError) as error:
                log.warning("DC-Solver: %s", error)
                p.comment(f"DC-Solver: {error}; the library is looked in instead.")

    return DCSolverScript


def _fields(elem_id: Any) -> dict[str, Any]:
    """The fields by name, in the order in which they are given to ``process``."""
    with gr.Accordion("DC-Solver", open=False, elem_id=elem_id("accordion")):
        with gr.Row():
            choice = gr.Dropdown(
                choices(), value=AUTOMATIC, label="Ratios", elem_id=elem_id("ratios"),
                info="Automatic takes what your library has for this model, steps, CFG and "
                     "schedule; without any, DC-Solver is UniPC.",
            )  # fmt: skip
            create_refresh_button(
                choice, lambda: None, lambda: {"choices": choices()}, elem_id("refresh")
            )
        typed = gr.Textbox(
            "", label="Typed ratios", elem_id=elem_id("typed"), visible=False,
            placeholder="1 1 1.12 0.91 1.05",
            info="One a step; those of hires fix after a |. An image's own come here when you "
                 "paste it.",
        )  # fmt: skip
        with gr.Row():
            order = gr.Dropdown([1, 2, 3, 4], value=2, label="Order", elem_id=elem_id("order"))
            dc_order = gr.Dropdown([1, 2, 3], value=2, label="K", elem_id=elem_id("k"))
            variant = gr.Dropdown(
                ["bh2", "bh1"], value="bh2", label="Variant", elem_id=elem_id("variant")
            )
            lower_order = gr.Dropdown(
                list(LOWER_ORDER), value="automatic", label="Lower order",
                elem_id=elem_id("lower_order"),
            )  # fmt: skip
        more = gr.Textbox("", visible=False, elem_id=elem_id("more"))
    choice.change(
        lambda chosen: gr.update(visible=chosen == TYPED), choice, typed, show_progress=False
    )
    return {
        "choice": choice, "typed": typed, "order": order, "k": dc_order, "variant": variant,
        "lower_order": lower_order, "more": more,
    }  # fmt: skip
