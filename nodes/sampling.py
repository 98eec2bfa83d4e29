"""The sampler function that ComfyUI calls, and which ratios it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch

from ..ratios import RatioSchedule, solver_settings_of
from ..ratios.chosen import choose_ratios, record, refusal, report_text, told
from ..ratios.lookup import Run
from ..solvers import Langevin, RunReport, get_solver, sample
from . import host, host_model, library
from .host_notes import keep_with_image


@dataclass(frozen=True)
class Wish:
    """What a node asks of the sampler beside the solver's settings.

    ``ratios`` that the user connected, whether to look in the library where there are none, and
    who to tell, in words, which ratios run.
    """

    ratios: RatioSchedule | None = None
    find: bool = True
    tell: Callable[[str], None] | None = None


def sample_dc_solver(
    model: Any,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    wish: Wish | None = None,
    solver: str = "dc_solver",
    langevin: Langevin | None = None,
    **settings: Any,
) -> torch.Tensor:
    """Sample with DC-Solver, which without ratios is UniPC, or with another solver of the pack.

    Without a ``wish``, as from the stock nodes, the ratios come from the library where it has some
    for this run.  ``settings`` are those of :func:`solvers.sample`; connected ratios win over them.
    """
    wish = wish or Wish()
    patcher = host_model.patcher_of(model)
    schedule = host_model.schedule_of(patcher.get_model_object("model_sampling"))
    asked = solver_settings_of({"solver": solver, **settings})
    arguments = dict(extra_args or {})
    if langevin is not None:
        langevin = replace(langevin, seed=arguments.get("seed") or 0)

    def run() -> Run:
        positive = getattr(model.inner_model, "conds", {}).get("positive", [])
        options = arguments.get("model_options", patcher.model_options)
        identity = host_model.identity_of(patcher, [positive], options)
        return Run(
            sigmas=tuple(sigmas.tolist()),
            cfg=host_model.cfg_of(model),
            identity=replace(identity, latent_shape=tuple(x.shape[1:])),
            solver=asked,
            schedule=schedule,
            grid_of=cache(partial(host_model.sigmas_of, patcher)),
        )

    find = library.entries if wish.find else None
    steps = max(len(sigmas) - 1, 0)
    noisy = langevin is not None and langevin.steps > 0
    refused = refusal(solver, noisy, settings.get("threshold") is not None)
    choice = choose_ratios(wish.ratios, find, run, steps, refused)
    text = told(choice, solver, False if noisy else settings.get("corrector"))
    text += "".join(f", {beside}" for beside in _beside(langevin, settings.get("threshold")))
    host.log.info("DC-Solver: %s", text)
    keep_with_image(record(choice, solver, text))
    if wish.tell is not None:
        wish.tell(text)

    def report(done: RunReport) -> None:
        if get_solver(solver).kind == "adaptive":
            taken = report_text(solver, done)
            host.log.info("DC-Solver: %s", taken)
            if wish.tell is not None:
                wish.tell(f"{text}\n{taken}")

    return sample(
        model,
        x,
        sigmas,
        solver=solver if choice.ratios is None else choice.ratios.solver,
        schedule=schedule,
        ratios=choice.ratios,
        langevin=langevin,
        report=report,
        extra_args=extra_args,
        callback=callback,
        disable=disable,
        **settings,
    )


def _beside(langevin: Langevin | None, threshold: float | None) -> list[str]:
    """What acts beside the solver, in words."""
    told = []
    if langevin is not None and langevin.steps:
        told.append(f"{langevin.steps} Langevin steps after each step")
    if threshold is not None:
        told.append(f"thresholding at {threshold:g}")
    return told
