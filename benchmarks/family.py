"""The table of the solver family: what each claims, and what was measured of it.

    .venv/bin/python benchmarks/family.py

Slopes are measured on Gaussian data with exact outputs before the start and no lowering of the
order; the difference to diffusers is the largest in any element of the final state over several
grids.  With ``COMFYUI_PATH`` and ``COMFYUI_PYTHON`` ComfyUI's own samplers are compared too.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import load_pack  # noqa: E402, F401
from convergence import settings_for, slope  # noqa: E402
from dc_solver.solvers import SOLVERS, Solver  # noqa: E402
from outside import METHODS, difference, middle_of_diffusers  # noqa: E402

KINDS = ("vp", "flow")
#: ComfyUI's functions, by what their names in ``tests/host/agreement.py`` begin with.
COMFYUI = {
    "ddim": "sample_euler",
    "dpmpp_2m": "sample_dpmpp_2m",
    "dpm_1": "dpm_solver_1_step",
    "dpm_2": "dpm_solver_2_step",
    "dpm_3": "dpm_solver_3_step",
    "ipndm": "sample_ipndm",
    "deis_tab": "sample_deis tab",
    "deis_rhoab": "sample_deis rhoab",
    "dpm_12": "sample_dpm_adaptive, order 2",
    "dpm_23": "sample_dpm_adaptive, order 3",
}


def main() -> None:
    comfyui = comfyui_differences()
    print("| solver | `solver=` | order | slope, VP | slope, flow | calls an interval | of them "
          "in a step | ratios | agrees with, to |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for entry in SOLVERS.values():
        slopes = [slopes_of(entry, kind) for kind in KINDS]
        order = f"{entry.order}" if entry.order else f"1 to {entry.max_order}"
        plus = " + 1 (UniC)" if entry.corrector else ""
        calls = "its own" if entry.calls_per_step is None else f"{entry.calls_per_step}"
        step = "2 or 3" if entry.kind == "adaptive" else f"{entry.spans}"
        step = f"{entry.order}" if entry.kind == "adaptive" else step
        adaptive = ", adaptive" if entry.kind == "adaptive" else ""
        print(f"| {entry.label}{adaptive} | `{entry.name}` | {order}{plus} | {slopes[0]} | "
              f"{slopes[1]} | {calls} | {step} | {'yes' if entry.compensates else 'no'} | "
              f"{agreement(entry, comfyui)} |")  # fmt: skip


def slopes_of(entry: Solver, kind: str) -> str:
    """One slope an order; that of UniC, where it acts, is one more."""
    if entry.kind == "adaptive":
        return "by tolerance"
    return ", ".join(f"{slope(kind, settings_for(entry.name, p)):.2f}" for p in entry.orders)


def agreement(entry: Solver, comfyui: dict[str, float]) -> str:
    told = []
    theirs = [method for method in METHODS if method[0] == entry.name]
    if theirs:
        own, worst = SOLVERS[entry.name], 0.0
        if entry.order == 3 and entry.kind == "singlestep":
            SOLVERS[entry.name] = middle_of_diffusers(entry)
        for method in theirs:
            for kind in KINDS:
                if method[2] == "DDIMScheduler" and kind == "flow":
                    continue
                # It prints what it changes in its own settings.
                with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                    warnings.simplefilter("ignore")
                    worst = max(worst, difference(*method, kind))
        but = " but for the middle stage" if SOLVERS[entry.name] is not own else ""
        SOLVERS[entry.name] = own
        told.append(f"diffusers{but}, {worst:.0e}")
    name = COMFYUI.get(entry.name)
    values = [value for key, value in comfyui.items() if name and key.startswith(name)]
    if name and values:
        told.append(f"ComfyUI's `{name.split(',')[0]}`, {max(values):.0e}")
    return "; ".join(told) or "the transcription in the tests"


def comfyui_differences() -> dict[str, float]:
    path, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if not path or not python:
        print("COMFYUI_PATH and COMFYUI_PYTHON are not set: ComfyUI is left out", file=sys.stderr)
        return {}
    script = ROOT / "tests/host/agreement.py"
    command = [python, str(script), path, str(ROOT), str(ROOT / "tests")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
