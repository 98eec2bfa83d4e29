"""``python -m dc_solver demo``: calibrate, predict and sample on an embedded model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..ratios import RatioSchedule, fit_cpr, save
from ..ratios.plots import ratio_figure
from ..ratios.text import compensated, describe_ratios, label_of
from ..solvers import SOLVERS
from .emoji import load, points
from .experiment import HELD_OUT_FROM, Experiment, Row, compare
from .pictures import contact_sheet

STEPS = (5, 6, 7, 8, 9, 10)
CPR_STEPS = (5, 6, 8, 10)
CPR_CFGS = (2.0, 4.0, 6.0)
#: What everything is compared with, without ratios and of order 2, and the rest of the family.
BASE = label_of("unipc")
PLAIN = [e.name for e in SOLVERS.values() if e.kind != "adaptive" and e.name != "dc_solver"]
ADAPTIVE = [entry.name for entry in SOLVERS.values() if entry.kind == "adaptive"]
#: The solvers that are calibrated beside DC-Solver.
OTHERS = ("ddim", "dpmpp_2m", "deis_tab")
_PICTURES = 6


def run_demo(
    kind: str, scheduler: str, cfg: float, images: int, output: Path, *, quiet: bool = False
) -> list[Row]:
    """Run the demo, print its table and write its files into ``output``; the table's rows."""
    started = time.monotonic()
    if not quiet:
        print("Calibrating and comparing on an embedded model: two or three minutes on two cores.")
    output.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(load(kind), cfg, scheduler)
    with progress_bar(f"calibrating at CFG {cfg:g}", quiet) as progress:
        found = experiment.calibrate(STEPS, [cfg], progress)
    with progress_bar("calibrating a grid for CPR", quiet) as progress:
        cpr = fit_cpr(experiment.calibrate(CPR_STEPS, CPR_CFGS, progress))
    others: dict[str, list[RatioSchedule]] = {}
    for name in OTHERS:
        with progress_bar(f"calibrating {SOLVERS[name].label}", quiet) as progress:
            others[name] = experiment.calibrate(STEPS, [cfg], progress, solver=name)

    with progress_bar("calibrating at quality full", quiet) as progress:
        (full,) = experiment.calibrate(STEPS[:1], [cfg], progress, quality="full")

    data = points(range(HELD_OUT_FROM, HELD_OUT_FROM + images))
    rows = []
    calls = len(experiment.truth_sigmas()) - 1 + sum(STEPS) * (len(PLAIN) + 2 + len(OTHERS))
    calls += STEPS[0]  # of quality full
    with tqdm(total=calls, desc="sampling held-out seeds".ljust(28), disable=quiet) as bar:
        truth = experiment.truth(data, bar.update)
        for k, steps in enumerate(STEPS):
            solvers: dict[str, dict[str, Any]] = {
                label_of(name): {"solver": name} for name in PLAIN
            }
            solvers["DC-Solver"] = {"ratios": found[k]}
            solvers["DC-Solver, CPR"] = {"ratios": cpr.predict(steps, cfg)}
            solvers |= {compensated(n): {"solver": n, "ratios": others[n][k]} for n in OTHERS}
            rows += [
                experiment.row(label, steps, data, truth, bar.update, **options)
                for label, options in solvers.items()
            ]
        moved = experiment.row("DC-Solver, full", STEPS[0], data, truth, bar.update, ratios=full)
    print(f"\nemoji_{kind}, CFG {cfg:g}, scheduler {scheduler}, {images} held-out seeds")
    print_table(rows)
    base = base_errors(rows)
    gained = compare(moved.errors, base[STEPS[0]])
    print(
        f"{moved.solver}: {gained.geometric_mean:.2f} of {BASE}'s error at {STEPS[0]} steps "
        f"({gained.share_worse:.0%})"
    )
    for name in ADAPTIVE:
        row = experiment.row(label_of(name), STEPS[-1], data, truth, int, solver=name)
        error = compare(row.errors, base[STEPS[-1]]).geometric_mean
        print(
            f"{row.solver}, adaptive: {error:.2f} of {BASE}'s error at {STEPS[-1]} steps, in "
            f"{row.calls} calls"
        )
    print()
    print(describe_ratios(found[0]))

    first = {row.solver: row.latents[:_PICTURES] for row in (*rows, moved) if row.steps == STEPS[0]}
    sheet = output / "contact_sheet.png"
    contact_sheet(
        [
            (label, first[label])
            for label in ("DDIM", "DPM-Solver++(2M)", BASE, "DC-Solver", moved.solver)
        ],
        truth[:_PICTURES],
        BASE,
        sheet,
        f"{STEPS[0]} steps at CFG {cfg:g}: error against the reference, {BASE} = 100%",
    )
    plot = output / "ratios.png"
    labels = [f"{schedule.steps} steps" for schedule in found]
    ratio_figure(found, labels, f"Ratios of emoji_{kind} at CFG {cfg:g}, {scheduler}").savefig(plot)
    files = [
        save(found[0], output / f"emoji_{kind}_{STEPS[0]}_steps.safetensors"),
        save(cpr, output / f"emoji_{kind}_cpr.safetensors"),
    ]
    print("\nwritten: " + ", ".join(str(path) for path in (sheet, plot, *files)))
    print(f"took {time.monotonic() - started:.0f} s")
    return rows


@contextmanager
def progress_bar(label: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on the console for ``progress(done, total)``."""
    with tqdm(desc=label.ljust(28), disable=quiet) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def base_errors(rows: list[Row]) -> dict[int, torch.Tensor]:
    """The errors of what everything is compared with, by step count."""
    return {row.steps: row.errors for row in rows if row.solver == BASE}


def print_table(rows: list[Row]) -> None:
    """Errors over those of UniPC on the same sigmas, a column a step count."""
    base = base_errors(rows)
    figures = {
        solver: [compare(row.errors, base[row.steps]) for row in rows if row.solver == solver]
        for solver in dict.fromkeys(row.solver for row in rows)
    }
    lines = {
        solver: [f"{each.geometric_mean:5.2f} {each.share_worse:4.0%}" for each in found]
        for solver, found in figures.items()
    }
    lines["DC-Solver, median"] = [f"{each.median:5.2f}     " for each in figures["DC-Solver"]]
    lines["DC-Solver, mean error"] = [f"{each.mean:5.2f}     " for each in figures["DC-Solver"]]
    width = max(map(len, lines))
    print(
        f"error of the final latent against the reference, {BASE} on the same sigmas = 1:\n"
        "geometric mean over the images, and the share of them that are worse"
    )
    print(" ".join([" " * width, *(f"{f'{steps} steps':>10}" for steps in base)]))
    for solver, cells in lines.items():
        print(" ".join([solver.ljust(width), *cells]).rstrip())
