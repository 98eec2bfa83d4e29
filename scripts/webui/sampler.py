"""The sampler behind the WebUI's dropdown entry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from modules.sd_samplers_kdiffusion import KDiffusionSampler

from ...ratios import CPR, RatioSchedule, solver_settings_of
from ...ratios.chosen import choose_ratios, fitted, refusal, report_text, told
from ...ratios.lookup import Choice, Run
from ...ratios.text import counted
from ...solvers import RunReport, get_solver, sample
from . import library, models
from .asked import Asked, asked_of
from .grids import sound_grid
from .infotext import note_report, note_run
from .steps import OnceAStep, step_at

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
    """Sample with the solver and the ratios that the user asked for in ``model.p``.

    ``model`` is the host's CFGDenoiser.
    """
    arguments = {} if extra_args is None else extra_args
    p = model.p
    asked, ratios = asked_of(p).of_pass(bool(getattr(p, "is_hr_pass", False)))
    asked, notes = asked.possible()
    notes += _shared_by_a_batch(asked, len(x))
    if notes:
        p.comment(f"DC-Solver: {'; '.join(notes)}.")
    run = cache(partial(run_of, model, sigmas, x, arguments, asked))
    choice = _chosen(asked, ratios, run, max(len(sigmas) - 1, 0), model)
    log.info("DC-Solver: %s", told(choice, asked.solver, asked.corrector))
    note_run(p, choice, asked)
    adaptive = get_solver(asked.solver).kind == "adaptive"
    grid = sigmas.tolist()
    steps = OnceAStep(callback, len(grid) - 1)

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        if adaptive or asked.langevin_steps:
            model.step = step_at(float(sigma[0]), grid)
        # The host changes these at the refiner's step: a copy would keep the old prompt.
        return model(x, sigma, **arguments)

    def report(done: RunReport) -> None:
        steps.finish()
        if adaptive:
            note_report(p, done)
            taken = report_text(asked.solver, done)
            log.info("DC-Solver: %s", taken)
            p.comment(f"DC-Solver: {taken}.")

    settings = asked.settings
    if choice.ratios is not None:
        settings["solver"] = choice.ratios.solver
    return sample(
        denoise,
        x,
        sigmas,
        schedule=models.schedule_of(model.inner_model),
        ratios=choice.ratios,
        report=report,
        callback=steps,
        disable=disable,
        **settings,
        **asked.extras(_seeds(p, len(x))),
    )


def _shared_by_a_batch(asked: Asked, images: int) -> list[str]:
    """What the images of a batch have in common, so that one of them alone comes out otherwise."""
    if images > 1 and get_solver(asked.solver).kind == "adaptive":
        return ["the images of a batch share their steps; made alone, one of them differs"]
    return []


def _seeds(p: Any, images: int) -> int | tuple[int, ...]:
    """For Langevin steps: those of the images, as their infotexts have them."""
    seeds = getattr(p, "seeds", None) or getattr(p, "seed", None) or 0
    if isinstance(seeds, (list, tuple)) and len(seeds) == images:
        return tuple(int(seed) for seed in seeds)
    return int(seeds[0] if isinstance(seeds, (list, tuple)) else seeds)


def run_of(
    model: Any,
    sigmas: torch.Tensor,
    x: torch.Tensor,
    arguments: Mapping[str, Any],
    asked: Asked,
) -> Run:
    """What is about to be sampled, with a solver that takes ratios."""
    wrap = model.inner_model
    identity = models.identity_of(wrap, model.p)
    return Run(
        sigmas=tuple(sigmas.tolist()),
        cfg=models.cfg_of(model, arguments),
        identity=replace(identity, latent_shape=tuple(x.shape[1:])),
        solver=solver_settings_of(asked.settings),
        schedule=models.schedule_of(wrap),
        grid_of=models.grids_of(wrap),
    )


def _chosen(
    asked: Asked,
    typed: tuple[float, ...] | None,
    run: Callable[[], Run],
    steps: int,
    model: Any,
) -> Choice:
    """The ratios of this pass; ``typed`` are the user's own, () for a plain run."""
    if typed == ():
        return Choice(reason="turned off")
    tell = partial(_told_in_page, asked=asked, p=model.p)
    refused = refusal(asked.solver, asked.langevin_steps > 0, asked.threshold is not None)
    if refused and (typed is not None or asked.file is not None):
        return tell(Choice(reason=refused))
    if typed is not None and len(typed) == steps:
        return tell(
            Choice(fitted(RatioSchedule(typed, origin="imported", **asked.settings), run()))
        )
    if asked.file is not None:
        return tell(_of_file(asked.file, run(), model))
    choice = choose_ratios(None, library.entries, run, steps, refused)
    if typed is None:
        return choice
    why = f"the typed ratios are for {counted(len(typed))}, this pass has {steps}"
    if choice.ratios is not None:
        return tell(replace(choice, ratios=choice.ratios.with_notes(why)))
    return tell(replace(choice, reason=f"{why}; {choice.reason}"))


def _told_in_page(choice: Choice, asked: Asked, p: Any) -> Choice:
    """Say under the image what of an explicit choice was not followed, or does not fit."""
    if choice.ratios is None or choice.ratios.notes:
        p.comment(f"DC-Solver: {told(choice, asked.solver, asked.corrector)}")
    return choice


def _of_file(name: str, run: Run, model: Any) -> Choice:
    """A chosen file over the run; a plain run, and a word why, where that cannot be."""
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
