"""Widgets that several nodes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..ratios import CPR_QUALITIES, QUALITIES
from ..ratios.edits import parse_edits
from ..solvers import SOLVERS, compensating
from ..solvers.choices import check_one_of

CATEGORY = "sampling/DC-Solver"

Widget = tuple[Any, dict[str, Any]]


def steps(default: int = 5) -> Widget:
    return ("INT", {
        "default": default, "min": 1, "max": 1000,
        "tooltip": "The number of steps. DC-Solver is made for 5 to 10.",
    })  # fmt: skip


def cfg(default: float = 5.0) -> Widget:
    return ("FLOAT", {
        "default": default, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01,
        "tooltip": "Classifier-free guidance scale. Ratios depend on it: calibrate at the scale "
        "you use, or predict for it.",
    })  # fmt: skip


def solver_settings() -> dict[str, Widget]:
    """Order, B(h), K and the variable: the same for sampling and calibration."""
    return {
        "order": ("INT", {
            "advanced": True, "default": 2, "min": 1, "max": 4,
            "tooltip": "Order of the solver, where it has several. 2 is best with guidance; 3 "
            "suits weak guidance and many steps.",
        }),
        "variant": (["bh2", "bh1"], {
            "advanced": True, "default": "bh2",
            "tooltip": "Leave at bh2. UniPC's B(h); bh1 can explode on long steps.",
        }),
        "lower_order": (["automatic", "at the end", "never"], {
            "advanced": True, "default": "automatic",
            "tooltip": "Leave at automatic, which lowers the order on the last steps and on steps "
            "that are long against their history, as normal and kl_optimal have.",
        }),
    }  # fmt: skip


def denoise() -> Widget:
    return ("FLOAT", {
        "default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01,
        "tooltip": "How much of the image is made anew: 1 all, lower keeps more of it.",
    })  # fmt: skip


def find_ratios() -> Widget:
    return ("BOOLEAN", {
        "default": True, "label_on": "from the library", "label_off": "none",
        "tooltip": "What to do where no ratios are connected: take those that the library has for "
        "this model, CFG, steps and solver, or else guess that of the last step with care. Off: "
        "plain UniPC.",
    })  # fmt: skip


def solver() -> Widget:
    """Which solver of the pack."""
    return (list(SOLVERS), {
        "default": "dc_solver",
        "tooltip": "Leave at dc_solver unless you compare. Solvers that use earlier steps take "
        "ratios of their own, from a calibration with the same solver. dpm_12 and dpm_23 choose "
        "their own steps: the number of steps is then only for the progress bar.",
    })  # fmt: skip


def corrector() -> Widget:
    return (list(CORRECTOR), {
        "advanced": True, "default": "automatic",
        "tooltip": "Leave at automatic. UniPC's corrector: on, it corrects any solver that uses "
        "earlier steps; off, dc_solver and unipc only predict.",
    })  # fmt: skip


def sampling_extras() -> dict[str, Widget]:
    """What a sampler may be told beside the order."""
    return {
        "corrector": corrector(),
        "threshold": ("FLOAT", {
            "advanced": True, "default": 0.0, "min": 0.0, "max": 1.0, "step": 0.005,
            "round": 0.0001,
            "tooltip": "Leave at 0. Dynamic thresholding for models of pixels, where 0.995 keeps "
            "strong guidance from burning out; spoils models of latents.",
        }),
        "langevin_steps": ("INT", {
            "advanced": True, "default": 0, "min": 0, "max": 100,
            "tooltip": "Leave at 0. Noisy correction steps after each step, one model call each; "
            "the seed decides their noise. No ratios run with them.",
        }),
        "langevin_snr": ("FLOAT", {
            "advanced": True, "default": 0.1, "min": 0.001, "max": 1.0, "step": 0.01,
            "round": 0.001,
            "tooltip": "How far a noisy correction step goes.",
        }),
        "rtol": ("FLOAT", {
            "advanced": True, "default": 0.05, "min": 0.0001, "max": 1.0, "step": 0.005,
            "round": 0.0001,
            "tooltip": "For dpm_12 and dpm_23, which choose their own steps: the error of a step, "
            "relative to the image.",
        }),
        "atol": ("FLOAT", {
            "advanced": True, "default": 0.0078, "min": 0.0001, "max": 1.0, "step": 0.0005,
            "round": 0.0001,
            "tooltip": "For dpm_12 and dpm_23: the error of a step that is always allowed. Lower "
            "it together with rtol.",
        }),
        "max_calls": ("INT", {
            "advanced": True, "default": 200, "min": 4, "max": 10000,
            "tooltip": "For dpm_12 and dpm_23: the most model calls of an image.",
        }),
    }  # fmt: skip


CORRECTOR = {"automatic": None, "on": True, "off": False}
#: The fewest steps of a reference that somebody sets.
LEAST_REFERENCE = 24
LOWER_ORDER: dict[str, bool | str] = {"automatic": True, "at the end": "final", "never": False}


def calibrated_model() -> dict[str, Widget]:
    """The model, prompts and latent that a calibration runs on."""
    return {
        "model": ("MODEL", {"tooltip": "The model, with LoRAs and patches as you use it."}),
        "positive": ("CONDITIONING,DC_PROMPTS", {
            "tooltip": "Calibration Prompts (DC-Solver), which is best, or one typical prompt.",
        }),
        "negative": ("CONDITIONING", {"tooltip": "Your usual negative prompt."}),
        "latent_image": ("LATENT", {"tooltip": "An empty latent of the size you use."}),
    }  # fmt: skip


def for_pictures() -> dict[str, Widget]:
    """What a calibration takes to show images."""
    return {
        "vae": ("VAE", {
            "tooltip": "With it you see UniPC, DC-Solver and the reference side by side.",
        }),
    }  # fmt: skip


def calibrated_solver() -> dict[str, Widget]:
    """Which solver a calibration is for; last, so that saved workflows keep their values."""
    solver = (compensating(), {
        "default": "dc_solver",
        "tooltip": "Leave at dc_solver unless you compare. The ratios serve the solver that they "
        "are calibrated with.",
    })  # fmt: skip
    return {"solver": solver, "corrector": corrector()}


def grid_quality() -> Widget:
    """What a calibration that a CPR is fitted to searches."""
    return (list(CPR_QUALITIES), {
        "default": "paper",
        "tooltip": "paper: the ratios. schedule: moved steps too, 2 to 3 times the calls, and far "
        "less of the error left at low CFG and from 7 steps on. Predict Ratios then moves the "
        "steps of the same schedule, for whole runs.",
    })  # fmt: skip


def quality() -> Widget:
    """What a calibration searches; last, as above."""
    return (list(QUALITIES), {
        "default": "paper",
        "tooltip": "paper: the ratios, in the fewest model calls. ratios+: refined on whole runs, "
        "2 to 3 times the calls. tournament: the best solver and schedule, then ratios, 2 times. "
        "schedule: moved steps, then ratios, 2 times. full: moved steps and all weights of the "
        "solver, 3 to 5 times; leaves least of the error. Where the steps are moved (the last "
        "three) the result serves whole runs alone: image to image takes another calibration or "
        "none.",
    })  # fmt: skip


def search_settings() -> dict[str, Widget]:
    """What a calibration may be told beside the solver's settings."""
    return {
        "seeds": ("INT", {
            "default": 10, "min": 1, "max": 1000,
            "tooltip": "Images the ratios are searched on. Ten are enough.",
        }),
        "check_seeds": ("INT", {
            "default": 6, "min": 0, "max": 1000,
            "tooltip": "More images that only try the result. Where it does not beat UniPC the "
            "ratios stay 1; at quality paper the search seeds have half a say. 0 leaves out "
            "this guard.",
        }),
        "batch_size": ("INT", {
            "default": 0, "min": 0, "max": 1000,
            "tooltip": "Images in one model call, which needs the memory of sampling that many. 0: "
            "as many as fit, up to 8. Where memory runs out it is halved.",
        }),
        "reference_steps": ("INT", {
            "advanced": True, "default": 0, "min": 0, "max": 1000,
            "tooltip": "Leave at 0, which takes as many as it needs. Steps of the reference that "
            f"the ratios are searched against; {LEAST_REFERENCE} or more.",
        }),
        "dc_order": ("INT", {
            "advanced": True, "default": 2, "min": 1, "max": 3,
            "tooltip": "Leave at 2. The degree of the compensation (K in the paper).",
        }),
        "variable": (["t", "lambda"], {
            "advanced": True, "default": "t",
            "tooltip": "Leave at t. Compensate in the model's time, as the paper does, or in "
            "half-logSNR.",
        }),
    }  # fmt: skip


def first_seed() -> Widget:
    return ("INT", {
        "default": 1000, "min": 0, "max": 0xFFFFFFFFFFFFFFFF - 2000,
        "control_after_generate": False,
        "tooltip": "The first of the consecutive seeds. Use others for your images: the ratios "
        "have seen these.",
    })  # fmt: skip


def edits(key: str) -> Widget:
    """Ratios set by hand; ``key`` says what they are kept under."""
    return ("STRING", {
        "default": "", "socketless": True,
        "tooltip": "Ratios that you set by hand in the curve, kept as JSON: for each "
        f"{key} the ratios by step, from 0.",
    })  # fmt: skip


def check_edits(text: Any) -> bool | str:
    """True, or what is wrong with hand-set ratios."""
    try:
        parse_edits(text or "")
    except ValueError as error:
        return str(error)
    return True


def chosen(name: str, table: Mapping[str, Any], value: Any) -> Any:
    """What a widget's choice stands for.  Raises ValueError for one that the widget does not have,
    which a link may bring past the host's own check."""
    check_one_of(name, value, table)
    return table[value]
