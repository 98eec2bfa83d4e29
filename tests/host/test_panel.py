"""The panel in a real browser, in each Gradio that the hosts have."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import EIGHT, FITTED, new_tab
from dc_solver import ratios
from dc_solver.ratios import RatioSchedule
from panel_process import PASSWORD, PanelPage, PanelProcess

PYTHONS = [path for path in os.environ.get("GRADIO_PYTHONS", "").split(os.pathsep) if path]
FIVE = RatioSchedule((1.0, 1.0, 1.1, 0.9, 1.3), cfg=3.0)
HOSTILE = "<img src=x onerror=hit()> ${hit()} {{hit}} $x$ &amp;"


def fill(library: Path) -> None:
    """The newest last: the page opens on it."""
    files = [("five", FIVE), ("eight", RatioSchedule(EIGHT, cfg=7.0)), (HOSTILE, FIVE),
             ("studio", FITTED)]  # fmt: skip
    library.mkdir(parents=True, exist_ok=True)
    for path in library.iterdir():
        path.unlink()
    for age, (name, obj) in enumerate(files):
        path = ratios.save(obj, library / f"{name}.safetensors")
        os.utime(path, (1000 + age, 1000 + age))
    (library / "broken.safetensors").write_bytes(b"nothing of ours")
    os.utime(library / "broken.safetensors", (999, 999))


@pytest.fixture(
    scope="module", params=PYTHONS or [None], ids=lambda p: Path(p).parts[-3] if p else ""
)
def python(request: pytest.FixtureRequest) -> Path:
    if request.param is None:
        pytest.skip("needs Pythons with Gradio: set GRADIO_PYTHONS to their paths, divided by "
                    f"{os.pathsep!r}")  # fmt: skip
    return Path(request.param)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("DC_SOLVER_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def process(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelProcess]:
    folder = tmp_path_factory.mktemp("panel")
    panel = PanelProcess(python, folder, folder / "library")
    fill(panel.library)
    panel.start()
    yield panel
    panel.stop()


@pytest.fixture(scope="module")
def tab(python: Path) -> Iterator[Any]:
    with new_tab() as page:
        yield page


@pytest.fixture
def panel(process: PanelProcess, tab: Any, pictures: Path, python: Path) -> Iterator[PanelPage]:
    """A page on a library filled anew.  Nothing was loaded from elsewhere, no script failed."""
    fill(process.library)
    context = tab.context.browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.set_default_timeout(30000)
    page.add_init_script("window.hit = () => { window.wasHit = true }")
    opened = PanelPage(page, process, pictures, python.parts[-3])
    yield opened
    hit = opened.js("window.wasHit === true")
    context.close()
    assert not hit and not opened.elsewhere and not opened.errors
    assert "Traceback" not in process.log.read_text()


def test_it_opens_on_the_newest_file_with_its_curve_and_heat_map(panel: PanelPage) -> None:
    panel.open()
    panel.draws("7 steps · CFG 4", FITTED.predict(7, 4.0).ratios)
    assert panel.js("document.querySelectorAll('#dc_board svg').length") == 2
    assert [label.splitlines()[0].strip() for label in panel.labels()] == [
        "studio", HOSTILE, "eight", "five", "⚠ broken",
    ]  # fmt: skip
    assert panel.js("document.querySelector('#dc_count').innerText.trim()") == "5 files · 1 broken"
    panel.picture("cpr")


def test_the_curve_follows_the_sliders_and_flags_what_was_not_fitted(panel: PanelPage) -> None:
    panel.open()
    panel.set("steps", 6)
    panel.draws("6 steps · CFG 4", FITTED.predict(6, 4.0).ratios)
    panel.set("cfg", 5.5)
    panel.draws("6 steps · CFG 5.5", FITTED.predict(6, 5.5).ratios)
    assert panel.js("document.querySelector('#dc_board .dc-note')") is None
    panel.set("cfg", 12)
    panel.draws("6 steps · CFG 12", FITTED.predict(6, 12.0).ratios)
    told = panel.js("document.querySelector('#dc_board .dc-note').innerText")
    assert "CFG 12 is outside the fitted range 2 to 7: using 7" in told
    panel.picture("outside")


def test_the_last_of_many_moves_is_what_is_drawn(panel: PanelPage) -> None:
    panel.open()
    track = panel.page.locator("#dc_cfg input[type=range]").bounding_box()
    mouse, y = panel.page.mouse, track["y"] + track["height"] / 2
    mouse.move(track["x"] + 0.25 * track["width"], y)
    mouse.down()
    for k in range(80):
        mouse.move(track["x"] + (0.25 + 0.003 * (k if k < 60 else 110 - k)) * track["width"], y)
    mouse.up()
    cfg = float(panel.page.locator("#dc_cfg input[type=number]").input_value())
    assert cfg != 4.0
    panel.draws(f"7 steps · CFG {cfg:g}", FITTED.predict(7, cfg).ratios)
    panel.page.wait_for_timeout(1500)
    panel.draws(f"7 steps · CFG {cfg:g}", FITTED.predict(7, cfg).ratios)


def test_files_lie_over_each_other_with_a_table_of_their_values(panel: PanelPage) -> None:
    panel.open()
    panel.choose("five", "eight", "studio")
    panel.draws("5 steps · CFG 3", FIVE.ratios)
    panel.draws("8 steps · CFG 7", EIGHT)
    panel.draws("7 steps · CFG 4", FITTED.predict(7, 4.0).ratios)
    panel.picture("three")
    panel.choose("five")
    panel.until("!document.querySelector('#dc_steps')?.offsetParent")
    panel.picture("one")


def test_a_broken_file_says_why_and_hostile_names_are_only_shown(panel: PanelPage) -> None:
    panel.open()
    panel.choose("⚠ broken", HOSTILE)
    told = panel.js("document.querySelector('#dc_board .dc-note').innerText")
    assert told.startswith("broken cannot be shown: expected a safetensors")
    assert panel.rows()[0][0] == HOSTILE
    assert panel.js("document.querySelector('.dc-card h4').innerText") == HOSTILE
    assert panel.js("document.querySelectorAll('#dc_panel img').length") == 0
    panel.picture("broken")


def test_a_file_is_renamed_and_a_taken_name_is_refused(panel: PanelPage) -> None:
    panel.open()
    panel.choose("five")
    panel.click("rename")
    box = panel.page.locator("#dc_name textarea, #dc_name input").first
    box.wait_for()
    assert box.input_value() == "five"
    panel.picture("rename")
    box.fill("eight")
    panel.click("renamed")
    panel.says("There is a eight.safetensors already; nothing was renamed.")
    box.fill("../five")
    panel.click("renamed")
    panel.says("expected a plain file name without a folder")
    box.fill("quick look")
    panel.click("renamed")
    panel.says("five.safetensors is now quick look.safetensors.")
    assert (panel.panel.library / "quick look.safetensors").is_file()
    assert not (panel.panel.library / "five.safetensors").exists()
    assert "quick look" in panel.rows()[0][0]


def test_deleting_asks_first(panel: PanelPage) -> None:
    library = panel.panel.library
    panel.open()
    panel.choose("five", "⚠ broken")
    panel.click("delete")
    panel.page.locator("#dc_deleted").wait_for()
    assert "Delete 2 files?" in panel.js("document.querySelector('#dc_doomed').innerText")
    panel.picture("delete")
    panel.click("kept")
    panel.page.locator("#dc_deleted").wait_for(state="hidden")
    assert (library / "five.safetensors").exists()
    panel.click("delete")
    panel.page.locator("#dc_deleted").wait_for()
    panel.click("deleted")
    panel.says("2 files were deleted")
    assert sorted(path.stem for path in library.iterdir()) == sorted(["eight", "studio", HOSTILE])


def test_what_went_meanwhile_is_said(panel: PanelPage) -> None:
    panel.open()
    panel.choose("five")
    panel.click("delete")
    panel.page.locator("#dc_deleted").wait_for()
    (panel.panel.library / "five.safetensors").unlink()
    panel.click("deleted")
    panel.says("five.safetensors is gone; nothing was done.")
    panel.click("refresh")
    panel.until("document.querySelectorAll('#dc_files label').length === 4")


def test_files_are_imported_and_others_refused(panel: PanelPage, tmp_path: Path) -> None:
    panel.open()
    (tmp_path / "theirs.json").write_text(json.dumps([1.0, 1.0, 1.2, 0.8]))
    (tmp_path / "junk.npy").write_bytes(b"\x80\x04junk")
    panel.click("add")
    panel.page.locator("#dc_scale textarea, #dc_scale input").first.fill("6.5")
    panel.page.locator("#dc_adding input[type=file]").set_input_files(
        [tmp_path / "theirs.json", tmp_path / "junk.npy"]
    )
    panel.says("Imported theirs.safetensors.")
    panel.says("junk.npy was not imported: expected a numpy array file.")
    panel.draws("4 steps · CFG 6.5", (1.0, 1.0, 1.2, 0.8))
    found = ratios.load(panel.panel.library / "theirs.safetensors")
    assert isinstance(found, RatioSchedule) and found.cfg == 6.5
    panel.picture("import")


def test_a_download_is_the_file(panel: PanelPage, tmp_path: Path) -> None:
    panel.open()
    panel.choose("five")
    with panel.page.expect_download() as download:
        panel.page.locator(".dc-download").click()
    assert download.value.suggested_filename == "five.safetensors"
    download.value.save_as(tmp_path / "five.safetensors")
    assert ratios.load(tmp_path / "five.safetensors") == FIVE


def test_nothing_one_and_five_hundred_files(panel: PanelPage) -> None:
    library = panel.panel.library
    content = (library / "five.safetensors").read_bytes()
    for path in library.iterdir():
        path.unlink()
    panel.open(ready=".dc-empty")
    panel.picture("empty")
    (library / "only.safetensors").write_bytes(content)
    panel.open()
    assert panel.rows()[0][0] == "only"
    for k in range(499):
        (library / f"checkpoint {k:03d}.safetensors").write_bytes(content)
    panel.open()
    panel.until("document.querySelectorAll('#dc_files label').length === 500")
    panel.picture("many")
    panel.page.locator("#dc_filter textarea, #dc_filter input").first.fill("POINT 123 steps")
    panel.until("document.querySelector('#dc_count').innerText.trim().startsWith('1 of 500')")


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (1440, "light"), (480, "dark")])
def test_it_fits_the_window_in_either_theme(panel: PanelPage, width: int, theme: str) -> None:
    panel.page.set_viewport_size({"width": width, "height": 900})
    panel.open(f"/?__theme={theme}")
    panel.choose("studio", "eight")
    panel.picture(f"{theme}_{width}")
    assert panel.js("document.documentElement.scrollWidth") <= width
    ink = panel.js("getComputedStyle(document.querySelector('#dc_board svg')).color")
    light = sum(int(part) for part in ink.removeprefix("rgb(").rstrip(")").split(",")) / 3
    assert (light > 128) is (theme == "dark")


def test_it_is_a_tab_of_a_host_too(python: Path, tab: Any, pictures: Path, tmp_path: Path) -> None:
    process = PanelProcess(python, tmp_path, tmp_path / "library")
    fill(process.library)
    process.start_tab()
    try:
        panel = PanelPage(tab, process, pictures, python.parts[-3])
        tab.goto(process.url)
        panel.go_to("DC-Solver")
        panel.draws("7 steps · CFG 4", FITTED.predict(7, 4.0).ratios)
        panel.choose("studio", "eight")
        panel.set("cfg", 5.5)
        panel.draws("7 steps · CFG 5.5", FITTED.predict(7, 5.5).ratios)
        panel.picture("tab")
        panel.go_to("Calibrate")
        tab.locator("#host_checkpoint").wait_for()
        assert not panel.errors and "Traceback" not in process.log.read_text()
    finally:
        process.stop()


def test_with_a_password_the_browser_asks_for_it(
    python: Path, tab: Any, pictures: Path, tmp_path: Path
) -> None:
    process = PanelProcess(python, tmp_path, tmp_path / "library")
    fill(process.library)
    process.start_locked()
    browser = tab.context.browser
    try:
        assert browser.new_context().request.get(process.url).status == 401
        known = {"username": "artist", "password": PASSWORD}
        context = browser.new_context(http_credentials=known)
        page = context.new_page()
        panel = PanelPage(page, process, pictures, python.parts[-3])
        panel.open()
        panel.set("cfg", 5.5)
        panel.draws("7 steps · CFG 5.5", FITTED.predict(7, 5.5).ratios)
        context.close()
        secret = base64.b64encode(f"artist:{PASSWORD}".encode()).decode()
        log = process.log.read_text()
        assert PASSWORD not in log and secret not in log
    finally:
        process.stop()


def test_it_ends_when_it_is_interrupted(python: Path, tmp_path: Path) -> None:
    process = PanelProcess(python, tmp_path, tmp_path / "library")
    process.start()
    running = process._process
    assert running is not None
    running.send_signal(signal.SIGINT)
    try:
        assert running.wait(60) == 0
    except subprocess.TimeoutExpired:
        running.kill()
        raise
    told = process.log.read_text()
    assert "Traceback" not in told and "Ctrl+C ends it" in told
