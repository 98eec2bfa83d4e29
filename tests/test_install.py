"""install.py tells what is missing, and installs nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent


def installer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dc_solver_install", ROOT / "install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_missing_is_named() -> None:
    lacking = installer().missing("numpy>=1.26\nno-such-package>=1.0\nnumpy>=99.0\n# words\n")
    assert len(lacking) == 2
    assert lacking[0] == "no-such-package>=1.0 (not installed)"
    assert lacking[1].startswith("numpy>=99.0 (found ")


def test_nothing_is_missing_here() -> None:
    assert installer().main() == 0
