"""The rule that lowers the order on long steps, over every stock schedule and 5 to 10 steps.

    python benchmarks/order_rule.py [images]

Errors of the final latent on the emoji models at CFG 3, geometric means over the images, the best
of UniPC-2, DPM-Solver++(2M) and DDIM on the same sigmas = 1.  For each schedule the geometric mean
over the step counts, and after the stroke the worst step count.  The last columns try other
lengths at which the order drops.
"""

from __future__ import annotations

import math
import sys

import load_pack  # noqa: F401
import torch
from dc_solver.demo import emoji
from dc_solver.demo.experiment import HELD_OUT_FROM, Experiment
from dc_solver.demo.grids import SCHEDULERS
from dc_solver.ratios.reference import reference_sigmas
from dc_solver.solvers import orders, sample

STEPS = (5, 6, 7, 8, 9, 10)
RIVALS = ("unipc", "dpmpp_2m", "ddim")
TRIED = (1.0, 1.5, 3.0)


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 24
    chosen = orders.LONGEST_STEP
    lengths = (chosen, *TRIED)
    columns = [*RIVALS, *(f"rule {length:g}" for length in lengths)]
    print(f"{images} images; mean over {STEPS[0]} to {STEPS[-1]} steps / worst of them")
    print(f"{'':22}" + "".join(f"{column:>15}" for column in columns))
    for kind in emoji.KINDS:
        model = emoji.load(kind)
        data = emoji.points(range(HELD_OUT_FROM, HELD_OUT_FROM + images))
        truths: dict[float, torch.Tensor] = {}

        def run(sigmas: torch.Tensor, **options: object) -> torch.Tensor:
            return sample(
                model.denoiser(3.0),  # noqa: B023
                model.start(data.noise, float(sigmas[0])),  # noqa: B023
                sigmas,
                schedule=model.schedule,  # noqa: B023
                extra_args={"condition": data.conditions},  # noqa: B023
                disable=True,
                **options,
            )

        for scheduler in SCHEDULERS:
            relative: dict[str, list[float]] = {column: [] for column in columns}
            for steps in STEPS:
                sigmas = Experiment(model, 3.0, scheduler).sigmas(steps)
                first = float(sigmas[0])
                if first not in truths:
                    fine, _ = reference_sigmas([first, 0.0], model.schedule, 150)
                    truths[first] = run(
                        torch.tensor(fine), solver="unipc", order=3, lower_order="final"
                    )
                logs = {}
                for column in columns:
                    if column in RIVALS:
                        latents = run(sigmas, solver=column, lower_order="final")
                    else:
                        orders.LONGEST_STEP = float(column.split()[1])
                        latents = run(sigmas, solver="unipc")
                    errors = (latents - truths[first]).square().flatten(1).mean(dim=1)
                    logs[column] = float(errors.log().mean())
                best = min(logs[rival] for rival in RIVALS)
                for column in columns:
                    relative[column].append(math.exp(logs[column] - best))
            cells = []
            for values in relative.values():
                mean = math.exp(sum(map(math.log, values)) / len(values))
                cells.append(f"{mean:7.2f} /{max(values):6.2f}")
            print(f"{kind:5} {scheduler:16}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
    orders.LONGEST_STEP = chosen


if __name__ == "__main__":
    main()
