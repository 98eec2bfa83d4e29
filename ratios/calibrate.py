"""Search of the compensation ratios (DC-Solver, 2409.03755, algorithm 1), without gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..solvers import Langevin, Schedule, Solver, compensating, get_solver
from ..solvers.calls import Model, state_dtype
from ..solvers.grid import Grid, make_grid
from ..solvers.inputs import check_settings, check_state, check_time
from ..solvers.plan import make_plan
from ..solvers.run import run_plan
from ..solvers.step import Settings, Step
from .greedy import LOSSES, greedy_search
from .points import Chunk, ExtraArgs, PointModel, Tally
from .reference import reference_sigmas, reference_states, state_at, union
from .schedule import Identity, RatioSchedule, Report, geometric_mean_ratio, settings_of
from .search import MOST_TRIES

#: Model calls of the reference trajectory, unless the caller says otherwise.
REFERENCE_CALLS = 64

#: Stands for an infinite error in reports, which hold finite numbers alone.
_INFINITE = 1e30

Progress = Callable[[int, int], None]
Interrupt = Callable[[], None]


@dataclass(frozen=True)
class Finals:
    """Final states of the check points, on the CPU: what a calibration looks like.

    ``compensated`` are those of the ratios that were found, whether or not they were kept.
    """

    plain: torch.Tensor
    compensated: torch.Tensor
    reference: torch.Tensor


ShowFinals = Callable[[Finals], None]


def calibrate(
    model: Model,
    x: torch.Tensor,
    sigmas: torch.Tensor | Sequence[float],
    *,
    schedule: Schedule,
    check: int = 0,
    extra_args: ExtraArgs = None,
    chunk: int | None = None,
    device: torch.device | str | None = None,
    solver: str = "dc_solver",
    order: int = 2,
    variant: str = "bh2",
    dc_order: int = 2,
    lower_order: bool | str = True,
    variable: str = "t",
    first_corrector: bool = True,
    corrector: bool | None = None,
    langevin: Langevin | None = None,
    loss: str = "relative",
    reference_calls: int = REFERENCE_CALLS,
    finals: ShowFinals | None = None,
    cfg: float | None = None,
    progress: Progress | None = None,
    interrupt: Interrupt | None = None,
    **identity: Any,
) -> RatioSchedule:
    """Find the ratios that keep the solver on the model's true trajectory.

    For each step in turn, the ratio that brings the states after it, corrector included, nearest
    to the reference; then on from there.

    Args:
        model: called as ``model(x, sigma * ones(B), **extra_args)``; returns the denoised x0.
        x: starting states at ``sigmas[0]`` in the host's scaling, ``(points, ...)``, one a data
            point.
        sigmas: the grid the ratios are for: falling, the last perhaps 0.
        schedule: how sigma relates to half-logSNR and model time.
        check: the last ``check`` points are not searched on but try the result: unless the
            geometric mean of their error falls below that without compensation, the ratios stay
            1.  0: no such guard, and the report says "unchecked".
        extra_args: keyword arguments for the model, or a function from a slice of the points to
            those of these points (each may have its own prompt).
        chunk: points in one model call; None for all at once.
        device: where the model runs; None for the device of ``x``.
        solver, order, variant, dc_order, lower_order, variable, first_corrector, corrector: as in
            :func:`solvers.sample`.
        langevin: refused: with noise in every trajectory no ratio brings it nearer to a reference.
        loss: "mean" is the paper's mean square distance over the points; "relative" weighs each
            point's distance by that with a ratio of 1, so that no single point, such as one whose
            trajectory ends in another mode, decides for all (benchmarks/search.py compares them).
        reference_calls: model calls of the reference trajectory, about.
        finals: receives the final states of the check points once they are known.
        cfg: the guidance scale that the model was given, kept with the result.
        progress: called as ``progress(done, total)`` in model calls times points.
        interrupt: called before every model call; stops the run by raising.
        identity: fields of :class:`Identity` to keep with the result.

    Returns:
        The ratios with their :class:`Report`.  Nothing outside is changed, whatever happens.

    Raises:
        TypeError, ValueError: an argument does not fit; the message says what was expected.
    """
    task = _Task.make(
        x,
        schedule,
        check=check,
        extra_args=extra_args,
        chunk=chunk,
        device=device,
        solver=solver,
        order=order,
        variant=variant,
        dc_order=dc_order,
        lower_order=lower_order,
        variable=variable,
        first_corrector=first_corrector,
        corrector=corrector,
        langevin=langevin,
        loss=loss,
        reference_calls=reference_calls,
        finals=finals,
        **identity,
    )
    grid = task.check_grid(sigmas)
    tally = Tally(progress, interrupt, task.reference_work([grid]) + task.search_work(grid))
    check_state(model, x, schedule)
    with torch.no_grad():
        everyone = task.point_model(model, range(len(x)), tally)
        states = reference_states(everyone, task.start, grid.sigmas, schedule, task.reference_calls)
        result = task.run(model, grid, states, everyone.calls, cfg, tally)
    tally.add(tally.total - tally.done)
    return result


def calibrate_grid(
    model: Callable[[float], Model],
    x: torch.Tensor,
    *,
    schedule: Schedule,
    grids: Sequence[torch.Tensor | Sequence[float]],
    cfgs: Sequence[float],
    progress: Progress | None = None,
    interrupt: Interrupt | None = None,
    **options: Any,
) -> list[RatioSchedule]:
    """:func:`calibrate` for every pair of a grid and a guidance scale.

    At each scale one reference trajectory serves all grids: it passes through the times of each.
    Its calls are counted in the report of that scale's first grid.

    Args:
        model: a function of the guidance scale that returns the guided model.
        x: starting states; all grids must start at the same sigma.
        grids: the sigmas of each step count.
        cfgs: the guidance scales.
        progress, interrupt: as in :func:`calibrate`, over all of the work.
        options: the other arguments of :func:`calibrate` (all but ``sigmas`` and ``cfg``).

    Returns:
        The calibrations, scale by scale and within each in the order of the grids.

    Raises:
        TypeError, ValueError: as :func:`calibrate`, and where the grids start at several sigmas.
    """
    task = _Task.make(x, schedule, **options)
    checked = [task.check_grid(sigmas) for sigmas in grids]
    if not checked or not cfgs:
        raise ValueError(
            f"calibrate_grid: expected one grid and one CFG or more, got {len(checked)} and "
            f"{len(cfgs)}."
        )
    starts = {grid.sigmas[0] for grid in checked}
    if len(starts) > 1:
        raise ValueError(
            f"grids: expected all to start at the same sigma, as x does, got {sorted(starts)}; "
            "use a scheduler whose first sigma does not depend on the number of steps."
        )
    models = [model(cfg) for cfg in cfgs]
    for guided in models:
        check_state(guided, x, schedule)
    work = task.reference_work(checked) + sum(task.search_work(grid) for grid in checked)
    tally = Tally(progress, interrupt, work * len(models))
    results = []
    with torch.no_grad():
        for guided, cfg in zip(models, cfgs):
            everyone = task.point_model(guided, range(len(x)), tally)
            times = union([grid.sigmas for grid in checked], schedule)
            states = reference_states(everyone, task.start, times, schedule, task.reference_calls)
            for k, grid in enumerate(checked):
                calls = everyone.calls if k == 0 else 0
                results.append(task.run(guided, grid, states, calls, float(cfg), tally))
    tally.add(tally.total - tally.done)
    return results


@dataclass(frozen=True)
class _Task:
    """What all calibrations of one call share."""

    start: torch.Tensor
    device: torch.device
    dtype: torch.dtype
    schedule: Schedule
    points: int
    check: int
    chunk: Chunk
    finals: ShowFinals | None
    settings: Settings
    loss: str
    reference_calls: int
    extra_args: ExtraArgs
    identity: Identity

    @classmethod
    def make(
        cls,
        x: torch.Tensor,
        schedule: Schedule,
        *,
        check: int = 0,
        extra_args: ExtraArgs = None,
        chunk: int | None = None,
        device: torch.device | str | None = None,
        solver: str = "dc_solver",
        order: int = 2,
        variant: str = "bh2",
        dc_order: int = 2,
        lower_order: bool | str = True,
        variable: str = "t",
        first_corrector: bool = True,
        corrector: bool | None = None,
        langevin: Langevin | None = None,
        loss: str = "relative",
        reference_calls: int = REFERENCE_CALLS,
        finals: ShowFinals | None = None,
        **identity: Any,
    ) -> _Task:
        """Check the arguments.  Raises TypeError and ValueError."""
        check_state(print, x, schedule)
        _check_can_search(get_solver(solver), langevin)
        check_time(get_solver(solver), schedule)
        settings = Settings(
            solver=solver,
            order=order,
            variant=variant,
            dc_order=dc_order,
            variable=variable,
            lower_order=lower_order,
            first_corrector=first_corrector,
            corrector=corrector,
        )
        settings = replace(check_settings(settings), corrector=corrector)
        for name, value in (
            ("check", check),
            ("chunk", chunk),
            ("reference_calls", reference_calls),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise TypeError(f"{name}: expected a whole number, got {value!r}.")
        if not (extra_args is None or callable(extra_args) or isinstance(extra_args, Mapping)):
            raise TypeError(
                "extra_args: expected a dict, or a function from a slice of the points to one, "
                f"got {type(extra_args).__name__}."
            )
        if len(x) == 0:
            raise ValueError("x: expected one data point or more, got none.")
        if not 0 <= check < len(x):
            raise ValueError(
                f"check: expected 0 to {len(x) - 1} of the {len(x)} points, got {check}; "
                "at least one point must be left to search on."
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk: expected 1 or more points, got {chunk}.")
        if loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {loss!r}.")
        if reference_calls < 1:
            raise ValueError(f"reference_calls: expected 1 or more, got {reference_calls}.")
        unknown = sorted(set(identity) - set(Identity.names()))
        if unknown:
            raise TypeError(
                f"calibrate: unknown argument {', '.join(unknown)}; the identity has "
                f"{', '.join(Identity.names())}."
            )
        return cls(
            start=x.detach().to("cpu", state_dtype(x.dtype)),
            device=torch.device(device) if device is not None else x.device,
            dtype=x.dtype,
            schedule=schedule,
            points=len(x) - check,
            check=check,
            chunk=Chunk(chunk or len(x)),
            finals=finals,
            settings=settings,
            loss=loss,
            reference_calls=reference_calls,
            extra_args=extra_args,
            identity=Identity(**{"latent_shape": tuple(x.shape[1:]), **identity}),
        )

    def check_grid(self, sigmas: torch.Tensor | Sequence[float]) -> Grid:
        grid = make_grid(sigmas, self.schedule)
        if grid.steps < 1 or grid.sigmas[0] == 0.0:
            raise ValueError(f"sigmas: expected two or more, the first above 0, got {grid.sigmas}.")
        if any(after > here for here, after in zip(grid.sigmas, grid.sigmas[1:])):
            raise ValueError("sigmas: expected a falling grid to calibrate on, got a rising one.")
        return grid

    def plan(self, grid: Grid) -> list[Step]:
        return make_plan(grid, self.schedule, self.settings)

    def point_model(self, model: Model, points: range, tally: Tally) -> PointModel:
        return PointModel(
            model,
            extra_args=self.extra_args,
            device=self.device,
            dtype=self.dtype,
            points=points,
            chunk=self.chunk,
            tally=tally,
        )

    def reference_work(self, grids: Sequence[Grid]) -> int:
        times = union([grid.sigmas for grid in grids], self.schedule)
        fine, _ = reference_sigmas(times, self.schedule, self.reference_calls)
        return (len(fine) - 1) * (self.points + self.check)

    def search_work(self, grid: Grid) -> int:
        """The most that the search and the check may cost, in calls x points."""
        steps = self.plan(grid)
        tries = sum(MOST_TRIES if step.nodes and step.correct else 1 for step in steps[:-1])
        return (tries + 1) * self.points + 3 * grid.steps * self.check

    def run(
        self,
        model: Model,
        grid: Grid,
        states: dict[float, torch.Tensor],
        reference_calls: int,
        cfg: float | None,
        tally: Tally,
    ) -> RatioSchedule:
        """Search on the first points, check on the last."""
        end = tally.done + self.search_work(grid)
        truth = [state_at(states, sigma, self.schedule) for sigma in grid.sigmas]
        searching = self.point_model(model, range(self.points), tally)
        found = greedy_search(
            searching,
            self.start[: self.points],
            [state[: self.points] for state in truth],
            grid,
            self.plan(grid),
            self.loss,
        )
        result = RatioSchedule(
            ratios=found.ratios,
            sigmas=grid.sigmas,
            cfg=cfg,
            **settings_of(self.settings),
            identity=self.identity,
            report=Report(
                losses=found.losses,
                losses_plain=found.losses_plain,
                search_calls=searching.calls,
                reference_calls=reference_calls,
                points=self.points,
                found=found.ratios,
            ),
        )
        if self.check:
            tally.add(max(end - 3 * grid.steps * self.check - tally.done, 0))
            result = self._guard(model, grid, truth[-1][self.points :], result, tally)
        tally.add(max(end - tally.done, 0))
        return result

    def _guard(
        self,
        model: Model,
        grid: Grid,
        truth: torch.Tensor,
        result: RatioSchedule,
        tally: Tally,
    ) -> RatioSchedule:
        """Keep the ratios only if they help on points that they were not searched on."""
        checking = self.point_model(model, range(self.points, self.points + self.check), tally)

        def final(settings: Settings, ratios: Sequence[float] | None) -> torch.Tensor:
            plan = make_plan(grid, self.schedule, settings, ratios)
            return run_plan(plan, checking, self.start[self.points :])

        def errors(states: torch.Tensor) -> tuple[float, ...]:
            distances = (states - truth).square().flatten(1).mean(dim=1).tolist()
            return tuple(d if math.isfinite(d) else _INFINITE for d in distances)

        plain_settings = replace(self.settings, dc_order=None)
        second = Settings(solver="dpmpp_2m", lower_order="final")
        finals = Finals(final(plain_settings, None), final(self.settings, result.ratios), truth)
        plain, with_ratios = errors(finals.plain), errors(finals.compensated)
        dpmpp_2m = errors(final(second, None))
        if _INFINITE in plain:
            raise ValueError(
                "model: expected finite outputs, got NaN or infinity on a check seed; check the "
                "model and its precision."
            )
        if self.finals is not None:
            self.finals(finals)
        assert result.report is not None
        gain = geometric_mean_ratio(with_ratios, plain)
        better = gain is not None and math.isfinite(gain) and gain < 1.0
        report = replace(
            result.report,
            check_calls=checking.calls,
            check_points=self.check,
            errors=with_ratios,
            errors_plain=plain,
            errors_dpmpp_2m=dpmpp_2m,
            verdict="better" if better else "not better",
        )
        if better:
            return replace(result, report=report)
        return replace(
            result,
            ratios=(1.0,) * grid.steps,
            report=report,
            notes=("compensation did not help on the check seeds: the ratios stay 1",),
        )


def _check_can_search(solver: Solver, langevin: Langevin | None) -> None:
    """Raises ValueError where there are no ratios to search, with the reason."""
    if langevin is not None and langevin.steps:
        raise ValueError(
            "langevin: expected none in a calibration; Langevin steps put new noise into every "
            "trajectory, so no ratio brings one nearer to the reference. Calibrate without them."
        )
    if not solver.compensates:
        takers = ", ".join(compensating())
        why = "without compensation" if solver.kind == "multistep" else "on no earlier outputs"
        raise ValueError(
            f"solver: expected one that takes ratios ({takers}), got {solver.name}, which runs "
            f"{why}."
        )
