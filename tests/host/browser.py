"""A headless browser, and ComfyUI's front end in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer
from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule

try:
    from playwright.sync_api import TimeoutError as TimedOut
except ImportError:  # nothing runs without it
    TimedOut = TimeoutError  # type: ignore[assignment,misc]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking"]  # fmt: skip
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": False,
            "Comfy.ColorPalette": "dark", "Comfy.Minimap.Visible": False,
            "Comfy.Locale": "en"}  # fmt: skip


PREDICT, LOAD = "DCSolverPredictRatios", "DCSolverLoadRatios"
CPR, RATIOS = "studio model.safetensors", "eight steps.safetensors"
EIGHT = (1.0, 1.0, 1.12, 0.94, 1.2, 1.05, 0.9, 1.31)


def calibrated(steps: int, cfg: float) -> RatioSchedule:
    later = [
        1 + 0.5 * (i / steps) * (cfg / 7) * (1.0 if i % 2 else -0.4) * (8 / steps)
        for i in range(2, steps)
    ]
    return RatioSchedule((1.0, 1.0, *later), cfg=cfg, identity=Identity(scheduler="simple"))


FITTED = ratios.fit_cpr([calibrated(n, w) for n in (5, 6, 8, 10) for w in (2.0, 4.0, 7.0)])


def picture_folder(temporary: pytest.TempPathFactory) -> Path:
    """Where screenshots go: ``DC_SOLVER_SCREENSHOTS``, else away with the test run."""
    folder = os.environ.get("DC_SOLVER_SCREENSHOTS")
    pictures = Path(folder) if folder else temporary.mktemp("screenshots")
    pictures.mkdir(parents=True, exist_ok=True)
    return pictures


@contextmanager
def new_tab() -> Iterator[Any]:
    """A page of a Chromium of its own.  Skips, saying why, where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = os.environ.get("CHROMIUM_PATH") or shutil.which("chromium")
    if not chromium:
        pytest.skip("needs a Chromium: set CHROMIUM_PATH to it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60000)
        yield page
        browser.close()


def open_comfy(page: Any, comfy: ComfyServer, settings: dict[str, Any]) -> None:
    for name, value in {**SETTINGS, **settings}.items():
        comfy.post(f"/settings/{name}", value)
    page.goto(comfy.url)
    page.wait_for_function(
        "() => !!window.app?.extensionManager?.workflow?.activeWorkflow?.changeTracker && "
        f"!!LiteGraph.registered_node_types['{PREDICT}']"
    )
    page.wait_for_timeout(1500)  # it loads its default workflow


class Front:
    """A page with ComfyUI, and what a user does there."""

    def __init__(self, page: Any, comfy: ComfyServer, pictures: Path) -> None:
        self.page = page
        self.comfy = comfy
        self._pictures = pictures
        self.failures: list[str] = []
        page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        if "DC-Solver" in message.text or "dc_solver" in message.text.lower():
            self.failures.append(message.text)

    def start(self, **settings: Any) -> None:
        """Open ComfyUI anew with these settings."""
        open_comfy(self.page, self.comfy, settings)

    def js(self, expression: str) -> Any:
        return self.page.evaluate(f"async () => await ({expression})")

    def until(self, condition: str) -> None:
        try:
            self.page.wait_for_function(f"() => {{ try {{ return !!({condition}) }} catch {{}} }}")
        except TimedOut:
            charts = self.page.locator(".dc-curve").all_inner_texts()
            raise AssertionError(f"expected {condition}; the charts: {charts}") from None

    def drawn(self, kind: str = PREDICT) -> dict[str, Any]:
        found: dict[str, Any] = self.js(f"dc.drawn('{kind}')")
        return found

    def draws(
        self, expected: tuple[float, ...], kind: str = PREDICT, title: str = ""
    ) -> dict[str, Any]:
        """Wait for this curve; what is drawn."""
        wanted = list(expected)
        try:
            self.page.wait_for_function(
                f"""wanted => {{ const {{ values, title }} = dc.drawn('{kind}');
                return values?.length === wanted.length && title.endsWith({title!r}) &&
                    values.every((value, k) => Math.abs(value - wanted[k]) < 1e-9) }}""",
                arg=wanted,
                timeout=15000,
            )
        except TimedOut:
            raise AssertionError(f"expected {wanted}, drawn {self.drawn(kind)}") from None
        return self.drawn(kind)

    def says(self, words: str, kind: str = PREDICT) -> None:
        self.until(f"dc.drawn('{kind}').says?.includes({words!r})")

    def edits(self, kind: str = PREDICT) -> str:
        return str(self.js(f"dc.widget('{kind}', 'edits').value"))

    def drag(self, index: int, by: float, kind: str = PREDICT) -> None:
        """Drag a point by so many pixels of the screen."""
        spot = self.js(f"dc.spot('{kind}', {index})")
        mouse = self.page.mouse
        mouse.move(spot["x"], spot["y"])
        mouse.down()
        mouse.move(spot["x"], spot["y"] + by / 2)
        mouse.move(spot["x"], spot["y"] + by)
        mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.page.wait_for_timeout(80)  # ComfyUI looks at the graph a frame later

    def run(self) -> None:
        """Run the workflow.  Raises PromptError where it fails."""
        known = set(self.comfy.get("/history"))
        self.js("app.queuePrompt(0)")
        while not (started := set(self.comfy.get("/history")) - known):
            self.page.wait_for_timeout(200)  # the page goes on meanwhile
        for prompt in started:
            self.comfy.wait(prompt)

    def picture(self, name: str) -> None:
        self.page.wait_for_timeout(300)
        self.page.screenshot(path=self._pictures / f"{name}.png")
