"""Loads this checkout as the package ``dc_solver``, whatever its folder is called."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if "dc_solver" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        "dc_solver", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dc_solver"] = module
    spec.loader.exec_module(module)
