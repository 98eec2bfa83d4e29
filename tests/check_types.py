"""Runs mypy over the pack under the name it is installed with (the checkout may have any name)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("solvers", "ratios", "demo", "nodes", "scripts.webui", "web")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dc_solver").symlink_to(ROOT, target_is_directory=True)
        packages = [argument for part in PARTS for argument in ("-p", f"dc_solver.{part}")]
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
        command += ["--cache-dir", str(ROOT / ".mypy_cache"), *packages]
        return subprocess.run(
            command, cwd=folder, env={**os.environ, "MYPYPATH": folder}
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
