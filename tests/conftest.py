"""Loads the pack's root once, under the name it has when installed with pip; shared fixtures."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def load_pack() -> None:
    if "dc_solver" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "dc_solver", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dc_solver"] = module
    spec.loader.exec_module(module)


load_pack()
torch.set_num_threads(1)  # tiny tensors: threads cost more than they save
HELPERS = ("tests", "tests/host", "tests/reliability", "benchmarks")  # modules that tests share
for part in HELPERS:
    sys.path.insert(0, str(ROOT / part))


@pytest.fixture
def webui(tmp_path: Path) -> Iterator[dict[str, ModuleType]]:
    """The host's modules in place, and the adapter loaded against them alone."""
    import webui_host as host

    stand_ins = host.modules(tmp_path)
    sys.modules.update(stand_ins)
    yield stand_ins
    for name in stand_ins:
        del sys.modules[name]
    host.forget("dc_solver.scripts")
    host.forget("sd_webui_dc_solver")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of the panel's calibrations; nothing has made it yet."""
    return tmp_path / "models" / "dc_ratios"


@pytest.fixture
def library(folder: Path) -> Any:
    """Three good files and a broken one; the oldest first: found, kept, cpr, broken."""
    from dc_solver import ratios
    from dc_solver.web.panel.shelf import Shelf
    from panel_library import FITTED, FOUND, KEPT

    for age, (name, obj) in enumerate([("found", FOUND), ("kept", KEPT), ("cpr", FITTED)]):
        path = ratios.save(obj, folder / f"{name}.safetensors")
        os.utime(path, (1000 + age, 1000 + age))
    (folder / "broken.safetensors").write_bytes(b"nothing of ours")
    os.utime(folder / "broken.safetensors", (1003, 1003))
    return Shelf(lambda: folder)
