"""A calibration of the loaded model, driven through the WebUI's own processing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from modules import paths, processing, sd_samplers, shared
from modules.prompt_parser import MulticondLearnedConditioning
from modules.sd_samplers_common import InterruptedException

from ...ratios import Identity, RatioSchedule, calibrate_grid
from ...ratios.fingerprint import sample_hash
from ...ratios.references import kept_references
from . import models
from .references import key_of
from .registration import NAME
from .sampler import DCSolverSampler

Progress = Callable[[int, int], None]
#: Settings that drop CFG at some steps, which a search at one step could not tell.
_NOT_AT_WORK = ("skip_early_cond", "s_min_uncond")


@dataclass(frozen=True)
class Job:
    """What to calibrate.  Each pair of a step count and a CFG is one calibration.

    ``seeds`` are searched on, ``check_seeds`` more try the result; they take turns at the
    ``prompts``.  ``batch`` is how many images one model call takes.  ``reference_calls`` of None
    are as many as the quality asks for.
    """

    prompts: tuple[str, ...]
    steps: tuple[int, ...]
    cfgs: tuple[float, ...]
    negative: str = ""
    scheduler: str = "Simple"
    width: int = 512
    height: int = 512
    first_seed: int = 1
    seeds: int = 10
    check_seeds: int = 6
    batch: int = 1
    reference_calls: int | None = None
    solver: str = "dc_solver"
    corrector: bool | None = None
    quality: str = "paper"

    @property
    def points(self) -> int:
        return self.seeds + self.check_seeds


def run(job: Job, progress: Progress, stopped: Callable[[], bool]) -> list[RatioSchedule] | None:
    """The calibrations of a job, scale by scale; None where somebody stopped it.

    ``stopped`` is asked before every model call.  To be called as the host's own generations are:
    one at a time, on the thread that it generates on.  Raises what the calibration raises.
    """
    p = _Processing(
        outpath_samples="",
        outpath_grids="",
        prompt=[job.prompts[k % len(job.prompts)] for k in range(job.points)],
        negative_prompt=job.negative,
        seed=[job.first_seed + k for k in range(job.points)],
        subseed=0,
        batch_size=job.points,
        n_iter=1,
        steps=job.steps[0],
        cfg_scale=max(job.cfgs),  # at 1 the host would not encode the negative prompt
        width=job.width,
        height=job.height,
        sampler_name=NAME,
        do_not_save_samples=True,
        do_not_save_grid=True,
        override_settings={name: 0.0 for name in _NOT_AT_WORK if name in shared.opts.data_labels},
    )
    p.scheduler = job.scheduler
    p.s_min_uncond = 0.0
    p.search = _Search(job, progress, stopped)
    try:
        with _last_prompt_kept():
            processing.process_images(p)
    finally:
        p.close()
    if p.search.failure is not None:
        raise p.search.failure
    return p.search.found


@contextmanager
def _last_prompt_kept() -> Iterator[None]:
    """The host writes what it last made into a file, from which people paste; this was no image."""
    file = Path(paths.data_path) / "params.txt"
    before = file.read_bytes() if file.is_file() else None
    try:
        yield
    finally:
        if before is not None:
            file.write_bytes(before)
        else:
            file.unlink(missing_ok=True)


class _Decoded(list):  # type: ignore[type-arg]
    """Tells the host that there is nothing left to decode."""

    already_decoded = True


class _Processing(processing.StableDiffusionProcessingTxt2Img):  # type: ignore[misc]
    """Encodes the prompts and draws the noise as for images, then searches instead of sampling."""

    search: Any = None

    def sample(
        self,
        conditioning: Any,
        unconditional_conditioning: Any,
        seeds: Any,
        subseeds: Any,
        subseed_strength: Any,
        prompts: Any,
    ) -> Any:
        self.sampler = DCSolverSampler(self.sd_model)
        self.sampler.config = sd_samplers.find_sampler_config(NAME)
        self.sampler.func = self.search
        self.search.noise = self.rng.next()
        # The host makes room for what it is given: one batch is all that runs at a time.
        batch = self.search.noise[: self.search.job.batch].clone()
        self.sampler.sample(
            self,
            batch,
            conditioning,
            unconditional_conditioning,
            image_conditioning=self.txt2img_image_conditioning(batch),
        )
        return _Decoded([torch.zeros(3, 8, 8)])


class _Search:
    """Called by the host as a sampler is, with the starting states of one batch.

    ``noise`` is that of all points, shape ``(points, ...)``.  Keeps what it raises: the host would
    leave its model changed.
    """

    def __init__(self, job: Job, progress: Progress, stopped: Callable[[], bool]) -> None:
        self.job = job
        self.noise: torch.Tensor = torch.empty(0)
        self._progress = progress
        self._stopped = stopped
        self.found: list[RatioSchedule] | None = None
        self.failure: Exception | None = None

    def __call__(
        self,
        model: Any,
        x: torch.Tensor,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        callback: Any = None,
        disable: bool | None = None,
    ) -> torch.Tensor:
        try:
            start = self.noise * _scale(x, self.noise[: len(x)])
            self.found = self._calibrate(model, start.to(x.dtype), extra_args)
        except Exception as error:
            self.failure = error
        return x[:1]

    def _calibrate(
        self, model: Any, x: torch.Tensor, arguments: Mapping[str, Any]
    ) -> list[RatioSchedule]:
        job, wrap = self.job, model.inner_model
        identity = replace(
            models.identity_of(wrap, model.p),
            scheduler=models.scheduler_name(job.scheduler),
            seeds=tuple(range(job.first_seed, job.first_seed + job.seeds)),
            prompts_hash=sample_hash([*job.prompts, job.negative]),
        )

        def at(cfg: float) -> Callable[..., torch.Tensor]:
            def denoise(x: torch.Tensor, sigma: torch.Tensor, **parts: Any) -> torch.Tensor:
                model.step = 0  # or prompt editing would move on
                return model(x, sigma, **{**parts, "cond_scale": cfg})

            return denoise

        def interrupt() -> None:
            if self._stopped():
                raise InterruptedException

        known = {name: getattr(identity, name) for name in Identity.names()}
        del known["latent_shape"]
        key = key_of(model, arguments, job.points, identity, job.steps)
        return calibrate_grid(
            at,
            x,
            grids=[model.sampler.get_sigmas(model.p, steps) for steps in job.steps],
            cfgs=job.cfgs,
            schedule=models.schedule_of(wrap),
            check=job.check_seeds,
            chunk=job.batch,
            extra_args=lambda points: {
                name: rows_of(value, points, job.points) for name, value in arguments.items()
            },
            guard="all",
            quality=job.quality,
            stock=models.stock_of(wrap),
            reference_calls=job.reference_calls,
            references=None if key is None else kept_references(),
            model_key=key,
            solver=job.solver,
            corrector=job.corrector,
            progress=self._progress,
            interrupt=interrupt,
            **known,
        )


def _scale(x: torch.Tensor, noise: torch.Tensor) -> float:
    """What the host has multiplied the noise with: its first sigma, or a little more."""
    x, noise = x.double(), noise.to(x.device).double()
    return float((x * noise).sum() / (noise * noise).sum())


def rows_of(value: Any, points: slice, count: int) -> Any:
    """What belongs to some of ``count`` points, of an argument of the host's denoiser."""
    if isinstance(value, MulticondLearnedConditioning):
        batch = value.batch[points]
        return type(value)(shape=(len(batch),), batch=batch)
    if isinstance(value, (list, torch.Tensor)) and len(value) == count:
        return value[points]
    if isinstance(value, torch.Tensor) and value.ndim > 1:  # the same for all, for one batch
        return value[: points.stop - points.start]
    return value
