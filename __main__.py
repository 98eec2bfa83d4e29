"""The command line: ``python -m dc_solver``, or ``python .`` in a checkout."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

_SCHEDULERS = (
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal",
    "linear_quadratic", "kl_optimal",
)  # fmt: skip
_QUALITIES = ("paper", "ratios+", "tournament", "schedule", "full")


def _pack() -> Any:
    """This pack, under one name however it was started."""
    if __package__:
        return importlib.import_module(__package__)
    root = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "dc_solver", root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dc_solver"] = module
    spec.loader.exec_module(module)
    return module


def _demo(pack: str, options: argparse.Namespace) -> None:
    run = importlib.import_module(f"{pack}.demo.run")
    run.run_demo(
        options.model, options.scheduler, options.cfg, options.images, Path(options.output)
    )


def _calibrate(pack: str, options: argparse.Namespace) -> None:
    emoji = importlib.import_module(f"{pack}.demo.emoji")
    experiment = importlib.import_module(f"{pack}.demo.experiment")
    ratios = importlib.import_module(f"{pack}.ratios")
    text = importlib.import_module(f"{pack}.ratios.text")
    run = importlib.import_module(f"{pack}.demo.run")
    steps, cfgs = (list(dict.fromkeys(values)) for values in (options.steps, options.cfg))
    task = experiment.Experiment(emoji.load(options.model), cfgs[0], options.scheduler)
    with run.progress_bar("calibrating") as progress:
        found = task.calibrate(steps, cfgs, progress, options.solver, options.quality)
    output = Path(options.output)
    if len(found) > 1 and options.quality in ratios.CPR_QUALITIES:
        results = {output: ratios.fit_cpr(found)}
    elif len(found) > 1:
        print(f"quality {options.quality} makes no CPR: every setting is a file of its own")
        stem = output.name.removesuffix(".safetensors")
        results = {
            output.with_name(f"{stem} {one.steps} steps CFG {one.cfg:g}.safetensors"): one
            for one in found
        }
    else:
        results = {output: found[0]}
    for path, result in results.items():
        print(text.describe(result))
        print(f"written: {ratios.save(result, path)}")


def _predict(pack: str, options: argparse.Namespace) -> None:
    ratios = importlib.import_module(f"{pack}.ratios")
    text = importlib.import_module(f"{pack}.ratios.text")
    source = Path(options.file)
    official = source.suffix.lower() in (".npy", ".json")
    found = ratios.import_official(source) if official else ratios.load(source)
    if isinstance(found, ratios.RatioSchedule) and found.learned is not None:
        raise ValueError(
            f"{source.name} holds learned steps for {found.steps} steps, which hold for no other "
            "run, not a CPR to predict with; calibrate several settings with --quality paper or "
            "schedule."
        )
    if not isinstance(found, ratios.CPR):
        raise ValueError(f"{source.name} holds ratios for one setting, not a CPR to predict with.")
    print(text.describe_ratios(found.predict(options.steps, options.cfg)))


def _panel(pack: str, options: argparse.Namespace) -> None:
    alone = importlib.import_module(f"{pack}.web.panel.alone")
    folder = Path(options.folder or alone.default_folder(Path(__file__).absolute().parent))
    password = alone.read_password(options.password_file)
    alone.run(lambda: folder, options.listen, options.port, password, not options.no_browser)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1000, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 65535, got {text!r}")
    return int(text)


def _scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value <= 1000.0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1000, got {text!r}")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dc_solver", description="DC-Solver: few-step sampling with calibrated ratios."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="compare the solvers on an embedded model")
    demo.set_defaults(run=_demo)
    demo.add_argument("--model", choices=("eps", "flow"), default="eps")
    demo.add_argument("--scheduler", choices=_SCHEDULERS, default="simple")
    demo.add_argument("--cfg", type=_scale, default=3.0, help="guidance scale, default 3")
    demo.add_argument("--images", type=_count, default=64, help="held-out seeds, default 64")
    demo.add_argument("--output", default="demo-output", help="folder for pictures and ratios")

    calibrate = commands.add_parser("calibrate", help="calibrate an embedded model into a file")
    calibrate.set_defaults(run=_calibrate)
    calibrate.add_argument("output", help="the .safetensors file to write")
    calibrate.add_argument("--model", choices=("eps", "flow"), default="eps")
    calibrate.add_argument("--scheduler", choices=_SCHEDULERS, default="simple")
    several = "one or more; several of steps or CFG make a CPR, at quality paper or schedule"
    calibrate.add_argument("--steps", type=_count, nargs="+", default=[5], help=several)
    calibrate.add_argument("--cfg", type=_scale, nargs="+", default=[3.0], help=several)
    calibrate.add_argument("--solver", default="dc_solver", help="default dc_solver")
    calibrate.add_argument(
        "--quality", choices=_QUALITIES, default="paper",
        help="paper, the default: its ratios, in the fewest calls; ratios+: several kinds of them, "
        "tried on whole runs; tournament: the best solver and schedule, then ratios; schedule: "
        "steps moved, then ratios; full: steps, what the model is told there, the weights of its "
        "outputs, three times the calls at 5 steps and five at 10, leaves least of the error. At "
        "ratios+, tournament and full every setting is a file of its own; moved steps are for "
        "whole runs",
    )  # fmt: skip

    predict = commands.add_parser("predict", help="ratios for any steps and CFG from a CPR file")
    predict.set_defaults(run=_predict)
    predict.add_argument("file", help="a CPR file, or the authors' .npy")
    predict.add_argument("--steps", type=_count, required=True, help="number of steps")
    predict.add_argument("--cfg", type=_scale, required=True, help="guidance scale")

    panel = commands.add_parser(
        "panel", help="look at the library in the browser, needs gradio", allow_abbrev=False
    )
    panel.set_defaults(run=_panel)
    panel.add_argument("folder", nargs="?", help="the library; default: that of the host")
    panel.add_argument(
        "--listen", default="127.0.0.1", metavar="ADDRESS",
        help="default 127.0.0.1; any other needs a password, and is plain HTTP",
    )  # fmt: skip
    panel.add_argument("--port", type=_port, default=7871, help="default 7871; 0: any free one")
    panel.add_argument(
        "--password-file", metavar="FILE",
        help="its first line is the password; default: DC_SOLVER_PASSWORD, or none",
    )  # fmt: skip
    panel.add_argument("--no-browser", action="store_true", help="do not open the browser")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(_pack().__name__, options)
    except FileNotFoundError as error:
        print(f"dc_solver: there is no file {error.filename}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        wanted = "requirements.txt"
        if error.name in ("gradio", "uvicorn", "fastapi"):
            wanted = f"it with {sys.executable} -m pip install gradio"
        print(
            f"dc_solver: needs the package {error.name}; install {wanted}, or run this "
            "through dev.py, which makes an environment of its own",
            file=sys.stderr,
        )
        return 1
    except (ValueError, TypeError, OSError) as error:
        print(f"dc_solver: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
