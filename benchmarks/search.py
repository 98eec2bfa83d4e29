"""The search of the ratios: the paper's mean square loss against those that weigh each seed.

    python benchmarks/search.py [eps|flow]

Six calibrations on ten seeds each, at CFG 3; geometric mean of the error on 64 held-out seeds,
UniPC-2 on the same sigmas = 1: over the six, and each.  No guard, so that a bad calibration shows.
"""

from __future__ import annotations

import math
import sys

import load_pack  # noqa: F401
from dc_solver.demo import emoji
from dc_solver.demo.experiment import HELD_OUT_FROM, Experiment, compare
from dc_solver.ratios import calibrate

KS = (2,)
SETS = (1000, 2000, 3000, 4000, 5000, 6000)


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "eps"
    model = emoji.load(kind)
    held_out = emoji.points(range(HELD_OUT_FROM, HELD_OUT_FROM + 64))
    print(f"emoji_{kind}  {'scheduler':>9} {'steps':>5} {'K':>2} {'loss':>9} {'all':>6}  "
          f"{'each set of seeds':36} {'search calls':>12} {'calls a point':>13}")  # fmt: skip
    truth = None
    for scheduler in ("simple", "beta"):
        for steps in (5, 8):
            task = Experiment(model, 3.0, scheduler)
            sigmas = task.sigmas(steps)
            if truth is None:
                truth = task.truth(held_out, int)
            base = task.row("", steps, held_out, truth, int, solver="unipc").errors
            for k in KS:
                for loss in ("mean", "balanced", "relative"):
                    gains, found = [], None
                    for first in SETS:
                        data = emoji.points(range(first, first + 10))
                        found = calibrate(
                            model.denoiser(3.0),
                            model.start(data.noise, float(sigmas[0])),
                            sigmas,
                            schedule=model.schedule,
                            extra_args=lambda at, data=data: {"condition": data.conditions[at]},
                            dc_order=k,
                            loss=loss,
                        )
                        row = task.row("", steps, held_out, truth, int, ratios=found)
                        gains.append(compare(row.errors, base).geometric_mean)
                    overall = math.exp(sum(map(math.log, gains)) / len(gains))
                    each = " ".join(f"{gain:.3f}" for gain in gains)
                    print(f"{'':9}{scheduler:>11} {steps:5d} {k:2d} {loss:>9} {overall:6.3f}  "
                          f"{each:36} {found.report.search_calls:12d} "
                          f"{found.report.calls_per_point:13.0f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
