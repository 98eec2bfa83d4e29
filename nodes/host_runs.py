"""Many trajectories inside one load of a model: what a calibration needs of ComfyUI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.samplers
import torch


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
