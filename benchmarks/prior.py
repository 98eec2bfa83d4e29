"""Fits the prior of the last step's ratio to trained models, and judges it on a model left out.

    python benchmarks/prior.py [MODEL ...]      measure what is missing, then fit and judge
    python benchmarks/prior.py --report         fit and judge what there is

The last ratio changes no model call, and the image is a polynomial of degree K in it: three last
steps after one run give the error of each image at every ratio.  That is measured for all models,
guidance scales and schedules; then the numbers of :mod:`ratios.prior` are those with the least
error over all models but one, held back, and that one shows what they are worth.

Measurements lie in ``results/prior/``; ``results/prior.md`` and ``prior.json`` are made of them.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import load_pack  # noqa: F401
import models
import numpy as np
import torch
from dc_solver.demo.emoji import Denoiser
from dc_solver.demo.experiment import HELD_OUT_FROM
from dc_solver.ratios.prior import CFGS, STEPS, measured, prior_ratio
from dc_solver.solvers import FlowSchedule, Schedule, VPSchedule
from scipy.optimize import minimize
from table import sampling
from table.figures import geometric_mean

RESULTS = Path(__file__).resolve().parent / "results"
MEASURED = RESULTS / "prior"
IMAGES = 48
TRUTH_STEPS = 100
SCALES = (1.5, 3.0, 4.0, 5.0, 7.5)
#: The schedules that it is fitted on, and those that it must not harm, with their steps.
_FEW = tuple(range(5, 11))
FITTED: dict[str, tuple[int, ...]] = {"simple": _FEW, "beta": _FEW, "sgm_uniform": (6, 10)}
OTHERS: dict[str, tuple[int, ...]] = {
    "normal": (5, 8),
    "karras": (5, 8),
    "exponential": (6,),
    "ddim_uniform": (6, 10),
    "kl_optimal": (6, 10),
}
#: Those that a calibration is judged on, too.
JUDGED = ("simple", "beta")
#: The last ratios that are run; the polynomial goes through them.
RATIOS = (1.0, 1.5, 2.0)
#: What an error above that of a ratio of 1 weighs against a gain as large.
_HARM = 20.0
#: Scales above this are left to what the others say: there are models that want less than 1.
_FITTED_CFG = 5.0
_BEGIN = ((0.3, 0.2, -0.8, 0.0, 0.3), (0.8, -0.1, -1.5, 0.4, -0.3))
#: What is left of the share that was found.
HELD_BACK = 0.45
#: Below this an error is rounding.
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Cell:
    """A model at a scale on a grid; ``terms`` are the error's powers of ``2 rho - 2``, (images,
    5)."""

    model: str
    cfg: float
    schedule: str
    steps: int
    sigmas: tuple[float, ...]
    terms: np.ndarray

    @property
    def family(self) -> Schedule:
        return FlowSchedule() if is_flow(self.model) else VPSchedule()

    def error(self, ratio: float) -> float:
        """That at this last ratio over that at 1, in the geometric mean over the images."""
        powers = (2.0 * ratio - 2.0) ** np.arange(5)
        errors, plain = np.maximum(self.terms @ powers, _TINY), np.maximum(self.terms[:, 0], _TINY)
        return geometric_mean(errors / plain)

    def ratio(self, numbers: Sequence[float]) -> float:
        return prior_ratio(self.sigmas, self.cfg, self.family, numbers)

    @cached_property
    def best(self) -> float:
        """The error at the best last ratio."""
        return min(self.error(ratio) for ratio in np.arange(0.8, 2.2, 0.02))


def is_flow(model: str) -> bool:
    return model.endswith("flow")


class Remembered:
    """A denoiser that repeats its outputs, call by call, once told to start again."""

    def __init__(self, denoiser: Denoiser) -> None:
        self._denoiser = denoiser
        self._outputs: list[torch.Tensor] = []
        self.next = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: Any) -> torch.Tensor:
        if self.next == len(self._outputs):
            self._outputs.append(self._denoiser(x, sigma, condition))
        self.next += 1
        return self._outputs[self.next - 1]


def measure(name: str) -> None:
    """Writes the cells of a model."""
    model = models.load(name, fast=True)
    data = models.points(name, range(HELD_OUT_FROM, HELD_OUT_FROM + IMAGES))
    found: dict[str, np.ndarray] = {}
    for cfg in SCALES:
        truth = sampling.truth(model, cfg, data, TRUTH_STEPS).double().flatten(1)
        for schedule, counts in (FITTED | OTHERS).items():
            for steps in counts:
                sigmas = sampling.grid(model, schedule, steps)
                denoiser = Remembered(model.denoiser(cfg))
                finals = []
                for ratio in RATIOS:
                    denoiser.next = 0
                    ratios = [*[1.0] * (len(sigmas) - 2), ratio]
                    final = sampling.run(model, denoiser, data, sigmas, ratios=ratios)
                    finals.append(final.double().flatten(1))
                key = f"{cfg:g} {schedule} {steps}"
                found[key] = _terms(finals, truth).numpy().astype(np.float32)
                found[f"{key} sigmas"] = sigmas.double().numpy()
        print(f"{name} CFG {cfg:g}", flush=True)
    MEASURED.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(MEASURED / f"{name}.npz", **found)


def _terms(finals: Sequence[torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    """The error's coefficients: it is the square of a parabola in u = 2 rho - 2 = 0, 1, 2."""
    at0, at1, at2 = finals
    bend = (at2 - 2.0 * at1 + at0) / 2.0
    slope = at1 - at0 - bend
    off = at0 - truth
    terms = (off * off, 2.0 * off * slope, slope * slope + 2.0 * off * bend,
             2.0 * slope * bend, bend * bend)  # fmt: skip
    return torch.stack([term.mean(dim=1) for term in terms], dim=1)


def cells(name: str) -> Iterator[Cell]:
    with np.load(MEASURED / f"{name}.npz", allow_pickle=False) as file:
        for key in file.files:
            if not key.endswith("sigmas"):
                cfg, schedule, steps = key.split()
                sigmas = tuple(file[f"{key} sigmas"].tolist())
                terms = file[key].astype(np.float64)
                yield Cell(name, float(cfg), schedule, int(steps), sigmas, terms)


def fit(known: Sequence[Cell]) -> list[float]:
    """The five numbers with the least error over these cells, held back."""
    used = [cell for cell in known if cell.schedule in FITTED and cell.cfg <= _FITTED_CFG]

    def loss(numbers: np.ndarray) -> float:
        errors = [cell.error(cell.ratio(numbers.tolist())) for cell in used]
        return float(np.mean([math.log(e) + _HARM * max(e - 1.0, 0.0) for e in errors]))

    tried = [
        minimize(loss, begin, method="Nelder-Mead", options={"maxiter": 900, "fatol": 1e-5})
        for begin in _BEGIN
    ]
    best = min(tried, key=lambda result: result.fun)
    return [round(HELD_BACK * float(number), 3) for number in best.x]


def report(names: Sequence[str]) -> str:
    """Fits, judges, writes; the report."""
    known = {name: list(cells(name)) for name in names}
    numbers: dict[str, list[float]] = {}
    lines = [
        "# The prior",
        "",
        "The ratio of the last step for a model that is not calibrated, fitted to the other models",
        "of its family. Error over that of plain UniPC on the same schedule, geometric mean over",
        f"{IMAGES} images and the cells: CFG {CFGS[0]:g} (not included) to {CFGS[1]:g}, "
        f"{STEPS[0]} to {STEPS[1]} steps.",
        "",
        "| left out | numbers | simple and beta | worst cell | best last ratio | "
        "all schedules | worst cell |",
        "|---|---|---|---|---|---|---|",
    ]
    judged: list[float] = []
    for flow in (False, True):
        family = [name for name in names if is_flow(name) == flow]
        for left_out in family:
            others = [cell for name in family if name != left_out for cell in known[name]]
            numbers[left_out] = fit(others)
            here = [cell for cell in known[left_out] if measured(cell.steps, cell.cfg)]
            errors = {cell: cell.error(cell.ratio(numbers[left_out])) for cell in here}
            main = [cell for cell in here if cell.schedule in JUDGED]
            judged += [errors[cell] for cell in main]
            worst, worst_main = (max(some, key=lambda c: errors[c]) for some in (here, main))
            lines.append(
                f"| {left_out} | {_listed(numbers[left_out])} "
                f"| **{_mean([errors[c] for c in main]):.3f}** | {_cell(worst_main, errors)} "
                f"| {_mean([c.best for c in main]):.3f} "
                f"| {_mean(list(errors.values())):.3f} | {_cell(worst, errors)} |"
            )
            print(lines[-1], flush=True)
        numbers["FLOW" if flow else "VP"] = fit([c for name in family for c in known[name]])
    lines += [
        "",
        f"Over all models left out, on simple and beta: **{_mean(judged):.3f}** over "
        f"{len(judged)} cells, worst {max(judged):.3f}.",
        "",
        f"Fitted to all: VP {_listed(numbers['VP'])}, flow {_listed(numbers['FLOW'])}.",
    ]
    text = "\n".join(lines) + "\n"
    (RESULTS / "prior.md").write_text(text, encoding="utf-8")
    (RESULTS / "prior.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    return text


def _mean(errors: Sequence[float]) -> float:
    return geometric_mean(np.array(errors))


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _cell(cell: Cell, errors: dict[Cell, float]) -> str:
    return f"{errors[cell]:.3f} ({cell.schedule}, {cell.steps} steps, CFG {cell.cfg:g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(models.NAMES))
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.models or models.NAMES:
        if not options.report and not (MEASURED / f"{name}.npz").exists():
            measure(name)
    measured = [name for name in models.NAMES if (MEASURED / f"{name}.npz").exists()]
    print(report(measured))


if __name__ == "__main__":
    main()
