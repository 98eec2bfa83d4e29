"""Loads the pack's root once, under the name it has when installed with pip; shared fixtures."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

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
for folder in HELPERS:
    sys.path.insert(0, str(ROOT / folder))


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
