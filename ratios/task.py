"""The arguments of a calibration, checked at one door."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from ..solvers import Langevin, Schedule, Solver, compensating, get_solver
from ..solvers.calls import Model, start_not_finite, state_dtype
from ..solvers.choices import check_one_of
from ..solvers.compensation import interpolation_weights
from ..solvers.grid import Grid, falls_strictly, make_grid, sigma_list
from ..solvers.inputs import check_settings, check_state, check_time
from ..solvers.plan import make_plan
from ..solvers.step import Settings, Step
from .cpr import LARGEST_CFG
from .greedy import HELD_BACK, LOSSES
from .points import Chunk, ExtraArgs, PointModel, Tally
from .records import check_identity
from .references import References
from .schedule import QUALITIES, ForSolver, Identity, choosing, settings_of

#: Other grids that a calibration may choose, by the name of their scheduler.
Grids = Mapping[str, torch.Tensor | Sequence[float]]
#: Those grids, or a function from the number of steps to those of as many.
Stock = Grids | Callable[[int], Grids]


#: Whom the guard hears: the check points alone, or the search points too.
GUARDS = ("check", "all")


@dataclass(frozen=True)
class Finals:
    """Final states of the check points, on the CPU: what a calibration looks like.

    ``compensated`` are those of what was found, whether or not it was kept.
    """

    plain: torch.Tensor
    compensated: torch.Tensor
    reference: torch.Tensor


ShowFinals = Callable[[Finals], None]


@dataclass(frozen=True)
class Task:
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
    held_back: float
    guard: str
    quality: str
    stock: Callable[[int], Grids]
    reference_calls: int | None
    references: References | None
    model_key: Hashable
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
        loss: str = "balanced",
        held_back: float = HELD_BACK,
        guard: str = "check",
        quality: str = "paper",
        stock: Stock | None = None,
        reference_calls: int | None = None,
        references: References | None = None,
        model_key: Hashable = None,
        finals: ShowFinals | None = None,
        **identity: Any,
    ) -> Task:
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
        if not bool(x.isfinite().all()):
            raise start_not_finite()
        if not 0 <= check < len(x):
            raise ValueError(
                f"check: expected 0 to {len(x) - 1} of the {len(x)} points, got {check}; "
                "at least one point must be left to search on."
            )
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk: expected 1 or more points, got {chunk}.")
        _check_key(references, model_key)
        if finals is not None and not callable(finals):
            raise TypeError(f"finals: expected a function of a Finals, got {finals!r}.")
        check_one_of("loss", loss, LOSSES)
        if isinstance(held_back, bool) or not isinstance(held_back, (int, float)):
            raise TypeError(f"held_back: expected a number, got {held_back!r}.")
        if not 0.5 <= held_back <= 1.0:
            raise ValueError(f"held_back: expected 0.5 to 1, got {held_back!r}.")
        check_one_of("guard", guard, GUARDS)
        check_one_of("quality", quality, QUALITIES)
        if quality == "tournament":
            _check_tournament(settings)
        if reference_calls is not None and reference_calls < 1:
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
            held_back=float(held_back),
            guard=guard,
            quality=quality,
            stock=stock if callable(stock) else lambda _: stock or {},
            reference_calls=reference_calls,
            references=references,
            model_key=model_key,
            extra_args=extra_args,
            identity=_checked(Identity(**{"latent_shape": tuple(x.shape[1:]), **identity})),
        )

    @property
    def all_heard(self) -> bool:
        """Whether there is a guard and it hears the search points too."""
        return self.check > 0 and self.guard == "all"

    @cached_property
    def start_digest(self) -> bytes:
        """A hash over the starting states, their number and order."""
        digest = hashlib.sha256(f"{self.start.dtype} {tuple(self.start.shape)}".encode())
        digest.update(self.start.contiguous().numpy().tobytes())
        return digest.digest()

    def check_grid(self, sigmas: torch.Tensor | Sequence[float]) -> Grid:
        grid = make_grid(sigmas, self.schedule)
        if grid.steps < 1 or grid.sigmas[0] == 0.0:
            raise ValueError(f"sigmas: expected two or more, the first above 0, got {grid.sigmas}.")
        if any(after > here for here, after in zip(grid.sigmas, grid.sigmas[1:])):
            raise ValueError("sigmas: expected a falling grid to calibrate on, got a rising one.")
        if grid.points[0].repeats(grid.points[-1]):
            raise ValueError(
                f"sigmas: expected one step or more that moves, got {grid.sigmas}, of which none "
                "does."
            )
        check_nodes(make_plan(grid, self.schedule, self.settings))
        return grid

    def other_grids(self, grid: Grid) -> dict[str, tuple[float, ...]]:
        """The stock grids that can take the place of the given one: from the same sigma, strictly
        falling, in as many steps."""
        first, last = grid.sigmas[0], grid.sigmas[-1]
        stock = {name: tuple(sigma_list(s)) for name, s in self.stock(grid.steps).items()}
        return {
            name: sigmas
            for name, sigmas in stock.items()
            if len(sigmas) == len(grid.sigmas)
            and abs(sigmas[0] - first) <= 1e-3 * first
            and falls_strictly(sigmas)
            and (sigmas[-1] == 0.0) == (last == 0.0)
        }

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


def check_nodes(plan: Sequence[Step]) -> None:
    """Raises ValueError where a step of a plan could not be compensated, as where times round."""
    for step in plan:
        if step.nodes:
            interpolation_weights(step.nodes, 1.0)


def tells_times(schedule: Schedule, sigmas: Sequence[float]) -> bool:
    """Whether the model's time is known and another at each of these sigmas."""
    if not schedule.has_model_time:
        return False
    noisy = {sigma for sigma in sigmas if sigma > 0.0}
    return len({schedule.model_time(sigma) for sigma in noisy}) == len(noisy)


def check_cfg(cfg: Any) -> float:
    """The guidance scale as a float.  Raises TypeError for no number, ValueError for one that is
    not finite or that no file can hold."""
    if isinstance(cfg, (bool, str)) or not hasattr(cfg, "__float__"):
        raise TypeError(f"cfg: expected a number, got {cfg!r}.")
    try:
        value = float(cfg)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of two
        raise TypeError(f"cfg: expected one number, got {cfg!r}.") from error
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"cfg: expected a finite number, got {str(cfg)[:20]}.")
    if abs(value) > LARGEST_CFG:
        raise ValueError(f"cfg: expected {LARGEST_CFG:g} at most, got {value:g}.")
    return value


def _checked(identity: Identity) -> Identity:
    """The identity, of which a file can be made.  Raises TypeError and ValueError."""
    for name, value in vars(identity).items():
        if name not in ("latent_shape", "seeds") and not isinstance(value, (str, type(None))):
            raise TypeError(f"{name}: expected a text or None, got {value!r}.")
    if not all(0 <= seed <= 2**64 for seed in identity.seeds):
        raise ValueError(f"seeds: expected whole numbers from 0 to 2^64, got {identity.seeds}.")
    check_identity(identity)
    return identity


def _check_tournament(settings: Settings) -> None:
    """Raises ValueError for a solver of one's own: a tournament chooses it."""
    own = choosing(settings_of(ForSolver()))
    for name, value in choosing(settings_of(settings)).items():
        if value != own[name]:
            raise ValueError(
                f"{name}: expected {own[name]} with quality tournament, got {value}; it tries the "
                "solvers by itself, and its result is for runs of dc_solver. Set it back, or take "
                "another quality."
            )


def _check_key(references: References | None, model_key: Hashable) -> None:
    """Raises TypeError where references could not be kept by this key."""
    if references is None:
        return
    if not isinstance(references, References):
        raise TypeError(f"references: expected References(), got {type(references).__name__}.")
    try:
        hash(model_key)
    except TypeError as error:
        raise TypeError(
            f"model_key: expected something hashable, got {type(model_key).__name__}."
        ) from error
    if model_key is None:
        raise TypeError(
            "model_key: expected what tells this model and its conditioning from others, as "
            "references are kept by it; got None."
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
