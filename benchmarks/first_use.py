"""What the pack costs before and beside a sampling: import, fingerprint, a look in the library.

    python benchmarks/first_use.py
    COMFYUI_PATH=... COMFYUI_PYTHON=... python benchmarks/first_use.py

The import is timed inside a real ComfyUI where one is given, with what it adds to the loaded
modules; else alone, on top of torch and numpy.  The fingerprint and the library are timed on models
and folders of several sizes.  Medians over the runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import load_pack
import torch

RUNS = 7
INSIDE = """
import importlib.util, json, sys, time
host, root = sys.argv[1], sys.argv[2]
if host:
    sys.path.insert(0, host); sys.argv = ["main", "--cpu"]
    import comfy.options; comfy.options.enable_args_parsing()
    import comfy.samplers, folder_paths, latent_preview, comfy_execution.graph_utils
    import aiohttp.web
else:
    import torch, numpy, safetensors.numpy, tqdm.auto
before = set(sys.modules)
spec = importlib.util.spec_from_file_location("dc_pack", root + "/__init__.py",
    submodule_search_locations=[root])
pack = importlib.util.module_from_spec(spec); sys.modules["dc_pack"] = pack
began = time.perf_counter()
spec.loader.exec_module(pack)
if not host: pack.solvers.sample, pack.ratios.calibrate
seconds = time.perf_counter() - began
top = lambda names: {name.split(".")[0] for name in names}
tops = sorted(top(sys.modules) - top(before) - {"dc_pack"})
print(json.dumps([seconds, tops]))
"""


def median(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def show_import() -> None:
    host = os.environ.get("COMFYUI_PATH", "")
    python = os.environ.get("COMFYUI_PYTHON", sys.executable) if host else sys.executable
    found = []
    for _ in range(RUNS):
        command = [python, "-c", INSIDE, host, str(load_pack.ROOT)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(json.loads(answer.stdout.splitlines()[-1]))
    where = "inside ComfyUI" if host else "alone, over torch and numpy"
    seconds = statistics.median(seconds for seconds, _ in found)
    others = [name for name in found[0][1] if name not in sys.stdlib_module_names]
    print(f"import {where}: {1000 * seconds:.0f} ms; adds {', '.join(others) or 'nothing'}")


def show_fingerprint() -> None:
    from dc_solver.ratios.fingerprint import fingerprint

    print(f"\n{'weights':>14} {'bytes':>10} {'fingerprint':>12} {'hash over all':>14}")
    for layers, width, dtype in ((100, 256, torch.float32), (400, 1024, torch.float16),
                                 (400, 1792, torch.float8_e4m3fn)):  # fmt: skip
        values = torch.randn(width, width)
        weights = {f"block.{k:03d}.weight": values.to(dtype, copy=True) for k in range(layers)}
        size = sum(w.numel() * w.element_size() for w in weights.values())
        short = median(lambda weights=weights: fingerprint(weights))  # type: ignore[misc]
        began = time.perf_counter()
        for weight in weights.values():
            torch.signbit(weight.float()).sum()
        full = time.perf_counter() - began
        print(f"{layers:4d} x {width}^2 {size / 2**20:7.0f} MB {1000 * short:9.2f} ms "
              f"{1000 * full:11.0f} ms")  # fmt: skip


def show_library() -> None:
    from dc_solver.demo import grids
    from dc_solver.ratios import Identity, RatioSchedule, save, settings_of
    from dc_solver.ratios.library import Library
    from dc_solver.ratios.lookup import Run, choose
    from dc_solver.solvers import VPSchedule

    table = torch.linspace(0.03, 14.6, 1000)
    sigmas = tuple(grids.make_sigmas("karras", table, 8, flow=False).tolist())
    one = RatioSchedule((1.0,) * 8, sigmas=sigmas, cfg=7.0, identity=Identity("model 0"))
    run = Run(sigmas, 7.0, Identity("model 1"), settings_of(one), VPSchedule(), lambda *_: None)
    print(f"\n{'files':>6} {'first look':>12} {'later':>10}")
    for count in (1, 30, 1000):
        with tempfile.TemporaryDirectory() as folder:
            files = []
            for k in range(count):
                path = Path(folder) / f"{k}.safetensors"
                save(replace(one, identity=Identity(f"model {k % 30}")), path)
                files.append((path.name, path))
            library = Library()
            look = lambda: choose(library.entries(files)[0], run)  # noqa: B023, E731
            began = time.perf_counter()
            look()
            first = time.perf_counter() - began
            print(f"{count:6d} {1000 * first:9.1f} ms {1000 * median(look):7.2f} ms")


if __name__ == "__main__":
    show_import()
    show_fingerprint()
    show_library()
