"""What a reference is kept by: the model at work, so that its next calibration goes on with it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch

from ..ratios.model_key import model_key

#: Where a MODEL keeps what others have it do while it samples.
_OF_OTHERS = (
    "model_options",
    "wrappers",
    "callbacks",
    "injections",
    "attachments",
    "additional_models",
    "forced_hooks",
)


def key_of(model: Any, positives: Sequence[Any], negative: Any, sigmas: torch.Tensor) -> Hashable:
    """What tells this MODEL and its conditionings from any other.

    A node upstream that runs again makes another MODEL, and the same conditionings.  ``sigmas`` are
    those that patches are told.
    """
    patched = dict(model.object_patches)
    patched.pop("model_sampling", None)  # among the objects
    settings = {
        "conditionings": [*positives, negative],
        "weights": str(model.patches_uuid),
        "patched": patched,
        # MeanFlow networks look up where the run goes next.
        "next": getattr(model.get_model_object("diffusion_model"), "time_r_in", None),
        **{name: getattr(model, name, None) for name in _OF_OTHERS},
    }
    return model_key((model, model.get_model_object("model_sampling")), settings, sigmas)
