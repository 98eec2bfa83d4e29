"""Cascade polynomial regression: ratios for any guidance scale and step count at once.

DC-Solver (2409.03755), equations 9 to 11:

    rho_i = sum_{q=0..3} phi_q(w, n) (i / N)^q,       w = CFG / 12,  n = N / 50,

``phi_q`` quadratic in ``w`` with coefficients quadratic in ``n``: 36 numbers in the order
``[q][w^2, w, 1][n^2, n, 1]`` of the authors' file.  ``i`` counts from 1 and is the step whose
compensation it is; the first ``K`` steps, which know too few outputs, have a ratio of 1.

Of calibrations that moved their steps by a warp (:mod:`ratios.warp`) the logs of its two numbers
are fitted beside the ratios, as planes over ``w`` and ``n``: ten seeds leave them too noisy for
more, and a plane is steadier than each search alone.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..solvers import get_solver
from ..solvers.inputs import LARGEST_RATIO, check_takes_ratios
from .schedule import ForSolver, Identity, RatioSchedule, settings_of
from .warp import LEAST, MOST, Warp

SHAPE = (4, 3, 3)
#: Of the planes of a warp, two of three numbers.
WARP_SIZE = 6
#: From here a prediction says that ratios were limited to those that were found.
LARGE_CHANGE = 0.05
#: The share of the error that calibrations must have taken away for a prediction between them to
#: count in full: where there is little to gain, a regression loses it easily.
FULL_TRUST = 0.1
#: The same of calibrations that moved their steps, whose mistakes cost more.
FULL_TRUST_MOVED = 0.4
#: From here nobody needs to hear of it.
_NEARLY_ALL = 0.95
#: What a calibration that did not help counts beside others that did.
_LEAST_TRUST = 0.05
#: Coefficients and guidance scales beyond these are no fit, and their polynomial may overflow.
LARGEST_COEFFICIENT, LARGEST_CFG = 1e12, 1e4
_ONE_MODEL = ("fingerprint", "model_class", "prediction", "lora", "guidance", "scheduler")
_CFG_UNIT = 12.0
_STEPS_UNIT = 50.0


@dataclass(frozen=True)
class CPR(ForSolver):
    """A fitted regression with the range that it was fitted on.

    Coefficients are 36 numbers, shape ``(4, 3, 3)``.  Inputs outside ``steps_range`` or
    ``cfg_range`` are clamped to them, for the polynomial runs away outside, and predictions to
    ``ratio_range``, the ratios that were seen (None: any).  ``fitted`` are the calibrations behind
    the fit, empty for an imported file.  ``warp`` are the six numbers of the planes of ``log a``
    and ``log b``, each in the order ``w, n, 1``, None where no steps are moved; a predicted warp
    stays within those that were fitted.
    """

    coefficients: tuple[float, ...]
    steps_range: tuple[int, int]
    cfg_range: tuple[float, float]
    ratio_range: tuple[float, float] | None = None
    identity: Identity = field(default_factory=Identity)
    fitted: tuple[RatioSchedule, ...] = ()
    warp: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "coefficients", _numbers("coefficients", self.coefficients, math.prod(SHAPE))
        )
        ranges = {"steps_range": self.steps_range, "cfg_range": self.cfg_range}
        if self.ratio_range is not None:
            ranges["ratio_range"] = self.ratio_range
        for name, (low, high) in ranges.items():
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise ValueError(f"{name}: expected a lower and an upper end, got {(low, high)}.")
        if any(abs(end) > LARGEST_CFG for end in self.cfg_range):
            raise ValueError(
                f"cfg_range: expected scales of {LARGEST_CFG:g} at most, got {self.cfg_range}."
            )
        learned = next((s for s in self.fitted if s.learned is not None and s.warp is None), None)
        if learned is not None:
            raise ValueError(
                "fitted: expected ratios, or learned steps with the warp that made them, got those "
                f"of quality {learned.quality} for {learned.steps} steps without one, which hold "
                "for no other run."
            )
        moved = [s.warp for s in self.fitted if s.warp is not None]
        if (self.warp is None) != (not moved):
            raise ValueError(
                "warp: expected its planes where calibrations moved their steps, and only there."
            )
        if self.warp is not None:
            object.__setattr__(self, "warp", _numbers("warp", self.warp, WARP_SIZE))
        self.take_settings()
        check_takes_ratios(get_solver(self.solver))

    def predict(self, steps: int, cfg: float) -> RatioSchedule:
        """The ratios for this many steps at this guidance scale, in well under a millisecond.

        Values outside the fitted range are clamped to it, and the result's notes say so.  The
        result has sigmas where this step count was calibrated.  Raises ValueError for fewer than 1
        step or a scale that is not finite.
        """
        for name, value in (("steps", steps), ("cfg", cfg)):
            if not isinstance(value, numbers.Real):
                raise TypeError(f"{name}: expected a number, got {value!r}.")
        if isinstance(steps, bool) or not math.isfinite(steps) or int(steps) != steps or steps < 1:
            raise ValueError(f"steps: expected a whole number of 1 or more, got {steps!r}.")
        if not math.isfinite(cfg):
            raise ValueError(f"cfg: expected a finite number, got {cfg!r}.")
        steps = int(steps)
        notes = []
        near_steps = min(max(steps, self.steps_range[0]), self.steps_range[1])
        near_cfg = min(max(float(cfg), self.cfg_range[0]), self.cfg_range[1])
        if near_steps != steps:
            notes.append(
                f"steps {steps} is outside the fitted range {self.steps_range[0]} to "
                f"{self.steps_range[1]}: using the curve of {near_steps}"
            )
        if near_cfg != cfg:
            notes.append(
                f"CFG {cfg:g} is outside the fitted range {self.cfg_range[0]:g} to "
                f"{self.cfg_range[1]:g}: using {near_cfg:g}"
            )
        position = np.arange(1, steps + 1) / steps
        if near_steps != steps:
            position = self._positions_on(near_steps, steps)
        ratios = _features(position, near_cfg, near_steps) @ np.asarray(self.coefficients)
        ratios[: self.dc_order] = 1.0
        if self.ratio_range is not None:
            limited = np.clip(ratios, *self.ratio_range)
            limited[: self.dc_order] = 1.0
            if np.any(np.abs(limited - ratios) > LARGE_CHANGE):
                low, high = self.ratio_range
                notes.append(f"ratios limited to those that were found, {low:.2f} to {high:.2f}")
            ratios = limited
        trust = self._trust(near_steps, near_cfg)
        ratios = np.clip(1.0 + trust * (ratios - 1.0), -LARGEST_RATIO, LARGEST_RATIO)
        if trust == 0.0:
            notes.append("compensation did not help at the settings around this one: ratios of 1")
        elif trust < _NEARLY_ALL:
            notes.append(
                f"weakened to {trust:.0%}: compensation helped little at the settings around it"
            )
        warp = self._warp(near_steps, near_cfg, trust)
        known = next((s.sigmas for s in self.fitted if s.steps == steps), None)
        start = next((s.start for s in self.fitted if s.start is not None), None)
        return RatioSchedule(
            ratios=tuple(ratios.tolist()),
            sigmas=known,
            start=start,
            cfg=float(cfg),
            origin="predicted",
            identity=self.identity,
            notes=tuple(notes),
            warp=warp,
            quality="paper" if warp is None else "schedule",
            **settings_of(self),
        )

    def _warp(self, steps: int, cfg: float, trust: float) -> Warp | None:
        """The warp for a setting in the fitted range; None where no steps are to be moved."""
        if self.warp is None or trust == 0.0:
            return None
        logs = np.asarray(self.warp).reshape(2, 3) @ _plane(cfg, steps)
        seen = np.array([_logs(found) for found in self.fitted])
        logs = trust * np.clip(logs, seen.min(axis=0), seen.max(axis=0))
        a, b = np.clip(np.exp(logs), LEAST, MOST).tolist()
        return Warp(a, b)

    def _trust(self, steps: int, cfg: float) -> float:
        """How much of a prediction to take: all where the calibrations around gained
        :data:`FULL_TRUST` or more on their check points (moved steps :data:`FULL_TRUST_MOVED`),
        less where they gained less, and nothing where none helped.  Between settings it is nearer
        to the lesser: the harmonic mean, by distance."""
        near_steps = _shares(steps, sorted({s.steps for s in self.fitted}))
        near_cfgs = _shares(cfg, sorted({s.cfg for s in self.fitted if s.cfg is not None}))
        full = FULL_TRUST if self.warp is None else FULL_TRUST_MOVED
        around = [
            (
                near_steps.get(found.steps, 0.0) * near_cfgs.get(found.cfg or 0.0, 0.0),
                _worth(found, full),
            )
            for found in self.fitted
        ]
        total = math.fsum(weight for weight, _ in around)
        if not self.fitted:
            return 1.0
        if total == 0.0:  # no whole grid of calibrations, and none at the corners around
            return min(worth for _, worth in around)
        if not any(weight and worth for weight, worth in around):
            return 0.0
        parts = [weight / max(worth, _LEAST_TRUST) for weight, worth in around]
        return round(total / math.fsum(parts), 6)

    def _positions_on(self, known: int, steps: int) -> np.ndarray:
        """Where on the curve of ``known`` steps each of ``steps`` steps stands.

        The steps that compensation can act on are spread over those of the known curve, so that
        nothing is read off the polynomial where nothing was fitted.
        """
        first = min(self.dc_order + 1, known) / known
        free = np.arange(steps) - self.dc_order
        last = max(steps - 1 - self.dc_order, 1)
        return first + (1.0 - first) * np.clip(free / last, 0.0, 1.0)

    def covers(self, steps: int, cfg: float) -> bool:
        """Whether this step count and scale lie in the fitted range."""
        return (
            self.steps_range[0] <= steps <= self.steps_range[1]
            and self.cfg_range[0] <= cfg <= self.cfg_range[1]
        )


def fit_cpr(schedules: Sequence[RatioSchedule]) -> CPR:
    """Fit the regression to calibrations of one model over step counts and guidance scales.

    The powers of ``w``, ``n`` and ``i / N`` are as high as the number of different values allows,
    up to the paper's; a few calibrations give a plane, one gives its own curve.  The paper uses
    scipy's curve_fit; the problem is linear, so scipy's least squares solves it outright.

    Raises ValueError where the calibrations do not belong together or none has a guidance scale.
    """
    from scipy import linalg  # a tenth of a second that only a fit needs

    schedules = list(schedules)
    if not schedules:
        raise ValueError("fit_cpr: expected one calibration or more, got none.")
    first = schedules[0]
    for schedule in schedules:
        if not isinstance(schedule, RatioSchedule):
            raise TypeError(f"fit_cpr: expected RatioSchedules, got {type(schedule).__name__}.")
        if schedule.cfg is None:
            raise ValueError("fit_cpr: expected calibrations with their CFG, got one without.")
        if settings_of(schedule) != settings_of(first):
            raise ValueError(
                f"fit_cpr: expected one set of solver settings, got {settings_of(first)} and "
                f"{settings_of(schedule)}; fit each on its own."
            )
        for name in _ONE_MODEL:
            here, there = getattr(first.identity, name), getattr(schedule.identity, name)
            if here != there:
                raise ValueError(
                    f"fit_cpr: expected calibrations of one model on one scheduler, got {name} "
                    f"{here!r} and {there!r}."
                )
        if ("schedule" in (schedule.quality, first.quality)) and schedule.quality != first.quality:
            raise ValueError(
                "fit_cpr: expected all calibrations of quality schedule or none, got "
                f"{first.quality} and {schedule.quality}; their ratios are for other steps."
            )

    rows, targets = [], []
    free = []
    for schedule in schedules:
        assert schedule.cfg is not None
        position = np.arange(1, schedule.steps + 1) / schedule.steps
        features = _features(position, schedule.cfg, schedule.steps)[first.dc_order :]
        rows.append(features)
        targets.append(np.asarray(schedule.ratios[first.dc_order :]))
        free.append(len(features))
    used = _used_powers(
        cfgs={schedule.cfg for schedule in schedules},
        steps={schedule.steps for schedule, count in zip(schedules, free) if count},
        positions=max(free, default=0),
    )
    coefficients = np.zeros(math.prod(SHAPE))
    matrix, target = np.concatenate(rows), np.concatenate(targets)
    if len(target):
        scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12)
        solution, *_ = linalg.lstsq((matrix / scale)[:, used], target, cond=1e-9)
        coefficients[used] = solution / scale[used]
    else:
        coefficients[_index(0, 0, 0)] = 1.0
    seen = [ratio for schedule in schedules for ratio in schedule.ratios]
    cfgs = [schedule.cfg for schedule in schedules if schedule.cfg is not None]
    counts = [schedule.steps for schedule in schedules]
    return CPR(
        coefficients=tuple(coefficients.tolist()),
        steps_range=(min(counts), max(counts)),
        cfg_range=(min(cfgs), max(cfgs)),
        ratio_range=(min(seen), max(seen)),
        identity=replace(first.identity),
        fitted=tuple(schedules),
        warp=_fit_warp(schedules),
        **settings_of(first),
    )


def _fit_warp(schedules: Sequence[RatioSchedule]) -> tuple[float, ...] | None:
    """The planes through the warps; as flat as different scales and step counts leave them."""
    if all(schedule.warp is None for schedule in schedules):
        return None
    rows = np.array([_plane(s.cfg or 0.0, s.steps) for s in schedules])
    targets = np.array([_logs(schedule) for schedule in schedules])
    varied = [k for k in range(2) if np.ptp(rows[:, k]) > 0.0]
    planes = np.zeros((2, 3))
    used = [*varied, 2]
    planes[:, used] = np.linalg.lstsq(rows[:, used], targets, rcond=None)[0].T
    return tuple(planes.reshape(-1).tolist())


def _plane(cfg: float, steps: int) -> np.ndarray:
    return np.array([cfg / _CFG_UNIT, steps / _STEPS_UNIT, 1.0])


def _logs(found: RatioSchedule) -> tuple[float, float]:
    """The logs of a calibration's warp; steps that stayed are a warp of 1."""
    return (0.0, 0.0) if found.warp is None else (math.log(found.warp.a), math.log(found.warp.b))


def _shares(value: float, known: Sequence[float]) -> dict[float, float]:
    """The known values on either side, with their weights in an interpolation at ``value``: flat
    beside each of them, so that a setting a hair from a calibrated one is much like it."""
    for low, high in zip(known, known[1:]):
        if low <= value <= high:
            share = (value - low) / (high - low)
            share *= share * (3.0 - 2.0 * share)
            return {low: 1.0 - share, high: share}
    return {known[0 if value <= known[0] else -1]: 1.0} if known else {}


def _worth(found: RatioSchedule, full: float) -> float:
    """1 for a calibration that gained ``full``, or that was not checked; 0 for one that kept
    ratios of 1."""
    if not found.acts:
        return 0.0
    return 1.0 if found.gain is None else min(max((1.0 - found.gain) / full, 0.0), 1.0)


def _numbers(name: str, values: Sequence[float], count: int) -> tuple[float, ...]:
    """So many coefficients as floats.  Raises ValueError."""
    found = np.asarray(values, dtype=np.float64).reshape(-1)
    if found.size != count or not np.all(np.isfinite(found)):
        raise ValueError(f"{name}: expected {count} finite numbers, got {found.size}.")
    if not np.all(np.abs(found) <= LARGEST_COEFFICIENT):
        raise ValueError(
            f"{name}: expected numbers of {LARGEST_COEFFICIENT:g} at most, got "
            f"{np.abs(found).max():g}."
        )
    return tuple(found.tolist())


def _features(position: np.ndarray, cfg: float, steps: int) -> np.ndarray:
    """The 36 products of powers at each position, shape ``(len(position), 36)``."""
    w, n = cfg / _CFG_UNIT, steps / _STEPS_UNIT
    outer = np.outer([w * w, w, 1.0], [n * n, n, 1.0]).reshape(-1)
    powers = position[:, None] ** np.arange(SHAPE[0])
    return (powers[:, :, None] * outer).reshape(len(position), -1)


def _index(q: int, w_power: int, n_power: int) -> int:
    return int(np.ravel_multi_index((q, 2 - w_power, 2 - n_power), SHAPE))


def _used_powers(cfgs: set[float | None], steps: set[int], positions: int) -> list[int]:
    """The coefficients that this many different values can determine."""
    return [
        _index(q, a, b)
        for q in range(min(SHAPE[0], max(positions, 1)))
        for a in range(min(3, len(cfgs)))
        for b in range(min(3, max(len(steps), 1)))
    ]
