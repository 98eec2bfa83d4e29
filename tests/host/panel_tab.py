"""The panel as a tab of a WebUI: a Blocks of its own, drawn first and rendered into the host's.

Run by the interpreters of the hosts: ``python panel_tab.py LIBRARY PORT``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gradio as gr
from dc_solver.web.panel.layout import draw


def calibrate() -> None:
    gr.Textbox(label="Checkpoint of the host", elem_id="host_checkpoint")


def main() -> None:
    library, port = Path(sys.argv[1]), int(sys.argv[2])
    with gr.Blocks(analytics_enabled=False) as tab:
        draw(lambda: library, calibrate)
    with gr.Blocks(analytics_enabled=False) as demo, gr.Tabs():
        with gr.Tab("txt2img"):
            gr.Textbox(label="Prompt")
        with gr.Tab("DC-Solver"):
            tab.render()
    print(f"http://127.0.0.1:{port}", flush=True)
    demo.queue().launch(server_name="127.0.0.1", server_port=port, quiet=True)


if __name__ == "__main__":
    main()
