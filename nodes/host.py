"""What the nodes need of ComfyUI: sampling, folders, progress, the dropdown.

Only the modules named host import it.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import folder_paths
import latent_preview
import torch
from comfy.k_diffusion import sampling as k_diffusion_sampling
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_execution.utils import get_executing_context

from ..ratios.library import visible
from ..solvers.choices import check_one_of

log = logging.getLogger("dc_solver")
FOLDER = "dc_ratios"
SAMPLER = "dc_solver"

Interrupted = comfy.model_management.InterruptProcessingException
Preview = Any  # as the host makes them, or None
Bar = Callable[[int, int, Preview], None]
Previewer = Callable[[torch.Tensor], Preview] | None


def block(message: str | None) -> Any:
    """An output that stops whatever is connected to it, with this message or silently."""
    return ExecutionBlocker(message)


def schedulers() -> list[str]:
    return list(comfy.samplers.SCHEDULER_NAMES)


def calculate_sigmas(model: Any, scheduler: str, steps: int, denoise: float = 1.0) -> torch.Tensor:
    """The sigmas that the stock KSampler would take.  Raises ValueError for an unknown scheduler,
    which a link may bring."""
    check_one_of("scheduler", scheduler, schedulers())  # the host takes the first one then
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


def other_schedules(model: Any, steps: int) -> dict[str, torch.Tensor]:
    """The sigmas of every scheduler that makes this number of steps; each once."""
    found: dict[str, torch.Tensor] = {}
    for name in schedulers():
        try:
            sigmas = calculate_sigmas(model, name, steps)
        except Exception as error:  # schedulers of other packs may raise anything
            log.info("DC-Solver: passing over the scheduler %s (%s)", name, error)
            continue
        if len(sigmas) == steps + 1 and not any(map(sigmas.equal, found.values())):
            found[name] = sigmas
    return found


def empty_latent(model: Any, latent: dict[str, Any]) -> torch.Tensor:
    """The latent's shape with the model's channels, one item, all zeros."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False):
        raise ValueError(
            "latent_image: expected one latent, got several packed together (video with audio); "
            "models of these cannot be calibrated."
        )
    samples = torch.zeros_like(samples[:1])
    return comfy.sample.fix_empty_latent_channels(model, samples)


def noise_of_seeds(latent: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    """The noise that the stock KSampler draws for each seed."""
    return torch.cat([comfy.sample.prepare_noise(latent, seed) for seed in seeds])


def progress_bar(total: int) -> Bar:
    """A function ``(done, total, preview)`` that moves the node's progress bar."""
    return comfy.utils.ProgressBar(max(total, 1)).update_absolute  # type: ignore[no-any-return]


def previewer_of(model: Any) -> Previewer:
    """A function from a latent (1, ...) to what the progress bar shows; None without previews."""
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    if previewer is None:
        return None
    return lambda latent: previewer.decode_latent_to_preview_image("JPEG", latent)


def encode_prompt(clip: Any, text: str, options: dict[str, Any]) -> Any:
    """The CONDITIONING of a prompt, as the stock node makes it, with more options."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text), add_dict=options)


def decode(vae: Any, model: Any, latents: torch.Tensor) -> torch.Tensor:
    """Images (B, H, W, 3) of the model's own latents; of a video its middle frame."""
    images = vae.decode(model.model.process_latent_out(latents.float()))
    if images.ndim == 5:
        images = images[:, images.shape[1] // 2]
    return images.to("cpu")


def show_on_node(text: str, node: str, passing: bool = False) -> None:
    """Show a text on a node of the running graph, in the browser that queued it, if one did.

    A ``passing`` one is taken back where the run ends early.
    """
    server = prompt_server()
    if server is not None and server.client_id is not None:
        message = {"node": node, "text": text, "passing": passing, "graph": _running_graph()}
        server.send_sync("dc_solver.text", message, server.client_id)


def _running_graph() -> str | None:
    """The id of the workflow that runs here, as its browser knows it."""
    prompt, _ = running()
    for item in prompt_server().prompt_queue.get_current_queue_volatile()[0]:
        found: Any = item[3] if item[1] == prompt else None
        for key in ("extra_pnginfo", "workflow", "id"):
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, str):
            return found
    return None


def prompt_server() -> Any:
    """ComfyUI's web server; None where it is not running."""
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)


def running() -> tuple[str, str]:
    """The ids of the prompt and the node that run here; empty outside of both."""
    context = get_executing_context()
    return ("", "") if context is None else (context.prompt_id, context.node_id)


def queued_prompts() -> set[str]:
    """The ids of the prompts that run or wait."""
    parts = prompt_server().prompt_queue.get_current_queue_volatile()
    return {item[1] for part in parts for item in part}


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


def add_to_dropdown(function: Callable[..., torch.Tensor]) -> None:
    """Make ``function`` the sampler ``dc_solver`` of every sampler dropdown, once.

    A sampler of that name which is there already, another pack's or the host's, is left alone; that
    of this pack before it was loaded again is replaced.
    """
    there = getattr(k_diffusion_sampling, f"sample_{SAMPLER}", None)
    if there is not None and not same_function(there, function):
        log.warning("DC-Solver: there is a sampler %s already; leaving it in the list", SAMPLER)
        return
    setattr(k_diffusion_sampling, f"sample_{SAMPLER}", function)
    for names in (comfy.samplers.KSAMPLER_NAMES, comfy.samplers.SAMPLER_NAMES):
        if SAMPLER not in names:
            names.append(SAMPLER)


def same_function(one: Any, other: Any) -> bool:
    """Whether they are one function of one module, which may have been loaded twice."""
    return _full_name(one) == _full_name(other)


def _full_name(function: Any) -> tuple[Any, Any]:
    return getattr(function, "__module__", None), getattr(function, "__qualname__", function)


def register_folder() -> None:
    """Make ``models/dc_ratios`` a model folder of the host, beside any that its settings add."""
    default = str(Path(folder_paths.models_dir) / FOLDER)
    paths, endings = folder_paths.folder_names_and_paths.get(FOLDER, ([], set()))
    if default not in paths:
        paths = [*paths, default]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, {*endings, ".safetensors"})
    with suppress(OSError):  # a read-only disk: there is nothing to find then
        Path(default).mkdir(parents=True, exist_ok=True)


def library_names() -> list[str]:
    """What the host lists, without what is hidden."""
    try:
        listed = folder_paths.get_filename_list(FOLDER)
    except FileNotFoundError:  # a folder that the host has listed is gone
        folder_paths.filename_list_cache.pop(FOLDER, None)
        listed = folder_paths.get_filename_list(FOLDER)
    return [name for name in listed if visible(name)]


def library_path(name: str) -> Path:
    """The path of a file of the library.  Raises ValueError for a name that is not listed."""
    if name not in library_names():
        raise ValueError(
            f"file: expected one of the files in models/{FOLDER}, got {name!r}; press R to refresh."
        )
    return Path(folder_paths.get_full_path_or_raise(FOLDER, name))


def library_files() -> list[tuple[str, Path]]:
    """The names and paths of all files of the library."""
    paths = ((name, folder_paths.get_full_path(FOLDER, name)) for name in library_names())
    return [(name, Path(path)) for name, path in paths if path is not None]


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
