"""``python -m dc_solver demo``: calibrate, predict and sample on an embedded model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..ratios import fit_cpr, save
from ..ratios.plots import ratio_figure
from ..ratios.text import describe_ratios
from .emoji import load, points
from .experiment import HELD_OUT_FROM, Experiment, Row, compare
from .pictures import contact_sheet

STEPS = (5, 6, 7, 8, 9, 10)
CPR_STEPS = (5, 6, 8, 10)
CPR_CFGS = (2.0, 4.0, 6.0)
_PICTURES = 8


def run_demo(
    kind: str, scheduler: str, cfg: float, images: int, output: Path, *, quiet: bool = False
) -> list[Row]:
    """Run the demo, print its table and write its files into ``output``; the table's rows."""
    started = time.monotonic()
    if not quiet:
        print("Calibrating and comparing on an embedded model: a minute or two on two cores.")
    output.mkdir(parents=True, exist_ok=True)
    experiment = Experiment(load(kind), cfg, scheduler)
    with progress_bar(f"calibrating at CFG {cfg:g}", quiet) as progress:
        found = experiment.calibrate(STEPS, [cfg], progress)
    with progress_bar("calibrating a grid for CPR", quiet) as progress:
        cpr = fit_cpr(experiment.calibrate(CPR_STEPS, CPR_CFGS, progress))
    data = points(range(HELD_OUT_FROM, HELD_OUT_FROM + images))
    calls = len(experiment.truth_sigmas()) - 1 + 5 * sum(STEPS)
    rows = []
    with tqdm(total=calls, desc="sampling held-out seeds".ljust(28), disable=quiet) as bar:
        truth = experiment.truth(data, bar.update)
        for steps, calibrated in zip(STEPS, found):
            solvers: dict[str, dict[str, Any]] = {
                "UniPC-2": {"solver": "unipc"},
                "DDIM": {"solver": "ddim"},
                "DPM-Solver++(2M)": {"solver": "dpmpp_2m"},
                "DC-Solver": {"ratios": calibrated},
                "DC-Solver, CPR": {"ratios": cpr.predict(steps, cfg)},
            }
            rows += [
                experiment.row(label, steps, data, truth, bar.update, **options)
                for label, options in solvers.items()
            ]
    print(f"\nemoji_{kind}, CFG {cfg:g}, scheduler {scheduler}, {images} held-out seeds")
    print_table(rows)
    print()
    print(describe_ratios(found[0]))

    first = {row.solver: row.latents[:_PICTURES] for row in rows if row.steps == STEPS[0]}
    sheet = output / "contact_sheet.png"
    contact_sheet(
        list(first.items())[:4],
        truth[:_PICTURES],
        sheet,
        f"emoji_{kind}, {STEPS[0]} steps, CFG {cfg:g}, {scheduler}: errors of the latents",
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


def print_table(rows: list[Row]) -> None:
    """Errors over those of UniPC-2 on the same sigmas."""
    base = {row.steps: row.errors for row in rows if row.solver == "UniPC-2"}
    print("error of the final latent against the reference, UniPC-2 on the same sigmas = 1")
    print(f"{'steps':>5}  {'solver':18} {'geo. mean':>9} {'median':>7} {'mean':>7} "
          f"{'worse':>6} {'calls':>6}")  # fmt: skip
    for row in rows:
        figures = compare(row.errors, base[row.steps])
        print(
            f"{row.steps:5d}  {row.solver:18} {figures.geometric_mean:9.3f} {figures.median:7.3f} "
            f"{figures.mean:7.3f} {figures.share_worse:6.0%} {row.calls:6d}"
        )
