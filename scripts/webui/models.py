"""What the WebUI's models say of themselves: schedule, identity, guidance.

Forge has a ``predictor``, A1111 and reForge a ``parameterization``; the rest is the same in all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from modules import shared

from ...ratios import Identity
from ...ratios.fingerprint import fingerprint, patches_hash, sample_hash
from ...ratios.patch_names import name_of
from ...solvers import FlowSchedule, Schedule, VPSchedule, discrete_time
from .grids import sound_grid

try:
    from modules import sd_schedulers
except ImportError:  # A1111 before 1.9
    sd_schedulers = None

log = logging.getLogger("dc_solver")

_PREDICTIONS = {"epsilon": "eps", "eps": "eps", "v_prediction": "v", "v": "v", "const": "flow",
                "edm": "edm"}  # fmt: skip
_GUIDING = ("sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function")
#: Schedules that ComfyUI calls otherwise.
_COMFYUI_NAMES = {"ddim": "ddim_uniform"}
_OWN_NAMES = {there: here for here, there in _COMFYUI_NAMES.items()}


def prediction_of(wrap: Any) -> str:
    """What the model predicts; ``wrap`` is the host's denoiser around it."""
    predictor = getattr(wrap, "predictor", None)
    model = wrap.inner_model
    if predictor is not None:
        said = getattr(predictor, "prediction_type", "eps")
    elif getattr(model, "is_sd3", False):
        said = "const"
    else:
        said = getattr(model, "parameterization", "eps")
    return _PREDICTIONS.get(said, str(said))


def schedule_of(wrap: Any) -> Schedule:
    """How this model's sigmas relate to half-logSNR and time."""
    if prediction_of(wrap) == "flow":
        return FlowSchedule()
    predictor = getattr(wrap, "predictor", None)
    if predictor is None or hasattr(predictor, "alphas_cumprod"):
        # The host's own map rounds to whole timesteps, and fine grids would repeat one.
        return VPSchedule(discrete_time(wrap.sigmas.tolist()))
    return VPSchedule(lambda sigma: float(predictor.timestep(torch.tensor(sigma))))


def cfg_of(denoiser: Any, arguments: Mapping[str, Any]) -> float | None:
    """The guidance scale of this pass; None for models with two (InstructPix2Pix)."""
    p = denoiser.p
    if getattr(denoiser, "image_cfg_scale", None) is not None and _edits(denoiser):
        return None
    scale = arguments.get("cond_scale", getattr(p, "cfg_scale", None))
    if getattr(p, "is_hr_pass", False):
        scale = getattr(p, "hr_cfg", scale)  # Forge and reForge; A1111 has one for both
    return None if scale is None else float(scale)


def _edits(denoiser: Any) -> bool:
    model = denoiser.inner_model.inner_model
    return getattr(model, "cond_stage_key", "") == "edit"


def identity_of(wrap: Any, p: Any) -> Identity:
    """Which model this is, and what guides it beside CFG.

    A model whose weights cannot be read has no fingerprint, which the log says.
    """
    model = wrap.inner_model
    found = None
    try:
        found = fingerprint(_weights(model))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        log.warning("DC-Solver: this model cannot be recognised (%s)", error)
    return Identity(
        fingerprint=found,
        lora=_loras(model),
        model_class=type(model).__name__,
        prediction=prediction_of(wrap),
        guidance=", ".join(sorted(set(_guidance(model, p)))) or None,
    )


def _weights(model: Any) -> dict[str, torch.Tensor]:
    """The network's weights by name, without LoRA."""
    objects = getattr(model, "forge_objects", None)
    outer = model.model if objects is None else objects.unet.model
    backups = _backups(objects.unet) if objects is not None else {}
    found = {}
    for place, module in outer.diffusion_model.named_modules():
        for name, weight in module.named_parameters(recurse=False):
            key = f"{place}.{name}" if place else name
            kept = backups.get(f"diffusion_model.{key}")
            if kept is None and name == "weight":
                kept = getattr(module, "network_weights_backup", None)  # A1111
            kept = getattr(kept, "weight", kept)  # reForge keeps it with a flag
            found[key] = kept if isinstance(kept, torch.Tensor) else weight
    return found


def _backups(patcher: Any) -> Mapping[str, Any]:
    """What patched weights were before."""
    loader = getattr(patcher, "lora_loader", None)  # Forge; reForge keeps them itself
    return getattr(patcher if loader is None else loader, "backup", {})


def _loras(model: Any) -> str | None:
    """A hash over the LoRAs in force; None without."""
    patcher: Any = getattr(getattr(model, "forge_objects", None), "unet", None)
    if patcher is None:
        parts = sorted({str(applied) for applied in _applied_networks(model)})
        return sample_hash(parts) if parts else None
    patches: dict[str, list[Any]] = {}
    for found in getattr(patcher, "lora_patches", {}).values():  # Forge: by file, then by weight
        for key, on_weight in found.items():
            patches.setdefault(key, []).extend(on_weight)
    for key, on_weight in getattr(patcher, "patches", {}).items():  # reForge
        patches.setdefault(key, []).extend(on_weight)
    return patches_hash(patches)


def _applied_networks(model: Any) -> Iterable[Any]:
    """A1111 notes at each layer which networks it has merged into it."""
    for module in model.model.diffusion_model.modules():
        current = getattr(module, "network_current_names", ())
        if current:
            yield current


def _guidance(model: Any, p: Any) -> Iterable[str]:
    """What acts beside CFG, by name and numbers."""
    objects = getattr(model, "forge_objects", None)
    options = getattr(getattr(objects, "unet", None), "model_options", {})
    for name in _GUIDING:
        functions = options.get(name) or []
        yield from map(name_of, functions if isinstance(functions, list) else [functions])
    if getattr(model, "use_distilled_cfg_scale", False):
        hires = getattr(p, "is_hr_pass", False)
        scale = getattr(p, "hr_distilled_cfg" if hires else "distilled_cfg_scale", None)
        if scale is not None:
            yield f"guidance {scale:g}"
    # reForge reads the setting alone.
    least = max(getattr(p, "s_min_uncond", 0) or 0, getattr(shared.opts, "s_min_uncond", 0) or 0)
    if least > 0:
        yield f"NGMS {least:g}"
    early = getattr(shared.opts, "skip_early_cond", 0) or 0
    if early > 0:
        yield f"no CFG up to {early:g}"
    refiner, switch = getattr(p, "refiner_checkpoint", None), getattr(p, "refiner_switch_at", None)
    if refiner not in (None, "", "None", "none") and switch is not None and switch < 1.0:
        yield f"refiner {refiner} at {switch:g}"


def scheduler_name(label: str) -> str:
    """The name by which both hosts know a schedule of this label; "Automatic" is our Simple."""
    known = _host_schedule(label)
    if known is None:
        return "simple"
    return _COMFYUI_NAMES.get(known.name, str(known.name))


def _host_schedule(name: str) -> Any:
    """By name or label; None where there is none, or one that makes no sigmas."""
    known = None if sd_schedulers is None else sd_schedulers.schedulers_map.get(name)
    return None if known is None or known.function is None else known


def stock_of(wrap: Any) -> Callable[[int], dict[str, Sequence[float]]]:
    """The grids of all of the host's schedules by their names, for a number of steps.

    One that several schedules make is there once, under the first of their names.
    """
    grid_of = grids_of(wrap)

    def stock(steps: int) -> dict[str, Sequence[float]]:
        found: dict[str, Sequence[float]] = {}
        for scheduler in [] if sd_schedulers is None else sd_schedulers.schedulers:
            grid = grid_of(scheduler.name, steps)
            if grid is not None and len(grid) == steps + 1 and grid not in found.values():
                found[_COMFYUI_NAMES.get(scheduler.name, scheduler.name)] = grid
        return found

    return stock


def grids_of(wrap: Any) -> Callable[[str, int], Sequence[float] | None]:
    """The sigmas of a whole run of a schedule of the host, by name and step count."""

    @cache
    def grid(name: str, steps: int) -> Sequence[float] | None:
        known = _host_schedule(_OWN_NAMES.get(name, name))
        if known is None or steps < 1:
            return None
        low, high = float(wrap.sigmas[0]), float(wrap.sigmas[-1])
        more = {"inner_model": wrap} if known.need_inner_model else {}
        try:
            sigmas = known.function(n=steps, sigma_min=low, sigma_max=high, device="cpu", **more)
        except Exception as error:  # another extension's; the image does not depend on it
            log.warning("DC-Solver: the schedule %s cannot be used (%s)", name, error)
            return None
        if prediction_of(wrap) == "flow":
            sigmas = sound_grid(sigmas, wrap.sigmas)
        return [float(sigma) for sigma in sigmas]

    return grid
