"""Fixtures of the host tests: they skip, saying why, where no host is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import forge_server
import pytest
from browser import CPR, EIGHT, FITTED, RATIOS, Front, new_tab, picture_folder
from comfy_server import ComfyServer, install
from dc_solver import ratios
from dc_solver.ratios import RatioSchedule
from forge_server import ForgeServer


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    server = ComfyServer(*install(), tmp_path_factory.mktemp("comfyui"))
    with server.running():
        yield server


@pytest.fixture(autouse=True)
def empty_library(request: pytest.FixtureRequest) -> None:
    """Each test starts without calibrations, which the sampler would find."""
    if "comfy" in request.fixturenames:
        comfy = request.getfixturevalue("comfy")
        comfy.clear_library()
        comfy.library.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def front(comfy: ComfyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    pictures = picture_folder(tmp_path_factory)
    with new_tab() as page:
        page.add_init_script(path=Path(__file__).with_name("page.js"))
        page.on("dialog", lambda dialog: dialog.accept())
        yield Front(page, comfy, pictures)


@pytest.fixture
def shelf(comfy: ComfyServer, front: Front, empty_library: None) -> Iterator[None]:
    """Files to choose from; and nothing of ours in the browser's log."""
    ratios.save(FITTED, comfy.library / CPR)
    ratios.save(RatioSchedule(EIGHT, cfg=7.0), comfy.library / RATIOS)
    (comfy.library / "broken.safetensors").write_bytes(b"nothing of ours")
    front.failures.clear()
    yield
    assert not front.failures


@pytest.fixture(scope="session")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForgeServer]:
    server = ForgeServer(*forge_server.install(), tmp_path_factory.mktemp("forge"))
    with server.running():
        yield server
