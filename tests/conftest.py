"""Loads the pack's root once, under the name it has when installed with pip."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

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
