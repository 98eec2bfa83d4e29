"""The tests under the oldest and the newest Python, torch and numpy that the pack names.

    python tests/reliability/matrix.py [--folder FOLDER] [--corner 0] [pytest's own options]

Makes an environment for each corner in FOLDER (kept: a second time nothing is installed), with the
Pythons found on the path or in pyenv, and runs the tests there.  A corner whose Python is missing,
or for which there are no wheels, is told and left out.  Ends with status 1 where tests
fail.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: What the tests take beside torch and numpy; diffusers and mypy are pinned for one Python alone.
BESIDE = ("scipy", "safetensors", "matplotlib", "tqdm", "pytest>=8.3,<10", "hypothesis>=6.100,<7")


@dataclass(frozen=True)
class Corner:
    """``gradio`` is that of the panel, with what it needs as it was then: it does not start with
    the newest."""

    python: str
    torch: str
    numpy: str
    gradio: str


CORNERS = (
    Corner(
        "3.10",
        "torch==2.1.2",
        "numpy==1.26.4",
        "gradio==4.44.1 huggingface_hub<1 fastapi<0.116 pydantic<2.11",
    ),
    Corner("3.10", "torch>=2.9", "numpy>=2", "gradio>=6"),
    Corner("3.12", "torch==2.2.2", "numpy==1.26.4", "gradio>=5,<6"),
    Corner("3.13", "torch>=2.9", "numpy>=2.1", "gradio>=6"),
)


def find_python(version: str) -> str | None:
    """The command of this Python, from the path or from pyenv."""
    found = shutil.which(f"python{version}")
    if found is not None and _works(found, version):
        return found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for folder in sorted(root.glob(f"{version}.*"), reverse=True):
        if _works(str(folder / "bin" / "python"), version):
            return str(folder / "bin" / "python")
    return None


def _works(python: str, version: str) -> bool:
    code = "import sys; print('.'.join(map(str, sys.version_info[:2])))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == version


def prepare(corner: Corner, folder: Path) -> Path | str:
    """The Python of the corner's environment, or why there is none."""
    python = find_python(corner.python)
    if python is None:
        return f"no Python {corner.python} here"
    inside = folder / "bin" / "python"
    done = folder / "installed"
    packages = [corner.torch, corner.numpy, *corner.gradio.split(), *BESIDE]
    if done.exists() and done.read_text(encoding="utf-8") == " ".join(packages):
        return inside
    subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
    install = [str(inside), "-m", "pip", "install", "--quiet", *packages]
    got = subprocess.run(install, capture_output=True, text=True, check=False)
    if got.returncode:
        errors = [line for line in got.stderr.splitlines() if line.startswith("ERROR")]
        return f"not installed: {' '.join(errors)[:300]}"
    done.write_text(" ".join(packages), encoding="utf-8")
    return inside


def versions(python: Path) -> str:
    code = (
        "import sys, torch, numpy, gradio; print(f'Python {sys.version.split()[0]}, "
        "torch {torch.__version__}, numpy {numpy.__version__}, gradio {gradio.__version__}')"
    )
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr.strip()[-200:]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the tests in the corners of the versions.")
    parser.add_argument("--folder", type=Path, default=ROOT / ".matrix")
    parser.add_argument("--corner", type=int, action="append", help="one of them; may be repeated")
    options, rest = parser.parse_known_args()
    failed = False
    # Of the hosts another command tells: they have a Python of their own.
    alone = {k: v for k, v in os.environ.items() if not k.startswith(("COMFYUI_", "FORGE_"))}
    for number in options.corner or range(len(CORNERS)):
        python = prepare(CORNERS[number], options.folder / str(number))
        if isinstance(python, str):
            print(f"corner {number}: {python}", flush=True)
            continue
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *rest]
        done = subprocess.run(
            command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False
        )
        lines = done.stdout.strip().splitlines()
        print(f"corner {number}: {versions(python)}: {lines[-1] if lines else done.stderr[-300:]}",
              flush=True)  # fmt: skip
        if done.returncode:
            failed = True
            print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR"))))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
