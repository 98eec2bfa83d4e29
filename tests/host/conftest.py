"""Fixtures of the host tests: they skip, saying why, where no host is given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    path, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if not path or not python:
        pytest.skip("needs a ComfyUI: set COMFYUI_PATH to its folder and COMFYUI_PYTHON to its "
                    "Python")  # fmt: skip
    server = ComfyServer(Path(path), Path(python), tmp_path_factory.mktemp("comfyui"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def empty_library(request: pytest.FixtureRequest) -> None:
    """Each test starts without calibrations, which the sampler would find."""
    if "comfy" in request.fixturenames:
        comfy = request.getfixturevalue("comfy")
        comfy.clear_library()
        comfy.library.mkdir(parents=True, exist_ok=True)
