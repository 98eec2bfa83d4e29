"""The tab in a real Forge: calibrate, interrupt, use the result; the accordion and its paste."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import new_tab, picture_folder
from comfy_server import ComfyServer
from dc_solver import ratios
from dc_solver.ratios import CPR, RatioSchedule
from forge_server import ForgeServer
from graphs import node

ACCORDION = "#txt2img_script_container"


class Tab:
    """The page of a user of the WebUI."""

    def __init__(self, page: Any, pictures: Path) -> None:
        self.page = page
        self.pictures = pictures

    def open(self, name: str) -> None:
        self.page.locator(f"#tabs > .tab-nav > button:has-text('{name}')").first.click()

    def calibrate(self, **fields: str) -> None:
        """Fill the fields and start."""
        self.open("DC-Solver")
        self.page.locator("#dc_panel .tab-nav button:has-text('Calibrate')").click()
        for name, value in fields.items():
            field = self.page.locator(f"#dc_solver_{name}")
            kinds = "input[type=number], textarea, input[type=text], input[role=listbox]"
            box = field.locator(kinds).first
            box.fill(value)
            if name in ("solver", "corrector"):
                box.press("Enter")
            box.press("Tab")
        self.page.locator("#dc_solver_calibrate").click()

    def says(self, pattern: str, seconds: float = 400.0) -> str:
        """Wait for these words in the bar."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.page.locator("#dc_solver_progress").inner_text()
            if re.search(pattern, text):
                return str(text)
            self.page.wait_for_timeout(100)
        raise AssertionError(f"expected {pattern}, the bar says {text!r}")

    def picture(self, name: str) -> None:
        self.page.wait_for_timeout(500)
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=True)


@pytest.fixture(scope="module")
def tab(forge: ForgeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    pictures = picture_folder(tmp_path_factory)
    with new_tab() as page:
        load(page, forge)
        yield Tab(page, pictures)


def load(page: Any, forge: ForgeServer) -> None:
    page.goto(f"{forge.url}/?__theme=dark")
    page.wait_for_selector("#tabs > .tab-nav > button", timeout=120000)
    page.wait_for_timeout(4000)


@pytest.fixture(autouse=True)
def empty(forge: ForgeServer) -> None:
    forge.library.mkdir(parents=True, exist_ok=True)
    for file in forge.library.iterdir():
        file.unlink()


SMALL = {"width": "64", "height": "64", "seeds": "2", "check": "1"}


def test_a_calibration_is_made_saved_and_used(forge: ForgeServer, tab: Tab) -> None:
    tab.calibrate(**SMALL, **{"steps": "4", "cfgs": "6", "name": "made here"})
    tab.says(r"\d+ of about \d+ model calls")
    tab.picture("forge-calibrating")
    tab.says("saved as made here.safetensors")
    report = tab.page.locator("#dc_solver_report textarea").input_value()
    assert "4 steps at CFG 6 on simple" in report
    tab.picture("forge-calibrated")
    found = ratios.load(forge.library / "made here.safetensors")
    assert isinstance(found, RatioSchedule) and found.report is not None
    assert found.steps == 4 and found.cfg == 6.0 and found.identity.prediction == "eps"
    assert found.report.points == 2 and found.report.check_points == 1
    run = forge.txt2img(steps=4, cfg_scale=6.0)
    used = "DC file: made here.safetensors" in run.infotext
    assert used, run.infotext
    assert len(run.x) == 4


def test_a_calibration_of_another_solver_is_found_for_it_alone(
    forge: ForgeServer, tab: Tab
) -> None:
    tab.calibrate(**SMALL, **{"steps": "4", "cfgs": "6", "name": "ddim", "solver": "ddim"})
    tab.says("saved as ddim.safetensors")
    found = ratios.load(forge.library / "ddim.safetensors")
    assert isinstance(found, RatioSchedule) and found.solver == "ddim" and found.order == 1
    assert found.report is not None
    # The tests' recorder listens to each call, so no reference of an earlier calibration may serve.
    assert found.report.calls["reference"] > 28 * 3
    tab.calibrate(solver="dc_solver", steps="2")  # back, for the tests that follow
    tab.says("steps: expected 3 or more, got 2", 30)
    # The solver stands behind the seven fields that were there before it.
    args = ["Automatic", "", 2, 2, "bh2", "automatic", "", "ddim"]
    run = forge.txt2img(
        steps=4, cfg_scale=6.0, alwayson_scripts={"DC-Solver": {"args": args}}
    )  # fmt: skip
    used = "DC solver: ddim" in run.infotext and "DC file: ddim.safetensors" in run.infotext
    assert used, run.infotext
    assert len(run.x) == 4
    assert "DC ratios: none" in forge.txt2img(steps=4, cfg_scale=6.0).infotext


def test_several_settings_make_a_cpr(forge: ForgeServer, tab: Tab) -> None:
    fields = {**SMALL, "check": "0"}
    tab.calibrate(**fields, **{"steps": "4, 5", "cfgs": "3 6", "name": "any"})
    tab.says("saved as any.safetensors")
    found = ratios.load(forge.library / "any.safetensors")
    assert isinstance(found, CPR)
    assert found.steps_range == (4, 5) and found.cfg_range == (3.0, 6.0)
    # A cell next to one at CFG 1, at which the host knows no negative prompt, is as it is alone.
    tab.calibrate(**fields, **{"steps": "4", "cfgs": "1 6", "name": "both"})
    tab.says("saved as both.safetensors")
    tab.calibrate(**fields, **{"steps": "4", "cfgs": "6", "name": "alone"})
    tab.says("saved as alone.safetensors")
    both = ratios.load(forge.library / "both.safetensors")
    alone = ratios.load(forge.library / "alone.safetensors")
    assert isinstance(both, CPR) and isinstance(alone, RatioSchedule)
    (cell,) = [one for one in both.fitted if one.cfg == 6.0]
    assert cell.ratios == pytest.approx(alone.ratios, abs=0.02)


def test_interrupt_stops_it_and_saves_nothing(forge: ForgeServer, tab: Tab) -> None:
    right = forge.txt2img().images
    tab.calibrate(**{**SMALL, "seeds": "10"},
                  **{"steps": "10", "cfgs": "6", "name": "never"})  # fmt: skip
    tab.says(r"[1-9]\d* of about \d+ model calls")
    tab.page.locator("#dc_solver_interrupt").click()
    tab.says("stopped; nothing was saved", 30)
    assert not list(forge.library.iterdir())
    assert forge.txt2img().images == right


def test_a_second_page_follows_the_calibration_that_runs(forge: ForgeServer, tab: Tab) -> None:
    """And does not begin another, at once or afterwards."""
    tab.calibrate(**{**SMALL, "seeds": "10"},
                  **{"steps": "10", "cfgs": "6", "name": "first"})  # fmt: skip
    tab.says(r"[1-9]\d* of about \d+ model calls")
    page = tab.page.context.browser.new_context().new_page()
    load(page, forge)
    second = Tab(page, tab.pictures)
    second.calibrate(**SMALL, **{"steps": "4", "cfgs": "6", "name": "second"})
    second.says(r"running already, this is not begun: [1-9]\d* of about \d+ model calls", 60)
    page.locator("#dc_solver_interrupt").click()
    second.says("stopped; nothing was saved", 60)
    page.context.close()
    tab.says("stopped; nothing was saved", 60)
    assert not list(forge.library.iterdir())


def test_bad_fields_are_told(forge: ForgeServer, tab: Tab) -> None:
    tab.calibrate(**SMALL, **{"steps": "a few", "cfgs": "6", "name": "x"})
    tab.says("steps: expected numbers", 30)
    tab.calibrate(**SMALL, **{"steps": "2", "cfgs": "6", "name": "x"})
    tab.says("steps: expected 3 or more, got 2", 30)


def test_the_infotext_pastes_into_the_accordion(forge: ForgeServer, tab: Tab) -> None:
    tab.open("Txt2img")
    box = tab.page.locator("#txt2img_prompt textarea")
    infotext = (
        "a fox\nSteps: 5, Sampler: DC-Solver, Schedule type: Simple, CFG scale: 6, Seed: 3, "
        "Size: 64x64, DC ratios: 1 1 1.12 0.91 1.05, DC order: 3, DC solver: ipndm, "
        "DC corrector: on, DC Langevin strength: 0.15, DC max calls: 50"
    )
    box.fill(infotext)
    tab.page.locator("#paste").first.click()
    tab.page.wait_for_timeout(3000)
    script = tab.page.locator(ACCORDION)
    script.locator(".label-wrap:has-text('DC-Solver')").first.click()
    tab.page.wait_for_timeout(1000)
    tab.picture("forge-accordion")
    assert script.get_by_label("Typed ratios").input_value() == "1 1 1.12 0.91 1.05"
    assert script.get_by_label("Order", exact=True).input_value() == "3"
    assert script.get_by_label("Ratios", exact=True).input_value() == "As typed"
    assert script.get_by_label("Solver", exact=True).input_value() == "ipndm"
    script.locator(".label-wrap:has-text('More settings')").first.click()
    tab.page.wait_for_timeout(1000)
    tab.picture("forge-accordion-more")
    assert script.get_by_label("Corrector", exact=True).input_value() == "on"
    assert script.get_by_label("Langevin strength").input_value() == "0.15"
    assert script.get_by_label("Most model calls").input_value() == "50"
    assert script.get_by_label("Error of a step").input_value() == "0.05"


def test_a_calibration_of_the_tab_is_found_by_comfyui(
    forge: ForgeServer, tab: Tab, comfy: ComfyServer
) -> None:
    """By itself, for the same checkpoint; and its loader node reads the file."""
    tab.calibrate(**SMALL, **{"steps": "4", "cfgs": "6", "name": "shared"})
    tab.says("saved as shared.safetensors")
    content = (forge.library / "shared.safetensors").read_bytes()
    (comfy.library / "shared.safetensors").write_bytes(content)
    checkpoints = comfy.folder / "models" / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    (checkpoints / forge.checkpoint.name).symlink_to(forge.checkpoint)
    text = {"clip": ["ckpt", 1]}
    graph = {
        "load": node("DCSolverLoadRatios", file="shared.safetensors"),
        "plot": node("DCSolverPlotRatios", ratios=["load", 0]),
        "ckpt": node("CheckpointLoaderSimple", ckpt_name=forge.checkpoint.name),
        "positive": node("CLIPTextEncode", **text, text="a fox"),
        "negative": node("CLIPTextEncode", **text, text=""),
        "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "ks": node("DCSolverKSampler", model=["ckpt", 0], positive=["positive", 0],
                   negative=["negative", 0], latent_image=["latent", 0], seed=3, steps=4, cfg=6.0,
                   scheduler="simple", denoise=1.0),
        "keep": node("SaveLatent", samples=["ks", 0], filename_prefix="shared"),
    }  # fmt: skip
    shown = comfy.run(graph)
    assert "4 steps at CFG 6 on simple" in shown["plot"]["text"][0]
    assert "(shared.safetensors in the library)" in shown["ks"]["text"][0]
