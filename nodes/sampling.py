"""The sampler function that ComfyUI calls, and which ratios it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch

from ..ratios import RatioSchedule, settings_of
from ..ratios.lookup import SAME_CFG, Choice, Run, choose, with_grid
from ..ratios.matching import carry_over
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

    choice = choose_ratios(wish, run, max(len(sigmas) - 1, 0))
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


def choose_ratios(wish: Wish, run: Callable[[], Run], steps: int) -> Choice:
    """The ratios that a node brings, fitted to the run, or those of the library.

    ``run`` says what is about to be sampled; the model is only looked at where that matters.
    """
    if steps == 0:
        return Choice(reason="nothing to do")
    if wish.ratios is not None:
        return Choice(_fitted(wish.ratios, run()))
    if not wish.find:
        return Choice(reason="looking in the library is off")
    entries = library.entries()
    return choose(entries, run()) if entries else Choice(reason="the library is empty")


def _fitted(ratios: RatioSchedule, run: Run) -> RatioSchedule:
    """The ratios over the run's sigmas; their notes say what does not fit."""
    if ratios.steps == 0:  # a file that is missing, as its note says
        return replace(ratios, ratios=(1.0,) * run.steps)
    fitted = carry_over(with_grid(ratios, run.grid_of, run.schedule), run.sigmas, run.schedule)
    here, there = run.identity, ratios.identity
    notes = []
    if run.cfg is not None and fitted.cfg is not None and abs(fitted.cfg - run.cfg) > SAME_CFG:
        notes.append(f"the ratios are for CFG {fitted.cfg:g}, not {run.cfg:g}")
    if there.prediction is not None and there.prediction != here.prediction:
        notes.append(f"the ratios are for a model of {there.prediction}, not {here.prediction}")
    elif there.fingerprint is not None and there.fingerprint != here.fingerprint:
        notes.append("the ratios are another model's")
    elif there.fingerprint is not None:
        if there.lora != here.lora:
            notes.append("the ratios were found with other LoRAs than this model has")
        if there.guidance != here.guidance:
            notes.append(f"the ratios were found with {_plain(there.guidance)}, "
                         f"this model has {_plain(here.guidance)}")  # fmt: skip
    return fitted.with_notes(*(note for note in notes if note not in fitted.notes))


def _plain(guidance: str | None) -> str:
    return guidance or "no guidance beside CFG"


def told(choice: Choice) -> str:
    """Which ratios run, in one line."""
    ratios = choice.ratios
    if ratios is None:
        return f"no ratios: plain UniPC ({choice.reason})" if choice.reason else "plain UniPC"
    source = [] if choice.source is None else [f"{choice.source} in the library"]
    notes = "".join(f" ({note})" for note in (*source, *ratios.notes))
    if not ratios.active:
        return f"ratios of 1: plain UniPC{notes}"
    return f"ratios {numbers(ratios.ratios)}{notes}"


def numbers(ratios: Sequence[float]) -> str:
    return " ".join(f"{ratio:.3f}" for ratio in ratios)


def record(choice: Choice) -> dict[str, Any]:
    """The choice as it is saved with an image."""
    ratios = None if choice.ratios is None else [round(r, 6) for r in choice.ratios.ratios]
    return {"told": told(choice), "ratios": ratios, "source": choice.source}
