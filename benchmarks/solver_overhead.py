"""Time and memory a step outside the model, against ComfyUI's uni_pc, in one run.

    COMFYUI_PATH=... python benchmarks/solver_overhead.py

The model returns a ready tensor, so all the time is the solver's.  Each pair of runs is taken in
turn; medians and the median of the paired ratios are printed.  ComfyUI's uni_pc takes 4-D latents
alone, so it gets the video latent with two axes folded.  Run it with ComfyUI's own Python or any
with this pack's requirements.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import load_pack  # noqa: F401
import torch

sys.path.append(os.environ["COMFYUI_PATH"])
from comfy.extra_samplers.uni_pc import sample_unipc_bh2
from dc_solver.solvers import VPSchedule, sample
from live_bytes import LiveBytes

SHAPES = ((1, 4, 128, 128), (1, 16, 128, 128), (1, 16, 21, 60, 104))
STEPS = 8
PAIRS = 25
Run = Callable[[torch.Tensor], Any]


def main() -> None:
    sigmas = torch.linspace(2.6, -2.6, STEPS).exp()
    sigmas = torch.cat([sigmas, torch.zeros(1)])
    ratios = [1.0, 1.0] + [1.1] * (STEPS - 2)
    schedule = VPSchedule(lambda sigma: sigma)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {STEPS} steps, "
          f"{PAIRS} pairs; milliseconds a step outside the model, medians")  # fmt: skip
    print(f"{'latent':>20} {'ComfyUI uni_pc_bh2':>19} {'UniPC-3 here':>13} {'ratio':>6} "
          f"{'DC-Solver-2 here':>17} {'ratio':>6} {'latents: theirs / ours':>24}")  # fmt: skip
    for shape in SHAPES:
        folded = shape if len(shape) == 4 else (*shape[:3], shape[3] * shape[4])
        x = torch.randn(shape)
        out = torch.randn(shape)

        def ready(latent: torch.Tensor, sigma: Any, out: Any = out, **_: Any) -> torch.Tensor:
            return out.view(latent.shape)

        def theirs(x: torch.Tensor, folded: Any = folded, model: Any = ready) -> Any:
            return sample_unipc_bh2(model, x.view(folded), sigmas, extra_args={}, disable=True)

        def plain(x: torch.Tensor, model: Any = ready) -> Any:
            return sample(model, x, sigmas, solver="unipc", order=3, schedule=schedule,
                          lower_order="final", disable=True)  # fmt: skip

        def compensated(x: torch.Tensor, model: Any = ready) -> Any:
            return sample(model, x, sigmas, ratios=ratios, schedule=schedule, disable=True)

        times = in_turn((theirs, plain, compensated), x)

        def fresh(latent: torch.Tensor, sigma: Any, out: Any = out, **_: Any) -> torch.Tensor:
            return out.view(latent.shape).clone()

        peaks = [
            extra_latents(lambda x, run=run: run(x, model=fresh), x)
            for run in (theirs, compensated)
        ]
        medians = [1000.0 * statistics.median(t) / STEPS for t in times]
        paired = [statistics.median(a / b for a, b in zip(t, times[0])) for t in times]
        print(f"{'x'.join(map(str, shape)):>20} {medians[0]:19.3f} {medians[1]:13.3f} "
              f"{paired[1]:6.2f} {medians[2]:17.3f} {paired[2]:6.2f} "
              f"{peaks[0]:14.1f} / {peaks[1]:.1f}")  # fmt: skip


def in_turn(runs: tuple[Run, ...], x: torch.Tensor) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in runs]
    for pair in range(PAIRS + 2):
        for run, taken in zip(runs, times):
            started = time.perf_counter()
            run(x)
            if pair >= 2:
                taken.append(time.perf_counter() - started)
    return times


def extra_latents(run: Run, x: torch.Tensor) -> float:
    """The most memory alive at once beside the start, the model's outputs included, in latents."""
    with LiveBytes() as live:
        run(x)
    return live.peak / (x.numel() * x.element_size())


if __name__ == "__main__":
    main()
