"""Everything the nodes need of ComfyUI.  The only module that imports it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import folder_paths
import latent_preview
import torch
from comfy.k_diffusion import sampling as k_diffusion_sampling
from comfy_execution.graph_utils import ExecutionBlocker

from ..ratios import Identity
from ..solvers import FlowSchedule, Schedule, VPSchedule, discrete_time

log = logging.getLogger("dc_solver")
FOLDER = "dc_ratios"
SAMPLER = "dc_solver"


def block(message: str) -> Any:
    """An output that stops whatever is connected to it, with this message."""
    return ExecutionBlocker(message)


def schedulers() -> list[str]:
    return list(comfy.samplers.SCHEDULER_NAMES)


def calculate_sigmas(model: Any, scheduler: str, steps: int, denoise: float = 1.0) -> torch.Tensor:
    """The sigmas that the stock KSampler would take."""
    sampler = comfy.samplers.KSampler(
        model,
        steps=steps,
        device=model.load_device,
        sampler=SAMPLER,
        scheduler=scheduler,
        denoise=denoise,
        model_options=model.model_options,
    )
    return torch.as_tensor(sampler.sigmas).cpu()


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


def identity_of(model: Any) -> Identity:
    """Which model this is."""
    return Identity(
        fingerprint=fingerprint(model),
        model_class=type(model.model).__name__,
        prediction=prediction_of(model.get_model_object("model_sampling")),
    )


def fingerprint(model: Any) -> str:
    """A hash over the shapes and values of a few small output-layer weights, in float16.

    Weights that a LoRA has patched in place are read as they were before.
    """
    network = model.model.diffusion_model
    weights = [(name, w) for name, w in network.named_parameters() if w.ndim >= 1]
    last = [
        (n, w) for n, w in weights if n.startswith(("final_layer.", "out.", "proj_out", "head."))
    ]
    digest = hashlib.sha256()
    for name, weight in sorted(last or weights[-2:], key=lambda pair: pair[0])[:4]:
        backup = model.backup.get(f"diffusion_model.{name}")
        value = weight if backup is None else backup.weight
        flat = value.detach().flatten()[:4096].to("cpu", torch.float16)
        digest.update(f"{name}{tuple(value.shape)}".encode())
        digest.update(flat.numpy().tobytes())
    return digest.hexdigest()[:32]


def empty_latent(model: Any, latent: dict[str, Any]) -> torch.Tensor:
    """The latent's shape with the model's channels, one item, all zeros."""
    samples = torch.zeros_like(latent["samples"][:1])
    return comfy.sample.fix_empty_latent_channels(model, samples)


def noise_of_seeds(latent: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """The noise that the stock KSampler draws for each seed."""
    return torch.cat([comfy.sample.prepare_noise(latent, seed) for seed in seeds])


def progress_bar(total: int) -> Callable[[int, int], None]:
    """A function ``(done, total)`` that moves the node's progress bar."""
    bar = comfy.utils.ProgressBar(max(total, 1))
    return lambda done, most: bar.update_absolute(done, most)


def raise_if_cancelled() -> None:
    comfy.model_management.throw_exception_if_processing_interrupted()


def sample_custom(
    model: Any,
    seed: int,
    cfg: float,
    sampler: Any,
    sigmas: torch.Tensor,
    positive: Any,
    negative: Any,
    latent: dict[str, Any],
) -> dict[str, Any]:
    """Sample a latent as the stock KSampler does: noise, mask, preview, progress, cancel."""
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    callback = latent_preview.prepare_callback(model, max(sigmas.shape[-1] - 1, 1))
    result = comfy.sample.sample_custom(
        model,
        noise,
        cfg,
        sampler,
        sigmas,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return {**latent, "samples": result}


def make_sampler(function: Callable[..., torch.Tensor], options: dict[str, Any]) -> Any:
    """A SAMPLER of a k-diffusion style function."""
    return comfy.samplers.KSAMPLER(function, options)


def patcher_of(model: Any) -> Any:
    """The MODEL behind what a sampler function is given."""
    return model.inner_model.model_patcher


def cfg_of(model: Any) -> float | None:
    """The guidance scale in what a sampler function is given, where its guider has one."""
    cfg = getattr(model.inner_model, "cfg", None)
    return float(cfg) if isinstance(cfg, (int, float)) else None


def add_to_dropdown(function: Callable[..., torch.Tensor]) -> None:
    """Make ``function`` the sampler ``dc_solver`` of every sampler dropdown, once.

    A sampler of that name which is there already, another pack's or the host's, is left alone.
    """
    if hasattr(k_diffusion_sampling, f"sample_{SAMPLER}"):
        log.warning("DC-Solver: there is a sampler %s already; leaving it in the list", SAMPLER)
        return
    setattr(k_diffusion_sampling, f"sample_{SAMPLER}", function)
    for names in (comfy.samplers.KSAMPLER_NAMES, comfy.samplers.SAMPLER_NAMES):
        if SAMPLER not in names:
            names.append(SAMPLER)


def register_folder() -> None:
    """Make ``models/dc_ratios`` a model folder of the host, beside any that its settings add."""
    default = str(Path(folder_paths.models_dir) / FOLDER)
    paths, endings = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    if default not in paths:
        paths = [*paths, default]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {*endings, ".safetensors"})


def library_names() -> list[str]:
    return list(folder_paths.get_filename_list(FOLDER))


def library_path(name: str) -> Path:
    """The path of a file of the library.  Raises ValueError for a name that is not listed."""
    if name not in library_names():
        raise ValueError(
            f"file: expected one of the files in models/{FOLDER}, got {name!r}; press R to refresh."
        )
    return Path(folder_paths.get_full_path_or_raise(FOLDER, name))


def library_folder() -> Path:
    """Where new calibrations are written."""
    return Path(folder_paths.get_folder_paths(FOLDER)[0])


def save_preview(pixels: Any) -> dict[str, str]:
    """Write an image (height, width, 3, 8 bits) to the temp folder, for the node to show."""
    import numpy as np
    from PIL import Image

    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]
    name = f"dc_solver_{digest}.png"
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)
    return {"filename": name, "subfolder": "", "type": "temp"}


class ManyRuns(comfy.samplers.Sampler):  # type: ignore[misc]
    """A Sampler that runs ``work`` inside one load of the model and one encoding of the prompts.

    ``work(runner)`` gets a :class:`GuidedModel` and leaves its result in ``result``.
    """

    def __init__(self, noise: torch.Tensor, work: Callable[[GuidedModel], Any]) -> None:
        self._noise = noise
        self._work = work
        self.result: Any = None

    def sample(
        self,
        model_wrap: Any,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: torch.Tensor,
        latent_image: torch.Tensor | None = None,
        denoise_mask: torch.Tensor | None = None,
        disable_pbar: bool = False,
    ) -> torch.Tensor:
        first = sigmas[0].to("cpu")
        start = model_wrap.inner_model.model_sampling.noise_scaling(
            first, self._noise, torch.zeros_like(self._noise), self.max_denoise(model_wrap, sigmas)
        )
        self.result = self._work(GuidedModel(model_wrap, extra_args, start, noise.device))
        return noise


class GuidedModel:
    """The guided model inside a run on ``device``, with the starting states of all points."""

    def __init__(
        self, guider: Any, extra_args: dict[str, Any], start: torch.Tensor, device: torch.device
    ) -> None:
        self._guider = guider
        self._extra_args = extra_args
        self.start = start
        self.device = device

    def at(self, cfg: float) -> Callable[..., torch.Tensor]:
        """The denoiser at a guidance scale, called with the ``points`` in the batch."""

        def denoise(x: torch.Tensor, sigma: torch.Tensor, points: slice) -> torch.Tensor:
            with self._prompts_of(points), self._guided(cfg):
                return self._guider(x, sigma, **self._extra_args)

        return denoise

    @contextmanager
    def _guided(self, cfg: float) -> Iterator[None]:
        before = self._guider.cfg
        self._guider.cfg = cfg
        try:
            yield
        finally:
            self._guider.cfg = before

    @contextmanager
    def _prompts_of(self, points: slice) -> Iterator[None]:
        """Let a batch of prompts speak for its own points: the host would take the first ones."""
        before = self._guider.conds
        self._guider.conds = {
            key: [_cond_of_points(cond, points) for cond in conds] for key, conds in before.items()
        }
        try:
            yield
        finally:
            self._guider.conds = before


def _cond_of_points(cond: dict[str, Any], points: slice) -> dict[str, Any]:
    parts = {}
    for name, part in cond.get("model_conds", {}).items():
        content = getattr(part, "cond", None)
        if isinstance(content, torch.Tensor):
            part = part._copy_with(_rows_of_points(content, points))
        elif isinstance(content, list) and all(isinstance(t, torch.Tensor) for t in content):
            part = part._copy_with([_rows_of_points(t, points) for t in content])
        parts[name] = part
    found = {**cond, "model_conds": parts}
    if isinstance(cond.get("mask"), torch.Tensor):
        found["mask"] = _rows_of_points(cond["mask"], points)
    hint = getattr(cond.get("control"), "cond_hint_original", None)
    if isinstance(hint, torch.Tensor) and hint.shape[0] > 1:
        raise ValueError(
            f"positive, negative: expected one ControlNet image, got a batch of {hint.shape[0]}; "
            "calibrate with one."
        )
    return found


def _rows_of_points(tensor: torch.Tensor, points: slice) -> torch.Tensor:
    """The rows of a batch that belong to these points; a batch of one belongs to all."""
    if tensor.ndim == 0 or tensor.shape[0] == 1:
        return tensor
    return tensor[[i % tensor.shape[0] for i in range(points.start, points.stop)]]


def run_many(
    model: Any,
    positive: Any,
    negative: Any,
    noise: torch.Tensor,
    batch: int,
    sigmas: torch.Tensor,
    work: Callable[[GuidedModel], Any],
) -> Any:
    """Run ``work`` with the model loaded for ``batch`` latents; its result.

    ``noise`` is that of all points; they start at the first of ``sigmas``, the whole of which the
    model's patches may look at.
    """
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(1.0)
    sampler = ManyRuns(noise, work)
    one_batch = noise[:batch]
    guider.sample(
        one_batch,
        torch.zeros_like(one_batch),
        sampler,
        sigmas,
        disable_pbar=True,
        seed=0,
    )
    return sampler.result
