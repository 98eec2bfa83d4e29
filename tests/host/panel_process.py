"""The panel in the Python of a host, and a page on it."""

from __future__ import annotations

import base64
import shutil
import urllib.request
from pathlib import Path
from typing import Any

from host_process import HostProcess

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a password"


class PanelProcess(HostProcess):
    """``python -m dc_solver panel`` over a library, or the panel as a tab of another page."""

    def __init__(self, python: Path, folder: Path, library: Path) -> None:
        super().__init__("the panel", folder / "panel.log")
        self._python = python
        self._folder = folder
        self.library = library
        self._headers: dict[str, str] = {}

    def start(self, *options: str) -> None:
        self._link()
        command = [str(self._python), "-m", "dc_solver", "panel", str(self.library), "--no-browser"]
        command += ["--port", str(self.free_port()), *options]
        self.launch(command, self._folder, "/config", 120)

    def start_locked(self) -> None:
        """With a password."""
        file = self._folder / "password"
        file.write_text(f"{PASSWORD}\n")
        secret = base64.b64encode(f"artist:{PASSWORD}".encode()).decode()
        self._headers = {"Authorization": f"Basic {secret}"}
        self.start("--password-file", str(file))

    def start_tab(self) -> None:
        """As a tab of a page of the host's."""
        self._link()
        script = shutil.copy(Path(__file__).with_name("panel_tab.py"), self._folder)
        command = [str(self._python), script, str(self.library), str(self.free_port())]
        self.launch(command, self._folder, "/config", 120)

    def get(self, path: str) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status

    def _link(self) -> None:
        link = self._folder / "dc_solver"
        if not link.exists():
            link.symlink_to(ROOT, target_is_directory=True)


class PanelPage:
    """What a user does on the panel, and what is seen there."""

    def __init__(self, page: Any, panel: PanelProcess, pictures: Path, name: str) -> None:
        self.page = page
        self.panel = panel
        self._pictures = pictures
        self._name = name
        self.elsewhere: list[str] = []
        self.errors: list[str] = []
        page.on("requestfinished", self._answered)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _answered(self, request: Any) -> None:
        if not request.url.startswith((self.panel.url, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def open(self, path: str = "/", ready: str = "#dc_board .dc-values") -> None:
        self.page.goto(f"{self.panel.url}{path}")
        self.page.wait_for_selector(ready)

    def go_to(self, tab: str) -> None:
        """Choose a tab of a host's page; Gradio 3 makes buttons of them."""
        button = self.page.get_by_role("button", name=tab, exact=True)
        self.page.get_by_role("tab", name=tab, exact=True).or_(button).first.click()

    def js(self, expression: str) -> Any:
        return self.page.evaluate(f"() => {expression}")

    def labels(self) -> list[str]:
        return list(self.page.locator("#dc_files label").all_inner_texts())

    def choose(self, *names: str) -> None:
        """Choose exactly these files, by the first lines of their labels."""
        boxes = self.page.locator("#dc_files label")
        for k, label in enumerate(self.labels()):
            wanted = label.splitlines()[0].strip() in names
            if boxes.nth(k).locator("input").is_checked() != wanted:
                boxes.nth(k).click()
        drawn = sorted(name for name in names if not name.startswith("⚠"))
        cells = "[...document.querySelectorAll('.dc-values th[scope=row]')]"
        self.until(f"{cells}.map(e => e.innerText.trim()).sort().join() === {','.join(drawn)!r}")
        for name in set(names) - set(drawn):
            told = f"{name.removeprefix('⚠ ')} cannot be shown"
            self.until(f"document.querySelector('#dc_board').innerText.includes({told!r})")

    def until(self, condition: str) -> None:
        self.page.wait_for_function(f"() => {{ try {{ return !!({condition}) }} catch {{}} }}")

    def set(self, slider: str, value: float) -> None:
        """Type a value beside a slider."""
        box = self.page.locator(f"#dc_{slider} input[type=number]")
        box.fill(f"{value:g}")
        box.press("Tab")

    def rows(self) -> list[list[str]]:
        """The cells of the table of values."""
        return list(self.js("[...document.querySelectorAll('.dc-values tbody tr')].map(r => "
                            "[...r.children].map(c => c.innerText.trim()))"))  # fmt: skip

    def draws(self, setting: str, ratios: tuple[float, ...]) -> None:
        """Wait for a curve of this setting with these values."""
        wanted = [setting, *(f"{ratio:.3f}" for ratio in ratios)]
        self.until(
            "[...document.querySelectorAll('.dc-values tbody tr')].some(row => "
            "[...row.children].slice(1).map(cell => cell.innerText.trim()).filter(text => text)"
            f".join() === {','.join(wanted)!r})"
        )

    def says(self, words: str) -> None:
        self.until(f"document.querySelector('#dc_said').innerText.includes({words!r})")

    def click(self, name: str) -> None:
        self.page.locator(f"#dc_{name}").click()

    def picture(self, name: str) -> None:
        self.page.wait_for_timeout(400)
        self.page.screenshot(path=self._pictures / f"panel_{name}_{self._name}.png")
