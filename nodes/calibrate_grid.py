"""DCSolverCalibrateGrid: calibrations over step counts and scales, and the regression on them."""

from __future__ import annotations

from typing import Any

from ..ratios import CPR_QUALITIES, RatioSchedule, calibrate_grid, fit_cpr
from ..ratios.qualities import check_counts
from ..ratios.records import MOST_FITTED
from ..ratios.text import describe_cpr
from ..solvers.choices import check_one_of
from . import host, tokens
from .calibration import run_calibration
from .host_runs import GuidedModel
from .options import (
    CATEGORY,
    calibrated_model,
    calibrated_solver,
    first_seed,
    for_pictures,
    grid_quality,
    search_settings,
    solver_settings,
)
from .plotting import Pictures, below_why, plot

_MOST, _LARGEST = 32, 1000


class DCSolverCalibrateGrid:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Calibrates your model at several step counts and CFGs and fits a curve through them all "
        "(CPR): from then on Predict Ratios gives the ratios of any setting in between at once."
    )
    RETURN_TYPES = ("DC_CPR", "IMAGE", "STRING", "IMAGE")
    RETURN_NAMES = ("cpr", "curves", "report", "comparison")
    OUTPUT_TOOLTIPS = (
        "The fit: connect to Predict Ratios or Save Ratios.",
        "All calibrated curves, as an image.",
        "What they cost and gain, in words.",
        "UniPC, DC-Solver and the reference on check seeds; needs a VAE.",
    )
    FUNCTION = "calibrate"
    SEARCH_ALIASES = ["dc solver", "cpr", "cascade polynomial regression", "compensation ratios"]
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                **calibrated_model(),
                "steps_list": ("STRING", {
                    "default": "5, 6, 8, 10",
                    "tooltip": "Step counts, with commas between. They share their reference.",
                }),
                "cfg_list": ("STRING", {
                    "default": "2, 4, 7",
                    "tooltip": "CFGs, with commas between. Each costs a reference of its own.",
                }),
                "scheduler": (host.schedulers(), {
                    "default": "simple",
                    "tooltip": "The schedule that the ratios are for.",
                }),
                "first_seed": first_seed(),
                **search_settings(),
                **solver_settings(),
            },
            "optional": {**for_pictures(), **calibrated_solver(), "quality": grid_quality()},
            "hidden": {"node": "UNIQUE_ID"},
        }  # fmt: skip

    @classmethod
    def VALIDATE_INPUTS(
        cls,
        steps_list: str | None = None,
        cfg_list: str | None = None,
    ) -> bool | str:
        """Refuse lists that are none before anything runs; None is what another node makes.

        The host tells what is wrong once for each input that is named here, so what the lists ask
        of other settings waits for the run.
        """
        try:
            if steps_list is not None and cfg_list is not None:
                pairs(steps_list, cfg_list)
        except ValueError as error:
            return str(error)
        return True

    def calibrate(
        self,
        model: Any,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        steps_list: str,
        cfg_list: str,
        scheduler: str,
        vae: Any = None,
        quality: str = "paper",
        **settings: Any,
    ) -> dict[str, Any]:
        check_one_of("quality", quality, CPR_QUALITIES)  # a link passes the host's own check by
        counts, cfgs = pairs(steps_list, cfg_list)
        check_counts("steps_list", counts, settings["dc_order"], quality)
        grids = [host.calculate_sigmas(model, scheduler, count) for count in counts]

        def work(guided: GuidedModel, x: Any, **arguments: Any) -> list[RatioSchedule]:
            return calibrate_grid(guided.at, x, grids=grids, cfgs=cfgs, **arguments)

        pictures = Pictures(vae, model, rows=1)
        found = run_calibration(
            work,
            model=model,
            positive=positive,
            negative=negative,
            latent_image=latent_image,
            pictures=pictures,
            sigmas=grids[-1],
            scheduler=scheduler,
            quality=quality,
            **settings,
        )
        cpr = fit_cpr(found)
        report = describe_cpr(cpr)
        host.log.info(report)
        curves = plot(found, title="Calibrated ratios")
        compared = pictures.compare(found)
        shown = {
            "images": [*curves.previews, *compared.previews],
            "text": [below_why(report, compared, curves)],
            "dc_cpr": [tokens.remember(cpr)],
        }
        return {"ui": shown, "result": (cpr, curves.image, report, compared.image)}


def pairs(steps_list: str, cfg_list: str) -> tuple[list[int], list[float]]:
    """The step counts and the CFGs.  Raises ValueError where they make no sense."""
    counts = [int(value) for value in numbers("steps_list", steps_list, whole=True)]
    cfgs = numbers("cfg_list", cfg_list)
    if len(counts) * len(cfgs) > MOST_FITTED:
        raise ValueError(
            f"steps_list, cfg_list: expected at most {MOST_FITTED} pairs, got "
            f"{len(counts) * len(cfgs)}; a few of each are enough."
        )
    return counts, cfgs


def numbers(name: str, text: str, whole: bool = False) -> list[float]:
    """The numbers in a text, with commas between, each once.

    Raises ValueError where there is none, too many, or something else.
    """
    kind, such = ("whole numbers", "5, 6, 8, 10") if whole else ("numbers", "2, 4, 7")
    least = 1 if whole else 0
    try:
        values = [float(part) for part in text.replace(",", " ").replace(";", " ").split()]
    except ValueError:
        values = []
    good = all(least <= v <= _LARGEST and not (whole and v % 1) for v in values)
    if not values or len(values) > _MOST or not good:
        raise ValueError(
            f"{name}: expected 1 to {_MOST} {kind} from {least} to {_LARGEST} with commas between, "
            f"got {text[:80]!r}; for example {such}."
        )
    return sorted(dict.fromkeys(values))
