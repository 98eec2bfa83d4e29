"""The accordion under the sampler: which ratios, and the solver's settings."""

from __future__ import annotations

import logging
from typing import Any

import gradio as gr
from modules import scripts
from modules.ui_common import create_refresh_button

from ...solvers import SOLVERS, Langevin, Tolerance
from . import infotext, library
from .asked import AUTOMATIC, OFF, TYPED, Asked, ask, asked_in
from .typed import CORRECTOR, LOWER_ORDER

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
            keys = {"typed": infotext.RATIOS, **infotext.FIELDS}
            self.infotext_fields = [
                (fields["choice"], infotext.pasted_choice),
                *((fields[name], infotext.pasted(key)) for name, key in keys.items()),
            ]
            return list(fields.values())

        def process(self, p: Any, *values: Any) -> None:
            infotext.forget(p)
            try:
                ask(p, asked_in(*values))
            except (KeyError, TypeError, ValueError) as error:
                log.warning("DC-Solver: %s", error)
                off = values[:1] == (OFF,)
                ask(p, Asked(off=off))
                instead = "it runs as plain UniPC" if off else "the library is looked in"
                p.comment(f"DC-Solver: {error}; {instead} instead.")

    return DCSolverScript


def _fields(elem_id: Any) -> dict[str, Any]:
    """The fields by name, in the order in which they are given to ``process``."""
    with gr.Accordion("DC-Solver", open=False, elem_id=elem_id("accordion")):
        with gr.Row():
            choice = gr.Dropdown(
                choices(), value=AUTOMATIC, label="Ratios", elem_id=elem_id("ratios"),
                info="Automatic takes what your library has for this model, steps, CFG and "
                     "schedule; without any, a guess at that of the last step, or UniPC.",
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
            solver = gr.Dropdown(
                list(SOLVERS), value="dc_solver", label="Solver", elem_id=elem_id("solver"),
            )  # fmt: skip
            order = gr.Dropdown([1, 2, 3, 4], value=2, label="Order", elem_id=elem_id("order"))
            dc_order = gr.Dropdown([1, 2, 3], value=2, label="K", elem_id=elem_id("k"))
        with gr.Accordion("More settings", open=False, elem_id=elem_id("more_settings")):
            rest = _more_fields(elem_id)
        more = gr.Textbox("", visible=False, elem_id=elem_id("more"))
    choice.change(
        lambda chosen: gr.update(visible=chosen == TYPED), choice, typed, show_progress=False
    )
    found = {"choice": choice, "typed": typed, "order": order, "k": dc_order, "more": more,
             "solver": solver, **rest}  # fmt: skip
    return {name: found[name] for name in ("choice", "typed", *infotext.FIELDS)}


def _more_fields(elem_id: Any) -> dict[str, Any]:
    """What few need: the closed part of the accordion."""
    with gr.Row():
        corrector = gr.Dropdown(
            list(CORRECTOR), value="automatic", label="Corrector", elem_id=elem_id("corrector"),
            info="UniC: on, it corrects any solver that uses earlier steps.",
        )  # fmt: skip
        variant = gr.Dropdown(
            ["bh2", "bh1"], value="bh2", label="Variant", elem_id=elem_id("variant"),
            info="UniPC's B(h).",
        )  # fmt: skip
        lower_order = gr.Dropdown(
            list(LOWER_ORDER), value="automatic", label="Lower order",
            elem_id=elem_id("lower_order"), info="On the last and on long steps.",
        )  # fmt: skip
    with gr.Row():
        langevin_steps = gr.Slider(
            0, 20, value=0, step=1, label="Langevin steps", elem_id=elem_id("langevin_steps"),
            info="After each step; no ratios.",
        )  # fmt: skip
        langevin_snr = gr.Number(
            value=Langevin.snr, label="Langevin strength", elem_id=elem_id("langevin_snr"),
            info="Of the noise. Each step is one model call.",
        )  # fmt: skip
        threshold = gr.Number(
            value=0.0, label="Dynamic threshold", elem_id=elem_id("threshold"),
            info="0: none. For models of pixels, such as 0.995.",
        )  # fmt: skip
    with gr.Row():
        rtol = gr.Number(
            value=Tolerance.rtol, label="Error of a step", elem_id=elem_id("rtol"),
            info="For dpm_12 and dpm_23, which choose their own steps: relative to the image.",
        )  # fmt: skip
        atol = gr.Number(
            value=Tolerance.atol, label="Error always allowed", elem_id=elem_id("atol"),
            info="For dpm_12 and dpm_23.",
        )  # fmt: skip
        max_calls = gr.Number(
            value=Tolerance.max_calls, precision=0, label="Most model calls",
            elem_id=elem_id("max_calls"), info="For dpm_12 and dpm_23.",
        )  # fmt: skip
    return {
        "corrector": corrector, "variant": variant, "lower_order": lower_order,
        "langevin_steps": langevin_steps, "langevin_snr": langevin_snr, "threshold": threshold,
        "rtol": rtol, "atol": atol, "max_calls": max_calls,
    }  # fmt: skip
