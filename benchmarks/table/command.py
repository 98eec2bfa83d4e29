"""The command line of the table."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import models

from .axes import CFGS, HELD_OUT, MODELS, RIVAL, STEPS, Seeds
from .entries import STOCK, entries
from .memory import measure_memory
from .report import write_report
from .runner import Selection, measure

RESULTS = Path(__file__).resolve().parent.parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Measure what is missing, then write the report; the exit status."""
    options = _parser().parse_args(arguments)
    selection = Selection(
        folder=options.folder,
        models=options.models,
        cfgs=options.cfgs,
        steps=options.steps,
        names=options.entries,
        schedules=options.schedules,
        again=options.again,
        seeds=Seeds(options.images, options.rival_images),
        threads=options.threads,
        fast=not options.eager,
    )
    failed: list[str] = []
    try:
        if not options.report:
            failed = measure(selection)
            measure_memory(options.folder, options.models[0])
        for path in write_report(options.folder):
            print(f"written: {path}")
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"table: {error}", file=sys.stderr)
        return 1
    for line in failed:
        print(f"not measured: {line}", file=sys.stderr)
    return 1 if failed else 0


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1000, got {text!r}")
    return int(text)


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value <= 1000.0 or value == 1.0:
        raise argparse.ArgumentTypeError(f"expected a guidance scale other than 1, got {text!r}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/table",
        description="Measures every solver and every way to calibrate, writes it as it goes, and "
        "makes table.md, cells.md and table.png of it. ComfyUI's own samplers take COMFYUI_PATH "
        "and COMFYUI_PYTHON from the environment. Several processes may share a folder where "
        "each has models or scales of its own.",
    )
    names = tuple(entries())
    some: dict[str, Any] = {"nargs": "+", "metavar": "X"}
    parser.add_argument("--models", choices=models.NAMES, default=MODELS, **some)
    parser.add_argument("--cfgs", type=_scale, default=CFGS, **some)
    parser.add_argument("--steps", type=_count, default=STEPS, **some)
    parser.add_argument("--entries", choices=names, help=", ".join(names), **some)
    parser.add_argument("--schedules", choices=STOCK, default=STOCK, **some)
    parser.add_argument(
        "--again", choices=names, default=(), help="entries to measure once more", **some
    )
    parser.add_argument(
        "--images", type=_count, default=HELD_OUT, help="held-out seeds, default 64"
    )
    parser.add_argument(
        "--rival-images", type=_count, default=RIVAL, help="seeds that choose the rival, default 32"
    )
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the results")
    parser.add_argument("--threads", type=_count, help="of each process; default: torch's own")
    parser.add_argument("--eager", action="store_true", help="do not compile the models")
    parser.add_argument("--report", action="store_true", help="of what there is; measure nothing")
    return parser
