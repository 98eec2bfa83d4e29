"""install.py tells what is missing, and installs nothing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
sys.path.insert(0, sys.argv[2])
import conftest, math, torch
from dc_solver.ratios import calibrate
from dc_solver.solvers import VPSchedule, sample
how = {"schedule": VPSchedule(math.atan)}
model = lambda x, sigma: x / (1.0 + sigma.view(-1, 1) ** 2)
grid = [14.6, 6.0, 2.0, 0.5, 0.1, 0.0]
x = torch.randn(6, 3) * grid[0]
sample(model, x, grid, disable=True, **how)
try:
    calibrate(model, x, grid, check=2, **how)
except ImportError as error:
    print("sampled,", error)
else:
    print("sampled, calibrated")
"""


@pytest.mark.parametrize(
    ("package", "told"),
    [
        ("matplotlib", "sampled, calibrated"),
        ("gradio", "sampled, calibrated"),
        ("scipy", "sampled, No module named 'scipy"),
    ],
)
def test_without_a_package_the_rest_works_and_the_message_names_it(package: str, told: str) -> None:
    command = [sys.executable, "-c", WITHOUT, package, str(ROOT / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(told), done.stderr


STOPPED = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
import dev
dev.stop_together()
dev.run(sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
"""


@pytest.mark.skipif(os.name == "nt", reason="there a signal ends nothing gently")
def test_what_dev_runs_ends_with_it() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(ROOT)], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        inner = int(command.stdout.readline())
        command.terminate()
        assert command.wait(timeout=30) == 143
    with pytest.raises(ProcessLookupError):
        os.kill(inner, 0)
