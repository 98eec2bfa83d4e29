"""The sampler behind the WebUI's dropdown entry."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from modules.sd_samplers_kdiffusion import KDiffusionSampler

from ...ratios import CPR, RatioSchedule, settings_of
from ...ratios.chosen import choose_ratios, fitted, told
from ...ratios.lookup import Choice, Run
from ...ratios.text import counted
from ...solvers import sample
from . import library, models
from .asked import Asked, asked_of
from .grids import sound_grid
from .infotext import note_run

log = logging.getLogger("dc_solver")


class DCSolverSampler(KDiffusionSampler):  # type: ignore[misc]
    """The host's own k-diffusion sampler, which calls :func:`sample_dc_solver`.

    ``grid`` are the sigmas of the whole schedule, of which img2img and hires fix run the end.
    """

    def __init__(self, sd_model: Any) -> None:
        super().__init__(sample_dc_solver, sd_model)
        self.grid: list[float] = []

    def get_sigmas(self, p: Any, steps: int) -> torch.Tensor:
        """The host's grid; a sound one where the host's leaves the range of a flow model."""
        sigmas = super().get_sigmas(p, steps)
        if models.prediction_of(self.model_wrap) == "flow":
            checked = sound_grid(sigmas, self.model_wrap.sigmas)
            if checked is not sigmas:
                p.comment("DC-Solver: this schedule leaves the range of a flow model, so the "
                          "sigmas of Simple are used.")  # fmt: skip
                sigmas = checked
        self.grid = sigmas.tolist()
        return sigmas


def sample_dc_solver(
    model: Any,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
) -> torch.Tensor:
    """Sample with DC-Solver as the user asked for it in ``model.p``.  One model call a step.

    ``model`` is the host's CFGDenoiser.
    """
    arguments = {} if extra_args is None else extra_args
    asked = asked_of(model.p)
    run = run_of(model, sigmas, x, arguments, asked)
    choice = _chosen(asked, run, model)
    log.info("DC-Solver: %s", told(choice))
    note_run(model.p, choice, asked)

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        # The host changes these at the refiner's step: a copy would keep the old prompt.
        return model(x, sigma, **arguments)

    return sample(
        denoise,
        x,
        sigmas,
        schedule=run.schedule,
        ratios=choice.ratios,
        callback=callback,
        disable=disable,
        **asked.settings,
    )


def run_of(
    model: Any,
    sigmas: torch.Tensor,
    x: torch.Tensor,
    arguments: Mapping[str, Any],
    asked: Asked,
) -> Run:
    """What is about to be sampled."""
    wrap = model.inner_model
    identity = models.identity_of(wrap, model.p)
    return Run(
        sigmas=tuple(sigmas.tolist()),
        cfg=models.cfg_of(model, arguments),
        identity=replace(identity, latent_shape=tuple(x.shape[1:])),
        solver={**settings_of(RatioSchedule(())), **asked.settings},
        schedule=models.schedule_of(wrap),
        grid_of=models.grids_of(wrap),
    )


def _chosen(asked: Asked, run: Run, model: Any) -> Choice:
    typed, plain = asked.typed_for(model.p)
    if plain:
        return Choice(reason="turned off")
    if typed is not None and typed.steps == run.steps:
        return _told_in_page(Choice(fitted(typed, run)), model.p)
    if asked.file is not None:
        return _told_in_page(_of_file(asked.file, run, model), model.p)
    choice = choose_ratios(None, library.entries, lambda: run, run.steps)
    if typed is None:
        return choice
    why = f"the typed ratios are for {counted(typed.steps)}, this pass has {run.steps}"
    if choice.ratios is not None:
        return _told_in_page(replace(choice, ratios=choice.ratios.with_notes(why)), model.p)
    return _told_in_page(replace(choice, reason=f"{why}; {choice.reason}"), model.p)


def _told_in_page(choice: Choice, p: Any) -> Choice:
    """Say under the image what of an explicit choice was not followed, or does not fit."""
    if choice.ratios is None or choice.ratios.notes:
        p.comment(f"DC-Solver: {told(choice)}")
    return choice


def _of_file(name: str, run: Run, model: Any) -> Choice:
    """A chosen file over the run; plain UniPC, and a word why, where that cannot be."""
    try:
        found = library.load(name)
        if isinstance(found, CPR):
            grid = model.sampler.grid or list(run.sigmas)
            if run.cfg is None:
                return Choice(reason="this guidance has no single CFG to predict for")
            predicted = found.predict(len(grid) - 1, run.cfg)
            if predicted.sigmas is None and predicted.identity.scheduler is None:
                # Of the authors' files no schedule is known: they are for this one.
                predicted = replace(predicted, sigmas=tuple(grid))
            found = predicted
        return Choice(fitted(found, run), name)
    except (ValueError, OSError) as error:
        return Choice(reason=f"{name}: {error}")
