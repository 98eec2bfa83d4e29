"""Many trajectories inside one load of a model: what a calibration needs of ComfyUI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.samplers
import torch

from . import host

_POSITIVE, _NEGATIVE = "positive", "negative"
#: What makes a conditioning speak for itself alone.
_OF_ITS_OWN = {"control", "hooks", "mask", "area", "gligen", "default"}
#: The host batches conditionings below two thirds of the free memory; we leave more.
_MARGIN = 2.0


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
    """The guided model inside a run on ``device``, with the starting states of all points.

    With several prompts, point ``i`` has the one at ``i`` modulo their number.  ``preview`` is what
    the model last made of a point, kept while somebody looks.
    """

    def __init__(
        self, guider: Any, extra_args: dict[str, Any], start: torch.Tensor, device: torch.device
    ) -> None:
        self._guider = guider
        self._extra_args = extra_args
        self._prompts = [key for key in guider.conds if key.startswith(_POSITIVE)]
        self.start = start
        self.device = device
        self.watch = False
        self.preview: torch.Tensor | None = None

    def at(self, cfg: float) -> Callable[..., torch.Tensor]:
        """The denoiser at a guidance scale, called with the ``points`` in the batch."""

        def denoise(x: torch.Tensor, sigma: torch.Tensor, points: slice) -> torch.Tensor:
            parts = []
            for rows, conds in self._conds_of(points):
                host.raise_if_cancelled()
                with self._guiding(cfg, conds):
                    parts.append(self._guider(x[rows], sigma[rows], **self._extra_args))
            if self.watch:
                self.preview = parts[0][:1].clone()
            return torch.cat(parts) if len(parts) > 1 else parts[0]

        return denoise

    @contextmanager
    def _guiding(self, cfg: float, conds: dict[str, Any]) -> Iterator[None]:
        before = self._guider.cfg, self._guider.conds
        self._guider.cfg, self._guider.conds = cfg, conds
        try:
            yield
        finally:
            self._guider.cfg, self._guider.conds = before

    def _conds_of(self, points: slice) -> list[tuple[slice, dict[str, Any]]]:
        """The rows of a batch that one call can take, with their conditionings."""
        known = self._guider.conds
        negative = [_cond_of_points(cond, points) for cond in known[_NEGATIVE]]
        if len(self._prompts) == 1:
            # The host would give a batch of prompts by its first ones, whatever the points.
            positive = [_cond_of_points(cond, points) for cond in known[_POSITIVE]]
            return [(slice(None), {_POSITIVE: positive, _NEGATIVE: negative})]
        chosen = [
            known[self._prompts[i % len(self._prompts)]] for i in range(points.start, points.stop)
        ]
        together = _one_batch(chosen)
        if together is not None:
            return [(slice(None), {_POSITIVE: [together], _NEGATIVE: negative})]
        return [
            (
                slice(row, row + 1),
                {
                    _POSITIVE: conds,
                    _NEGATIVE: [
                        _cond_of_points(cond, slice(points.start + row, points.start + row + 1))
                        for cond in known[_NEGATIVE]
                    ],
                },
            )
            for row, conds in enumerate(chosen)
        ]


def _one_batch(chosen: list[list[dict[str, Any]]]) -> dict[str, Any] | None:
    """The conditionings of several prompts as that of one batch; None where they do not fit."""
    if any(len(conds) != 1 or conds[0].keys() != chosen[0][0].keys() for conds in chosen):
        return None
    conds = [conds[0] for conds in chosen]
    if any(set(cond) & _OF_ITS_OWN for cond in conds):
        return None
    names = conds[0]["model_conds"].keys()
    if any(cond["model_conds"].keys() != names for cond in conds):
        return None
    merged = {name: _joined([cond["model_conds"][name] for cond in conds]) for name in names}
    return None if None in merged.values() else {**conds[0], "model_conds": merged}


def _joined(parts: list[Any]) -> Any:
    """Parts of conditionings as one with a row each; None where they do not fit together."""
    contents = [getattr(part, "cond", None) for part in parts]
    tensors = [c for c in contents if isinstance(c, torch.Tensor) and c.ndim > 0]
    if len(tensors) < len(contents):
        constant = isinstance(contents[0], (int, float, str)) and len(set(contents)) == 1
        return parts[0] if constant else None
    if len({t.shape for t in tensors}) > 1 or tensors[0].shape[0] != 1:
        return None
    return parts[0]._copy_with(torch.cat(tensors))


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


def automatic_batch(model: Any, shape: tuple[int, ...], most: int) -> int:
    """How many latents of ``shape`` (without the batch) a model call may take.

    As many as fit beside the weights by the host's own estimate, with a wide margin.
    """
    management = comfy.model_management
    free = management.get_free_memory(model.load_device)
    free -= max(model.model_size() - model.loaded_size(), 0)
    batch = 1
    while batch < most and _MARGIN * model.model.memory_required([4 * batch, *shape]) < free:
        batch *= 2
    return min(batch, most)


def run_many(
    model: Any,
    positives: Sequence[Any],
    negative: Any,
    noise: torch.Tensor,
    batch: int,
    sigmas: torch.Tensor,
    work: Callable[[GuidedModel], Any],
) -> Any:
    """Run ``work`` with the model loaded for ``batch`` latents; its result.

    ``positives`` are the prompts, the points taking turns at them.  ``noise`` is that of all
    points; they start at the first of ``sigmas``, the whole of which the model's patches may see.
    """
    guider = comfy.samplers.CFGGuider(model)
    named = {f"{_POSITIVE}_{k}" if k else _POSITIVE: cond for k, cond in enumerate(positives)}
    guider.inner_set_conds({**named, _NEGATIVE: negative})
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
