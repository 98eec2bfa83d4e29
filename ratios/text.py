"""Calibrations in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..solvers import SOLVERS, LearnedSteps
from .cpr import CPR
from .schedule import ForSolver, RatioSchedule, Report

_MOST_LISTED = 13


def describe_ratios(schedule: RatioSchedule) -> str:
    """What the ratios are, what they cost and what they gain, a line each."""
    cfg = "unknown CFG" if schedule.cfg is None else f"CFG {schedule.cfg:g}"
    scheduler = schedule.identity.scheduler
    grid = f" on {scheduler}" if scheduler else ""
    of = "DC-Solver" if schedule.solver == "dc_solver" else label_of(schedule.solver)
    what = "learned steps" if schedule.moves_steps else "ratios"
    quality = "" if schedule.quality == "paper" else f" (quality {schedule.quality})"
    lines = [f"{of} {what}: {counted(schedule.steps)} at {cfg}{grid}, {schedule.origin}{quality}"]
    report = schedule.report
    if report is not None:
        lines += _gain(report, base_of(schedule))
    if schedule.learned is not None:
        lines += _learned(schedule.learned)
    if schedule.warp is not None:
        lines.append(
            f"warp of the schedule: a {schedule.warp.a:.3f}, b {schedule.warp.b:.3f}; whole runs "
            "alone"
        )
    if not schedule.moves_steps or schedule.compensates:
        lines.append("ratios: " + "  ".join(f"{ratio:.3f}" for ratio in schedule.ratios))
    if report is not None:
        calls = report.calls
        earlier = " and an earlier one" if report.reused_reference else ""
        lines.append(
            f"cost: {sum(calls.values())} model calls x images (reference {calls['reference']}"
            f"{earlier}, search {calls['search']}, check {calls['check']}), "
            f"{report.calls_per_point:.0f} for each of the {report.points} search seeds"
        )
    variant = f" {schedule.variant}" if SOLVERS[schedule.solver].has_variants else ""
    corrected = {None: "", True: " with UniC", False: " without UniC"}[schedule.corrector]
    lines.append(
        f"solver: {schedule.solver} order {schedule.order}{variant}{corrected}, K = "
        f"{schedule.dc_order} in {schedule.variable}"
    )
    if schedule.chose_solver:
        lines.append("to use it sample with dc_solver, which takes this solver by itself")
    lines += [f"note: {note}" for note in schedule.notes]
    return "\n".join(lines)


def _learned(learned: LearnedSteps) -> list[str]:
    """What was learned, and who else can use it."""
    lines = [
        f"sigmas: {listed(learned.sigmas)} in place of the scheduler's; any graph can use them as "
        "SIGMAS, with any sampler"
    ]
    if learned.inputs != learned.sigmas[:-1]:
        lines.append(f"told to the model: {listed(learned.inputs)}")
    if learned.changes is not None:
        changed = sum(any(row) for row in learned.changes)
        lines.append(f"outputs weighed anew: after {changed} of {counted(learned.steps)}")
    return lines


def _gain(report: Report, base: str) -> list[str]:
    """How much better than the solver without ratios, above all on seeds not searched on."""
    if report.gain is None:
        return ["error: not checked on other seeds"]
    before, after = _rms(report.errors_plain), _rms(report.errors)
    seeds = _seeds(report.check_points, "check")
    other = SOLVERS["dpmpp_2m"].label
    beside = f", {report.gain_over_dpmpp_2m or 0.0:.2f} of {other}'s on the same sigmas"
    lines = []
    left = report.estimate or 1.0
    if report.verdict == "better" and left < 0.995:
        lines.append(f"in short: {1.0 - left:.0%} less error than {base}")
    lines += [
        f"error on {seeds}: {report.gain:.2f} of {base}'s (rms {before:.3g} to {after:.3g})"
        f"{'' if base == other else beside} (geometric means); "
        f"{round((report.share_worse or 0.0) * report.check_points)} of "
        f"{report.check_points} got worse"
    ]
    if report.search_gain is not None:
        together = f"; taken together {report.estimate or 0.0:.2f}"
        searched = _seeds(report.points, "search")
        lines.append(f"error on the {searched}: {report.search_gain:.2f}{together}")
    if report.verdict == "not better":
        ratios = "  ".join(f"{ratio:.3f}" for ratio in report.found)
        found = f" (found: {ratios})" if any(ratio != 1.0 for ratio in report.found) else ""
        lines.append(f"not better than {base}, so the ratios stay 1{found}")
    return lines


def _seeds(count: int, purpose: str) -> str:
    return f"{count} {purpose} seed{'' if count == 1 else 's'}"


def _rms(errors: Sequence[float]) -> float:
    """The root of the geometric mean of mean square errors."""
    return math.sqrt(math.exp(sum(math.log(max(e, 1e-30)) for e in errors) / len(errors)))


def describe_cpr(cpr: CPR) -> str:
    """What a regression covers and what it was fitted on."""
    lines = [
        f"DC-Solver CPR: {_span(cpr.steps_range)} steps, CFG {_span(cpr.cfg_range)}, "
        f"fitted on {len(cpr.fitted)} calibration{'' if len(cpr.fitted) == 1 else 's'}"
    ]
    if cpr.warp is not None:
        lines.append("moves the steps of its schedule too; whole runs alone")
    base = base_of(cpr)
    for schedule in cpr.fitted:
        gain = None if schedule.report is None else schedule.report.estimate
        told = "unchecked" if gain is None else f"{gain:.2f} of {base}'s error"
        kept = "" if schedule.active else " (ratios of 1 kept)"
        lines.append(f"  {schedule.steps:3d} steps, CFG {schedule.cfg or 0.0:g}: {told}{kept}")
    reports = [s.report for s in cpr.fitted if s.report is not None]
    if reports:
        total = sum(sum(report.calls.values()) for report in reports)
        lines.append(f"cost: {total} model calls x images")
    return "\n".join(lines)


def _span(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def describe(found: RatioSchedule | CPR) -> str:
    """A report on either."""
    return describe_cpr(found) if isinstance(found, CPR) else describe_ratios(found)


def label_of(solver: str, corrector: bool | None = None) -> str:
    """The solver without ratios, for people: DC-Solver without them is UniPC."""
    if solver in ("dc_solver", "unipc") and corrector is False:
        return SOLVERS["unip"].label
    entry = SOLVERS["unipc" if solver == "dc_solver" else solver]
    if corrector is None or corrector == entry.corrector:
        return entry.label
    return f"{entry.label} {'with' if corrector else 'without'} UniC"


def base_of(found: ForSolver) -> str:
    """The solver that some ratios are compared with, for people: that of the runs that they serve,
    without them."""
    return label_of(found.serves["solver"], found.serves["corrector"])


def plain_of(found: ForSolver) -> str:
    """The solver of some ratios without them, for people."""
    return label_of(found.solver, found.corrector)


def compensated(solver: str, corrector: bool | None = None) -> str:
    """The solver with ratios, for people."""
    own = solver == "dc_solver" and corrector is not False
    return SOLVERS[solver].label if own else f"{label_of(solver, corrector)} with ratios"


def listed(sigmas: Sequence[float]) -> str:
    """Sigmas in four digits, of a long run the first and the last."""
    words = [f"{sigma:.4g}" for sigma in sigmas]
    if len(words) > _MOST_LISTED:
        words = [*words[:4], "\N{HORIZONTAL ELLIPSIS}", *words[-4:]]
    return " ".join(words)


def counted(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
