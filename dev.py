"""Sets up this checkout and runs it; needs nothing but Python 3.10 or newer.

python3 dev.py demo     the demo, in an environment of its own (options as for the demo);
                        calibrate, predict and panel work the same way
python3 dev.py test     style, types and all tests, as CI runs them (options as for pytest)
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENV = ROOT / ".venv"
BIN = ENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")


def prepare() -> None:
    """Make the environment and install requirements-dev.txt, where that has not been done."""
    wanted = hashlib.sha256()
    for name in ("requirements.txt", "requirements-dev.txt"):
        wanted.update((ROOT / name).read_bytes())
    wanted.update(sys.version.encode())
    stamp = ENV / "installed.sha256"
    if stamp.is_file() and stamp.read_text() == wanted.hexdigest():
        return
    print("making .venv and installing requirements-dev.txt: some minutes", flush=True)
    venv.create(ENV, with_pip=True, clear=True)
    run(str(PYTHON), "-m", "pip", "install", "--quiet", "-r", "requirements-dev.txt")
    stamp.write_text(wanted.hexdigest())


def run(*command: str) -> None:
    """Run a command in the checkout; on failure end with its status."""
    status = subprocess.run(command, cwd=ROOT).returncode
    if status:
        sys.exit(status)


def stop_together() -> None:
    """Whoever ends this ends the command that it runs, which would go on otherwise."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def main() -> None:
    if sys.version_info < (3, 10):
        sys.exit(f"dev.py: expected Python 3.10 or newer, got {sys.version.split()[0]}.")
    stop_together()
    command, *rest = sys.argv[1:] or ["help"]
    if command not in ("demo", "calibrate", "predict", "panel", "test"):
        sys.exit(__doc__)
    prepare()
    if command != "test":
        run(str(PYTHON), ".", command, *rest)
        return
    run(str(PYTHON), "-m", "ruff", "check", ".")
    run(str(PYTHON), "-m", "ruff", "format", "--check", ".")
    run(str(PYTHON), "tests/check_types.py")
    run(str(PYTHON), "-m", "pytest", *rest)


if __name__ == "__main__":
    main()
