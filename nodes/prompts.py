"""DCSolverPrompts: the different prompts that a calibration runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..ratios.prompts import DEFAULT_PROMPTS
from . import host
from .options import CATEGORY

_MOST = 100


@dataclass(frozen=True)
class Prompts:
    """Encoded prompts, each a CONDITIONING of its own."""

    conditionings: tuple[Any, ...]


class DCSolverPrompts:
    CATEGORY = CATEGORY
    DESCRIPTION = (
        "Encodes several prompts, one a line, for a calibration: its seeds take turns at them. "
        "Different prompts make ratios that hold for any prompt. The ones given are good for most "
        "models; use your own for a model of one subject."
    )
    RETURN_TYPES = ("DC_PROMPTS",)
    RETURN_NAMES = ("prompts",)
    OUTPUT_TOOLTIPS = ("Connect to positive of Calibrate Ratios.",)
    FUNCTION = "encode"
    SEARCH_ALIASES = ["dc solver", "multiple prompts", "prompt list"]

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "clip": ("CLIP", {"tooltip": "The text encoder of the model to calibrate."}),
                "text": ("STRING", {
                    "multiline": True, "default": DEFAULT_PROMPTS,
                    "tooltip": "One prompt a line; empty lines are left out. As many as the "
                    "calibration has seeds is best.",
                }),
            },
            "optional": {
                "guidance": ("FLOAT", {
                    "advanced": True, "default": 0.0, "min": 0.0, "max": 100.0, "step": 0.1,
                    "tooltip": "What FluxGuidance would set, for models that are distilled on it; "
                    "0 leaves it out.",
                }),
            },
        }  # fmt: skip

    def encode(self, clip: Any, text: str, guidance: float = 0.0) -> tuple[Prompts]:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if not 1 <= len(lines) <= _MOST:
            raise ValueError(f"text: expected 1 to {_MOST} prompts, one a line, got {len(lines)}.")
        if clip is None:
            raise ValueError(
                "clip: expected a text encoder, got none; this checkpoint has none in it, load one "
                "with a CLIP loader."
            )
        options = {"guidance": guidance} if guidance > 0.0 else {}
        return (Prompts(tuple(host.encode_prompt(clip, line, options) for line in lines)),)
