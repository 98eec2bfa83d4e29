"""What the two calibration nodes share: seeds, identity, one load of the model, progress."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ..ratios import Identity, RatioSchedule
from ..ratios.references import kept_references
from . import host, host_model
from .host_runs import GuidedModel, automatic_batch, run_many
from .options import CORRECTOR, LEAST_REFERENCE, LOWER_ORDER, chosen
from .plotting import Pictures
from .progress import Progress
from .prompts import Prompts
from .references import key_of

#: Larger batches are hardly faster.
_MOST_AUTOMATIC = 8


def run_calibration(
    work: Callable[..., list[RatioSchedule]],
    *,
    model: Any,
    positive: Any,
    negative: Any,
    latent_image: dict[str, Any],
    sigmas: torch.Tensor,
    scheduler: str,
    pictures: Pictures,
    node: str,
    first_seed: int,
    seeds: int,
    check_seeds: int,
    batch_size: int,
    reference_steps: int,
    dc_order: int,
    variable: str,
    order: int,
    variant: str,
    lower_order: str,
    solver: str = "dc_solver",
    corrector: str = "automatic",
    quality: str = "paper",
    stock: Mapping[str, torch.Tensor] | None = None,
) -> list[RatioSchedule]:
    """Call ``work(guided, **arguments)`` inside one load of the model.

    ``sigmas`` are what patches of the model are told that it is sampled with.  ``arguments`` are
    those that ``calibrate`` and ``calibrate_grid`` share, ``x`` included.  ``pictures``
    gets what it looks like, and ``node`` shows the progress.  ``quality`` is as the core names it,
    and ``stock`` other schedules that the result may run on.
    """
    if 0 < reference_steps < LEAST_REFERENCE:
        raise ValueError(
            f"reference_steps: expected 0, for as many as it needs, or {LEAST_REFERENCE} or more, "
            f"got {reference_steps}; a coarser reference is no better than what it judges."
        )
    positives = positive.conditionings if isinstance(positive, Prompts) else (positive,)
    remembering = host_model.memory_between_calls(model.model_options)
    if remembering:
        raise ValueError(
            f"model: expected no patch that remembers earlier steps, got {', '.join(remembering)}; "
            "a calibration runs many images at once and would mix them up. Calibrate without it."
        )
    latent = host.empty_latent(model, latent_image)
    numbers = range(first_seed, first_seed + seeds + check_seeds)
    noise = host.noise_of_seeds(latent, numbers)
    identity = replace(
        host_model.identity_of(model, positives, model.model_options),
        scheduler=scheduler,
        seeds=tuple(numbers[:seeds]),
        prompts_hash=prompts_hash(*positives, negative),
    )
    key = key_of(model, positives, negative, sigmas)
    shape = tuple(latent.shape[1:])
    batch = batch_size or automatic_batch(model, shape, min(len(noise), _MOST_AUTOMATIC))

    def inside(guided: GuidedModel) -> list[RatioSchedule]:
        progress = Progress(node, guided, host.previewer_of(model))
        return work(
            guided,
            finals=pictures.add,
            x=guided.start,
            device=guided.device,
            schedule=host_model.schedule_of(model.get_model_object("model_sampling")),
            check=check_seeds,
            chunk=batch,
            extra_args=lambda points: {"points": points},
            guard="all",
            quality=quality,
            stock=stock,
            reference_calls=reference_steps or None,
            references=kept_references(),
            model_key=key,
            solver=solver,
            corrector=chosen("corrector", CORRECTOR, corrector),
            dc_order=dc_order,
            variable=variable,
            order=order,
            variant=variant,
            lower_order=chosen("lower_order", LOWER_ORDER, lower_order),
            progress=progress,
            interrupt=host.raise_if_cancelled,
            **_known(identity),
        )

    found: list[RatioSchedule] = run_many(
        model, positives, negative, noise, min(batch, len(noise)), sigmas, inside
    )
    return found


def prompts_hash(*conditionings: Any) -> str:
    """A hash over the tensors of some conditionings."""
    digest = hashlib.sha256()
    for conditioning in conditionings:
        for entry in conditioning:
            for tensor in (entry[0], entry[1].get("pooled_output")):
                if isinstance(tensor, torch.Tensor):
                    flat = tensor.detach().flatten().to("cpu", torch.float32)
                    digest.update(flat.numpy().tobytes())
    return digest.hexdigest()[:32]


def _known(identity: Identity) -> dict[str, Any]:
    """The fields of an identity but the latent's shape, which the calibration sees itself."""
    names = (name for name in Identity.names() if name != "latent_shape")
    return {name: getattr(identity, name) for name in names}
