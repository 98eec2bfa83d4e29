"""The sampler function that ComfyUI calls, and which ratios it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch

from ..ratios import RatioSchedule, settings_of
from ..ratios.chosen import choose_ratios, record, told
from ..ratios.lookup import Choice, Run
from ..solvers import sample
from . import host, host_model, library
from .host_notes import keep_with_image


@dataclass(frozen=True)
class Wish:
    """What a node asks of the sampler beside the solver's settings.

    ``ratios`` that the user connected, whether to look in the library where there are none, and
    who to tell which ratios run.
    """

    ratios: RatioSchedule | None = None
    find: bool = True
    tell: Callable[[Choice], None] | None = None


def sample_dc_solver(
    model: Any,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    wish: Wish | None = None,
    order: int = 2,
    variant: str = "bh2",
    lower_order: bool | str = True,
) -> torch.Tensor:
    """Sample with DC-Solver; without ratios that is UniPC.  One model call a step.

    Without a ``wish``, as from the stock nodes, the ratios come from the library where it has some
    for this run.
    """
    wish = wish or Wish()
    patcher = host_model.patcher_of(model)
    schedule = host_model.schedule_of(patcher.get_model_object("model_sampling"))
    settings = {"order": order, "variant": variant, "lower_order": lower_order}

    def run() -> Run:
        positive = getattr(model.inner_model, "conds", {}).get("positive", [])
        options = (extra_args or {}).get("model_options", patcher.model_options)
        identity = host_model.identity_of(patcher, [positive], options)
        return Run(
            sigmas=tuple(sigmas.tolist()),
            cfg=host_model.cfg_of(model),
            identity=replace(identity, latent_shape=tuple(x.shape[1:])),
            solver={**settings_of(RatioSchedule(())), **settings},
            schedule=schedule,
            grid_of=cache(partial(host_model.sigmas_of, patcher)),
        )

    find = library.entries if wish.find else None
    choice = choose_ratios(wish.ratios, find, run, max(len(sigmas) - 1, 0))
    host.log.info("DC-Solver: %s", told(choice))
    keep_with_image(record(choice))
    if wish.tell is not None:
        wish.tell(choice)
    return sample(
        model,
        x,
        sigmas,
        solver="dc_solver",
        schedule=schedule,
        ratios=choice.ratios,
        order=order,
        variant=variant,
        lower_order=lower_order,
        extra_args=extra_args,
        callback=callback,
        disable=disable,
    )
