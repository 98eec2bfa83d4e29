"""Small stand-ins of what the WebUI family documents, for the adapter's tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import torch


@dataclass
class Processing:
    """What the adapter reads of a processing object."""

    steps: int = 5
    cfg_scale: float = 7.0
    scheduler: str = "Automatic"
    is_hr_pass: bool = False
    extra_generation_params: dict[str, Any] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)

    def comment(self, text: str) -> None:
        self.comments.append(text)


class KDiffusionSampler:
    """As the host's: it owns the denoiser and asks for the sigmas of the whole schedule."""

    grids: ClassVar[dict[str, Callable[[int], torch.Tensor]]] = {}

    def __init__(self, function: Any, sd_model: Any, options: Any = None) -> None:
        self.func = function
        self.model_wrap = sd_model.wrap

    def get_sigmas(self, p: Processing, steps: int) -> torch.Tensor:
        return self.grids["host"](steps)

    def sample(
        self, p: Any, x: torch.Tensor, conditioning: Any, unconditional_conditioning: Any,
        image_conditioning: Any = None,
    ) -> torch.Tensor:  # fmt: skip
        sigmas = self.get_sigmas(p, p.steps)
        denoiser = Denoiser(self.model_wrap, p, self)
        arguments = {"cond": conditioning, "cond_scale": p.cfg_scale}
        return torch.as_tensor(self.func(denoiser, x * sigmas[0], sigmas, arguments))


class Interrupted(BaseException):
    pass


class Denoiser:
    """As the host's CFGDenoiser: counts its calls, may switch prompts or be interrupted."""

    def __init__(self, wrap: Any, p: Processing, sampler: Any = None) -> None:
        self.inner_model = wrap
        self.p = p
        self.sampler = sampler or SimpleNamespace(grid=[])
        self.image_cfg_scale = None
        self.seen: list[Any] = []
        self.before: Callable[[int], None] = lambda call: None

    def __call__(
        self, x: torch.Tensor, sigma: torch.Tensor, cond: Any, cond_scale: float
    ) -> torch.Tensor:
        self.before(len(self.seen))
        self.seen.append(cond)
        return x / (1 + sigma.view(-1, 1) ** 2)


class Txt2Img:
    """As the host's processing for text to image, of which the adapter makes a search."""

    sd_model: Any
    noise: torch.Tensor

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)
        self.rng = SimpleNamespace(next=lambda: self.noise)

    def txt2img_image_conditioning(self, x: torch.Tensor) -> None:
        return None

    def comment(self, text: str) -> None:
        pass

    def close(self) -> None:
        pass

    def sample(self, *arguments: Any) -> Any:
        raise NotImplementedError


def process_images(p: Txt2Img) -> None:
    p.noise = torch.randn(p.__dict__["batch_size"], 8, generator=torch.Generator().manual_seed(7))
    p.sample(p.__dict__["prompt"], None, None, None, 0.0, None)


class Model(SimpleNamespace):
    """Of a class, as the hosts' are, so that it can be referred to weakly."""


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 8))


def vp_table(count: int = 1000) -> torch.Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, count, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    return ((1 - alphas) / alphas).sqrt().float()


def a1111_model(parameterization: str = "eps", **more: Any) -> Any:
    """An A1111 model: the network below ``model``, no predictor."""
    found = Model(
        parameterization=parameterization,
        model=SimpleNamespace(diffusion_model=network()),
        **more,
    )
    found.wrap = SimpleNamespace(inner_model=found, sigmas=vp_table())
    return found


def forge_model(prediction: str = "epsilon", table: torch.Tensor | None = None) -> Any:
    """A Forge model: everything below ``forge_objects.unet``, with a predictor."""
    unet = SimpleNamespace(
        model=SimpleNamespace(diffusion_model=network()), lora_patches={}, model_options={},
        lora_loader=SimpleNamespace(backup={}),
    )  # fmt: skip
    predictor = SimpleNamespace(prediction_type=prediction)
    if prediction in ("epsilon", "v_prediction"):
        predictor.alphas_cumprod = torch.ones(1)
    found = Model(forge_objects=SimpleNamespace(unet=unet))
    sigmas = vp_table() if table is None else table
    found.wrap = SimpleNamespace(inner_model=found, predictor=predictor, sigmas=sigmas)
    return found


def simple(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> Any:
    table = inner_model.sigmas
    return torch.tensor([float(table[-(1 + int(k * len(table) / n))]) for k in range(n)] + [0.0])


@dataclass
class Scheduler:
    name: str
    label: str
    function: Any
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: Any = None


SIMPLE = Scheduler("simple", "Simple", simple, need_inner_model=True)


def modules(models_path: Path) -> dict[str, ModuleType]:
    """The host's modules by name, with callbacks, samplers and errors kept for the tests."""
    parts: dict[str, dict[str, Any]] = {
        "modules": {},
        "modules.errors": {"reports": []},
        "modules.paths": {"models_path": str(models_path)},
        "modules.script_callbacks": {"callbacks": {}},
        "modules.scripts": {"Script": type("Script", (), {}), "AlwaysVisible": object(),
                            "scripts_data": []},
        "modules.sd_samplers": {"all_samplers": [], "all_samplers_map": {}, "sets": []},
        "modules.sd_samplers_common": {"SamplerData": SamplerData,
                                       "InterruptedException": Interrupted},
        "modules.sd_samplers_kdiffusion": {"KDiffusionSampler": KDiffusionSampler},
        "modules.sd_schedulers": {"Scheduler": Scheduler, "schedulers": [SIMPLE],
                                  "schedulers_map": {"simple": SIMPLE}},
        "modules.shared": {"opts": SimpleNamespace(data={}, skip_early_cond=0)},
    }  # fmt: skip
    found = {}
    for name, content in parts.items():
        found[name] = ModuleType(name)
        found[name].__dict__.update(content)
    for name in parts:
        if "." in name:
            setattr(found["modules"], name.split(".")[1], found[name])
    errors: Any = found["modules.errors"]
    errors.report = lambda text, exc_info=False: errors.reports.append(text)
    callbacks: Any = found["modules.script_callbacks"]
    for kind in ("before_ui", "ui_settings", "ui_tabs"):
        setattr(
            callbacks,
            f"on_{kind}",
            lambda f, kind=kind: callbacks.callbacks.setdefault(kind, []).append(f),
        )
    samplers: Any = found["modules.sd_samplers"]
    samplers.set_samplers = lambda: samplers.sets.append(len(samplers.all_samplers))
    return found


@dataclass
class SamplerData:
    name: str
    constructor: Any
    aliases: list[str]
    options: dict[str, Any]


def forget(prefix: str) -> None:
    """Take modules out of Python's memory, so that they are loaded anew."""
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
