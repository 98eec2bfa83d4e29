"""The panel's modules: Gradio is loaded by those that draw, and the desk knows the page's parts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from dc_solver.web.panel import desk

ROOT = Path(__file__).resolve().parent.parent


def test_nothing_of_the_panel_loads_gradio_before_it_is_drawn() -> None:
    script = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests")!r})
import conftest
from dc_solver.web.panel import alone, cards, desk, drawing, guard, shelf, views, words
assert not {{"gradio", "fastapi", "uvicorn"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_desk_answers_with_parts_that_the_page_has() -> None:
    layout = (ROOT / "web" / "panel" / "layout.py").read_text(encoding="utf-8")
    parts = re.search(r"parts = \{(.*?)\}", layout, re.DOTALL)
    assert parts
    named = set(re.findall(r'"(\w+)":', parts[1]))
    source = Path(desk.__file__).read_text(encoding="utf-8")
    used = set(re.findall(r'"(\w+)": \{"', source)) | set(re.findall(r'changes\["(\w+)"\]', source))
    assert used <= named
