"""What ComfyUI's models and guiders say of themselves: schedule, identity, guidance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import comfy.model_sampling
import comfy.patcher_extension
import comfy.samplers
import torch

from ..ratios import Identity
from ..ratios.fingerprint import fingerprint, sample_hash
from ..solvers import FlowSchedule, Schedule, VPSchedule, discrete_time

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
    plain = type(guider).predict_noise is comfy.samplers.CFGGuider.predict_noise
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
    if scheduler not in comfy.samplers.SCHEDULER_NAMES or steps < 1:
        return None
    sampling = model.get_model_object("model_sampling")
    return list(map(float, comfy.samplers.calculate_sigmas(sampling, scheduler, steps)))


def identity_of(model: Any, *conditionings: Iterable[Any]) -> Identity:
    """Which model this is, and what guides it beside CFG."""
    return Identity(
        fingerprint=fingerprint(_weights(model)),
        model_class=type(model.model).__name__,
        prediction=prediction_of(model.get_model_object("model_sampling")),
        lora=_lora_of(model),
        guidance=_guidance_of(model.model_options, conditionings),
    )


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


def _lora_of(model: Any) -> str | None:
    """A hash over the patches on the weights; None where there are none."""
    parts: list[Any] = []
    for key in sorted(model.patches):
        for strength, patch, strength_model, *_ in model.patches[key]:
            parts += [key, strength, strength_model, type(patch).__name__]
            content = getattr(patch, "weights", patch)
            tensors = [part for part in _flat(content) if isinstance(part, torch.Tensor)]
            parts += tensors[:1]
    return sample_hash(parts) if parts else None


def _flat(content: Any) -> Iterable[Any]:
    if isinstance(content, (tuple, list)):
        for part in content:
            yield from _flat(part)
    else:
        yield content


def _guidance_of(options: Mapping[str, Any], conditionings: Iterable[Any]) -> str | None:
    """What acts on the guidance beside CFG, by name and numbers; None where nothing does."""
    found = set()
    for name in _GUIDING:
        functions = options.get(name) or []
        for function in functions if isinstance(functions, list) else [functions]:
            found.add(_name_of(function))
    wrapping = comfy.patcher_extension.WrappersMP
    wrappers = options.get("transformer_options", {}).get("wrappers", {})
    for kind in (wrapping.PREDICT_NOISE, wrapping.CALC_COND_BATCH):
        for functions in wrappers.get(kind, {}).values():
            found.update(_name_of(function) for function in functions)
    for conditioning in conditionings:
        for entry in conditioning:
            # A conditioning of the graph is (tensor, options), one inside a run is the options.
            value = (entry if isinstance(entry, Mapping) else entry[1]).get("guidance")
            if isinstance(value, (int, float)):
                found.add(f"guidance {value:g}")
    return ", ".join(sorted(found)) or None


def _name_of(function: Any) -> str:
    """The node or class that a patch comes from, with the numbers that it has been given."""
    name = getattr(function, "__qualname__", type(function).__qualname__).split(".")[0]
    numbers = []
    for cell in getattr(function, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not yet filled
            continue
        if isinstance(content, (int, float)):
            numbers.append(f"{content:g}")
    return f"{name} {' '.join(numbers)}".strip()
