"""What a calibration or a prediction yields: ratios, what they are for, and how good they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..solvers import LearnedSteps, get_solver
from ..solvers.choices import check_one_of
from ..solvers.inputs import check_ratios, check_settings
from ..solvers.step import Settings
from .warp import Warp

#: Of ratios that no calibration of the model is behind (:mod:`ratios.prior`).
PRIOR = "prior"
#: What a seed counts that ratios were searched on beside one that they were not.
SEARCHED_COUNT = 0.5
ORIGINS = ("calibrated", "predicted", "imported", PRIOR)
VERDICTS = ("better", "not better", "unchecked")
#: What a calibration may change, from the paper's ratios to all of a step.
QUALITIES = ("paper", "ratios+", "tournament", "schedule", "full")
#: Those that vary smoothly enough over steps and scales for a regression.
CPR_QUALITIES = ("paper", "schedule")


@dataclass(frozen=True)
class Identity:
    """The model and the data that ratios belong to; None or empty where it is not known.

    ``fingerprint`` is a hash over a few weights, without LoRA, and ``lora`` one over the patches on
    them; ``guidance`` says what acts beside CFG, such as RescaleCFG or Flux guidance;
    ``latent_shape`` is that of one point without the batch, ``prompts_hash`` a hash over the
    conditionings.
    """

    fingerprint: str | None = None
    model_class: str | None = None
    prediction: str | None = None
    lora: str | None = None
    guidance: str | None = None
    scheduler: str | None = None
    latent_shape: tuple[int, ...] | None = None
    seeds: tuple[int, ...] = ()
    prompts_hash: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(int(seed) for seed in self.seeds))
        if self.latent_shape is not None:
            shape = tuple(int(size) for size in self.latent_shape)
            object.__setattr__(self, "latent_shape", shape)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls))


@dataclass(frozen=True)
class Report:
    """What a calibration cost and what it gained.

    ``losses`` and ``losses_plain`` are, for each step, the mean square distance of the search
    points to the reference after it, with the chosen ratio and with 1 in its place (both with the
    ratios already chosen for the steps before).  ``search_calls``, ``reference_calls`` and
    ``check_calls`` count batched model calls; :attr:`calls` counts them times the points in them.
    Where some of them took a part of the points, those two are rounded, and ``search_work`` and
    ``reference_work`` are the calls times their points (else 0).  ``reused_reference``: that of an
    earlier calibration served too.  ``search_gain`` is :attr:`gain` on the search points, where the
    guard heard them; ``check_work`` then has the run for it beside those of the check points.
    The errors are of the final latents, one a check point, mean square over the elements, against
    the reference: with the ratios found, with none, and of DPM-Solver++(2M) on the same sigmas.
    """

    losses: tuple[float, ...] = ()
    losses_plain: tuple[float, ...] = ()
    search_calls: int = 0
    reference_calls: int = 0
    check_calls: int = 0
    points: int = 0
    check_points: int = 0
    errors: tuple[float, ...] = ()
    errors_plain: tuple[float, ...] = ()
    errors_dpmpp_2m: tuple[float, ...] = ()
    found: tuple[float, ...] = ()
    verdict: str = "unchecked"
    search_work: int = 0
    reference_work: int = 0
    reused_reference: bool = False
    search_gain: float | None = None
    check_work: int = 0

    @property
    def calls(self) -> dict[str, int]:
        """Model calls times points, by purpose."""
        everyone = self.points + self.check_points
        return {
            "search": self.search_work or self.search_calls * self.points,
            "reference": self.reference_work or self.reference_calls * everyone,
            "check": self.check_work or self.check_calls * self.check_points,
        }

    @property
    def calls_per_point(self) -> float:
        """All model calls over the number of search points."""
        return sum(self.calls.values()) / max(self.points, 1)

    @property
    def gain(self) -> float | None:
        """Geometric mean over the check points of error over error without compensation."""
        return geometric_mean_ratio(self.errors, self.errors_plain)

    @property
    def estimate(self) -> float | None:
        """What the gain is taken to be on any seed: that of the check points and, where there is
        one, that of the search points, each of which counts half of a check point, all of them as
        much as the check points at most."""
        gain, searched = self.gain, self.search_gain
        if gain is None or searched is None or min(gain, searched) <= 0.0:
            return gain
        beside = SEARCHED_COUNT * min(self.points, 2 * self.check_points)
        total = self.check_points * math.log(gain) + beside * math.log(searched)
        return _exp(total / (self.check_points + beside))

    @property
    def gain_over_dpmpp_2m(self) -> float | None:
        """Geometric mean over the check points of error over that of DPM-Solver++(2M)."""
        return geometric_mean_ratio(self.errors, self.errors_dpmpp_2m)

    @property
    def share_worse(self) -> float | None:
        """The share of check points whose error grew."""
        if not self.errors:
            return None
        worse = sum(a > b for a, b in zip(self.errors, self.errors_plain))
        return worse / len(self.errors)


def geometric_mean_ratio(errors: Sequence[float], base: Sequence[float]) -> float | None:
    """``exp(mean(log(errors / base)))``; None where there is nothing to compare.

    Two errors of 0 count as equal.
    """
    if not errors or len(errors) != len(base):
        return None
    tiny = 1e-30
    logs = [math.log(max(a, tiny)) - math.log(max(b, tiny)) for a, b in zip(errors, base)]
    return _exp(math.fsum(logs) / len(logs))


def _exp(value: float) -> float:
    """The exponential, of what would overflow the largest."""
    return math.exp(min(value, 709.0))


@dataclass(frozen=True, kw_only=True)
class ForSolver:
    """The solver and its settings that ratios hold for, as :func:`solvers.sample` takes them."""

    solver: str = "dc_solver"
    order: int = 2
    variant: str = "bh2"
    dc_order: int = 2
    variable: str = "t"
    lower_order: bool | str = True
    first_corrector: bool = True
    corrector: bool | None = None

    @property
    def serves(self) -> dict[str, Any]:
        """The settings of the runs that these ratios are for, as :func:`settings_of` gives them."""
        return settings_of(self)

    def take_settings(self) -> None:
        """Write settings that change nothing as everybody else does, so that equal ones are equal.

        Raises ValueError for settings that do not exist.
        """
        settings = check_settings(Settings(**settings_of(self)))
        entry = get_solver(self.solver)
        own = self.corrector == entry.corrector
        for name, value in (
            ("order", settings.order),
            ("variant", settings.variant),
            ("corrector", None if own else self.corrector),
            ("first_corrector", self.first_corrector or not settings.corrector),
        ):
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class RatioSchedule(ForSolver):
    """Compensation ratios, one a step, with the settings they hold for.

    ``ratios[i]`` compensates the newest output before the update from ``sigmas[i]`` to
    ``sigmas[i + 1]``.  ``sigmas`` and ``cfg`` are None where they are not known (imported lists;
    a prediction for a step count that was not calibrated has no sigmas, only the ``start``, the
    first of them).  ``notes`` say what a
    user should know, such as values clamped to the fitted range.

    ``learned`` are steps that replace those of the host's grid, which stays in ``sigmas``; the
    solver, its settings and the ratios then hold over the learned sigmas.  A ``warp`` is what made
    them of the host's grid; without ``learned`` it is still to be laid over the grid of a run
    (:func:`matching.carry_over`).  ``quality`` is how much a calibration was free to change.
    """

    ratios: tuple[float, ...]
    sigmas: tuple[float, ...] | None = None
    start: float | None = None
    cfg: float | None = None
    origin: str = "calibrated"
    identity: Identity = field(default_factory=Identity)
    report: Report | None = None
    notes: tuple[str, ...] = ()
    learned: LearnedSteps | None = None
    quality: str = "paper"
    warp: Warp | None = None

    def __post_init__(self) -> None:
        self.take_settings()
        checked = check_ratios(get_solver(self.solver), self.ratios, len(self.ratios))
        object.__setattr__(self, "ratios", checked)
        if self.sigmas is not None:
            sigmas = tuple(float(sigma) for sigma in self.sigmas)
            if len(sigmas) != len(checked) + 1:
                raise ValueError(
                    f"sigmas: expected {len(checked) + 1} for {len(checked)} ratios, "
                    f"got {len(sigmas)}."
                )
            if not all(math.isfinite(sigma) and sigma >= 0.0 for sigma in sigmas):
                raise ValueError("sigmas: expected finite numbers of 0 or more.")
            object.__setattr__(self, "sigmas", sigmas)
            object.__setattr__(self, "start", sigmas[0])
        if self.start is not None and not (math.isfinite(self.start) and self.start >= 0.0):
            raise ValueError(f"start: expected a finite sigma of 0 or more, got {self.start!r}.")
        if self.cfg is not None:
            if not math.isfinite(self.cfg):
                raise ValueError(f"cfg: expected a finite number, got {self.cfg!r}.")
            object.__setattr__(self, "cfg", float(self.cfg))
        check_one_of("origin", self.origin, ORIGINS)
        check_one_of("quality", self.quality, QUALITIES)
        if self.learned is not None:
            _check_learned(self.learned, self.sigmas)
        if self.warp is not None and not isinstance(self.warp, Warp):
            raise TypeError(f"warp: expected a Warp(a, b), got {type(self.warp).__name__}.")

    @property
    def steps(self) -> int:
        """The number of steps, ``N``."""
        return len(self.ratios)

    @property
    def active(self) -> bool:
        """Whether anything was kept: moved steps, a ratio other than 1, or the solver that a
        tournament chose."""
        return self.acts or (self.report is not None and self.chose_solver)

    @property
    def acts(self) -> bool:
        """Whether the steps are moved or any ratio differs from 1."""
        return self.moves_steps or self.compensates

    @property
    def moves_steps(self) -> bool:
        """Whether a run steps elsewhere than on the host's grid."""
        return self.learned is not None or self.warp is not None

    @property
    def chose_solver(self) -> bool:
        """Whether the solver is a tournament's choice, which no check spoke against."""
        if self.quality != "tournament":
            return False
        failed = self.report is not None and self.report.verdict == "not better"
        return not failed and choosing(settings_of(self)) != choosing(settings_of(ForSolver()))

    @property
    def serves(self) -> dict[str, Any]:
        """The settings of the runs that the ratios are for: of a solver that a tournament chose,
        runs of DC-Solver as it is by default."""
        return settings_of(ForSolver() if self.chose_solver else self)

    @property
    def compensates(self) -> bool:
        """Whether any ratio differs from 1."""
        return any(ratio != 1.0 for ratio in self.ratios)

    @property
    def gain(self) -> float | None:
        """What is left of the error without it (:attr:`Report.estimate`): 1 where a check kept
        nothing, None where nobody looked."""
        if self.report is None or self.report.estimate is None:
            return None
        return self.report.estimate if self.active else 1.0

    @property
    def sigmas_to_run(self) -> tuple[float, ...] | None:
        """The sigmas that are stepped: the learned ones, else those of the host's grid; None where
        they are not known."""
        if self.learned is not None:
            return self.learned.sigmas
        return self.sigmas if self.warp is None else None

    def with_notes(self, *notes: str) -> RatioSchedule:
        return replace(self, notes=(*self.notes, *notes))


def _check_learned(learned: LearnedSteps, sigmas: tuple[float, ...] | None) -> None:
    """Raises TypeError for other objects, ValueError for steps of another grid than ``sigmas``."""
    if not isinstance(learned, LearnedSteps):
        raise TypeError(f"learned: expected LearnedSteps(...), got {type(learned).__name__}.")
    if sigmas is None:
        raise ValueError("learned: expected the sigmas of the host's grid beside them, got none.")
    if len(sigmas) != len(learned.sigmas):
        raise ValueError(
            f"learned: expected {len(sigmas) - 1} steps, as many as the host's grid has, got "
            f"{learned.steps}."
        )
    for host, own in ((sigmas[0], learned.sigmas[0]), (sigmas[-1], learned.sigmas[-1])):
        if not math.isclose(host, own, rel_tol=1e-6):
            raise ValueError(
                f"learned: expected the first and the last sigma of the host's grid, {host:.6g}, "
                f"got {own:.6g}."
            )


def settings_of(schedule: ForSolver | Settings) -> dict[str, Any]:
    """The solver settings of a schedule or a CPR, or those of a run, as keyword arguments."""
    return {f.name: getattr(schedule, f.name) for f in fields(ForSolver)}


def choosing(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of :func:`settings_of` that a run chooses; K and the variable are the ratios' own."""
    return {k: value for k, value in settings.items() if k not in ("dc_order", "variable")}


def solver_settings_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What :func:`settings_of` gives for these arguments of :func:`solvers.sample`.

    Arguments that say nothing of the coefficients are left out.  Raises ValueError for settings
    that do not exist.
    """
    known = {f.name for f in fields(ForSolver)}
    found = ForSolver(**{name: value for name, value in arguments.items() if name in known})
    found.take_settings()
    return settings_of(found)
