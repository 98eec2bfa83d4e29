"""Agreement with diffusers' schedulers on the same grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dc_solver.solvers import SOLVERS
from outside import METHODS, difference, middle_of_diffusers

pytest.importorskip("diffusers", reason="needs diffusers, of requirements-dev.txt")
#: Theirs: of numpy, and of the noise-prediction solvers, which it is giving up.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def middle_as_in_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dpm_3", "dpmpp_3s"):
        monkeypatch.setitem(SOLVERS, name, middle_of_diffusers(SOLVERS[name]))


@pytest.mark.usefixtures("middle_as_in_diffusers")
@pytest.mark.parametrize("kind", ["vp", "flow"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m[0]}-{m[1]}-{m[2]}")
def test_agrees_with_diffusers(method: Any, kind: str) -> None:
    if method[2] == "DDIMScheduler" and kind == "flow":
        pytest.skip("diffusers' DDIM has no flow")
    assert difference(*method, kind) < 1e-4


def test_every_solver_is_held_against_somebody_else_s() -> None:
    """By diffusers here, or by ComfyUI's samplers in tests/host/agreement.py."""
    script = (Path(__file__).parent / "host" / "agreement.py").read_text(encoding="utf-8")
    by_comfyui = {name for name in SOLVERS if f'"{name}"' in script}
    assert set(SOLVERS) == by_comfyui | {method[0] for method in METHODS}
