"""What a reference is kept by: the model at work, so that its next calibration goes on with it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from modules import script_callbacks, shared
from modules.prompt_parser import MulticondLearnedConditioning

from ...ratios import Identity
from ...ratios.model_key import model_key

#: Where other extensions change what the denoiser makes, with settings that only they know.
_OF_OTHERS = ("callbacks_cfg_denoiser", "callbacks_cfg_denoised", "callbacks_cfg_after_cfg")
#: The fields of an identity that say what the model makes; prompts may name LoRAs and the like.
_OF_THE_MODEL = ("fingerprint", "model_class", "prediction", "lora", "guidance", "prompts_hash")


def key_of(
    model: Any, arguments: Mapping[str, Any], points: int, identity: Identity, steps: Any
) -> Hashable:
    """What tells the loaded model at work from any other; None where that cannot be told.

    ``arguments`` are the denoiser's for all ``points``, ``steps`` those of the run that others may
    be told.
    """
    sd_model = model.inner_model.inner_model
    objects = getattr(sd_model, "forge_objects", None)
    known = getattr(script_callbacks, "callback_map", {})
    if any(known.get(name) for name in _OF_OTHERS):
        return None
    if objects is None and identity.lora is not None:  # known by name alone
        return None
    checkpoint = getattr(sd_model, "sd_checkpoint_info", None)
    settings = {
        "host": dict(shared.opts.data),
        "checkpoint": [str(getattr(checkpoint, name, None)) for name in ("filename", "hash")],
        "identity": [getattr(identity, name) for name in _OF_THE_MODEL],
        "arguments": {
            name: _data(value, points) for name, value in arguments.items() if name != "cond_scale"
        },
        "model_options": getattr(getattr(objects, "unet", None), "model_options", None),
    }
    return model_key((sd_model,), settings, steps)


def _data(value: Any, points: int) -> Any:
    """An argument of the denoiser as plain data, however many images a batch has."""
    if isinstance(value, MulticondLearnedConditioning):
        return [[(part.weight, part.schedules) for part in parts] for parts in value.batch]
    if isinstance(value, torch.Tensor) and value.ndim > 1 and len(value) != points:
        return value[:1]  # the same for all
    return value
