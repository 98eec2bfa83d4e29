"""What ComfyUI's models and guiders say of themselves: schedule, identity, guidance."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import comfy.model_sampling
import comfy.patcher_extension
import comfy.samplers
import torch

from ..ratios import Identity
from ..ratios.fingerprint import fingerprint, patches_hash
from ..ratios.patch_names import label, name_of, remembers
from ..solvers import (
    SPACINGS,
    FlowSchedule,
    Schedule,
    VPSchedule,
    discrete_time,
    make_sigmas,
)

log = logging.getLogger("dc_solver")

#: Where the host's step caches keep what they saw.
_CACHES = ("easycache", "lazycache")
_GUIDING = (
    "sampler_cfg_function",
    "sampler_pre_cfg_function",
    "sampler_post_cfg_function",
    "sampler_calc_cond_batch_function",
)


def patcher_of(model: Any) -> Any:
    """The MODEL behind what a sampler function is given."""
    return model.inner_model.model_patcher


def cfg_of(model: Any) -> float | None:
    """The guidance scale in what a sampler function is given; None where its guider has no one."""
    guider = model.inner_model
    cfg = getattr(guider, "cfg", None)
    method = getattr(getattr(guider, "predict_noise", None), "__func__", None)
    plain = method is comfy.samplers.CFGGuider.predict_noise
    return float(cfg) if plain and isinstance(cfg, (int, float)) else None


def schedule_of(model_sampling: Any) -> Schedule:
    """How this model's sigmas relate to half-logSNR and time."""
    m = comfy.model_sampling
    if isinstance(model_sampling, m.CONST):
        return FlowSchedule()
    smooth = (m.ModelSamplingDiscreteEDM, m.StableCascadeSampling)
    if isinstance(model_sampling, m.ModelSamplingDiscrete) and not isinstance(
        model_sampling, smooth
    ):
        # The model's own map rounds to whole timesteps, and fine grids would repeat one.
        return VPSchedule(discrete_time(model_sampling.sigmas.tolist()))

    def time(sigma: float) -> float:
        return float(model_sampling.timestep(torch.tensor(sigma)))

    return VPSchedule(time)


def prediction_of(model_sampling: Any) -> str:
    """What the model predicts, decided by class as the host does."""
    m = comfy.model_sampling
    names = (
        (m.CONST, "flow"),
        (m.EDM, "edm"),
        (m.V_PREDICTION, "v"),
        (m.X0, "x0"),
        (m.EPS, "eps"),
    )
    found = (name for kind, name in names if isinstance(model_sampling, kind))
    return next(found, type(model_sampling).__name__)


def sigmas_of(model: Any, scheduler: str, steps: int) -> list[float] | None:
    """The sigmas of a whole run of a scheduler of the host; None for a name that it has not."""
    if steps < 1:
        return None
    sampling = model.get_model_object("model_sampling")
    spacing = scheduler.removeprefix("dc_")  # as the pack's own are called in the WebUI
    if spacing in SPACINGS and spacing != scheduler:
        with suppress(ValueError):  # a table too small for these steps
            return make_sigmas(spacing, steps, sampling.sigmas.tolist(), schedule_of(sampling))
    if scheduler not in comfy.samplers.SCHEDULER_NAMES:
        return None
    try:
        return list(map(float, comfy.samplers.calculate_sigmas(sampling, scheduler, steps)))
    except Exception as error:  # another pack's; the image does not depend on it
        log.warning("DC-Solver: the scheduler %s cannot be used (%s)", scheduler, error)
        return None


def identity_of(
    model: Any, positives: Iterable[Iterable[Any]], options: Mapping[str, Any]
) -> Identity:
    """Which model this is, and what guides it beside CFG.

    ``options`` are the model options in force.  A model whose weights or patches cannot be read has
    no fingerprint, which the log says.
    """
    prediction = prediction_of(model.get_model_object("model_sampling"))
    found, lora = None, None
    try:
        found, lora = fingerprint(_weights(model)), patches_hash(model.patches)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        log.warning("DC-Solver: this model cannot be recognised (%s)", error)
    return Identity(
        fingerprint=found,
        lora=lora,
        model_class=type(model.model).__name__,
        prediction=prediction,
        guidance=_guidance_of(options, positives),
    )


def memory_between_calls(options: Mapping[str, Any]) -> list[str]:
    """The patches that remember earlier calls, which many trajectories at once would mix up."""
    found = [label(function) for function in _guiding(options) if remembers(function)]
    caches = options.get("transformer_options", {})
    return sorted({*found, *(name for name in _CACHES if name in caches)})


def _weights(model: Any) -> dict[str, torch.Tensor]:
    """The network's weights by name, those that a LoRA has patched in place as they were before."""
    network = model.model.diffusion_model
    found = {}
    for name, weight in network.named_parameters():
        key = f"diffusion_model.{name}"
        backup = model.backup.get(key)
        hooked = model.hook_backup.get(key)
        original = hooked[0] if hooked is not None else weight if backup is None else backup.weight
        # The quantised tensors of the host hold their values in one of another kind.
        found[name.removeprefix("_orig_mod.")] = getattr(original, "_qdata", original)
    return found


def _guidance_of(options: Mapping[str, Any], conditionings: Iterable[Iterable[Any]]) -> str | None:
    """What acts on the guidance beside CFG, by name and numbers; None where nothing does."""
    found = {name_of(function) for function in _guiding(options)}
    for conditioning in conditionings:
        for entry in conditioning:
            # A conditioning of the graph is (tensor, options), one inside a run is the options.
            own = entry if isinstance(entry, Mapping) else entry[1]
            value = own.get("guidance")
            if isinstance(value, (int, float)):
                found.add(f"guidance {value:g}")
            if own.get("hooks") is not None:
                found.add("hooks on the prompt")
    return ", ".join(sorted(found)) or None


def _guiding(options: Mapping[str, Any]) -> Iterable[Any]:
    """The functions of patches that change what CFG makes."""
    for name in _GUIDING:
        functions = options.get(name) or []
        yield from functions if isinstance(functions, list) else [functions]
    wrapping = comfy.patcher_extension.WrappersMP
    wrappers = options.get("transformer_options", {}).get("wrappers", {})
    for kind in (wrapping.PREDICT_NOISE, wrapping.CALC_COND_BATCH):
        for functions in wrappers.get(kind, {}).values():
            yield from functions
