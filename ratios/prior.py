"""A ratio without a calibration: that of the last step, which depends on the model least.

A run ends with a step of order 1 from its last noise to none, over which the model's output is the
image.  Moved along the line through the newest outputs it comes nearer to where that line leads:
in all trained models that were measured, and in the authors' polynomial for SD 2.1, the ratio of
that step is the largest, and follows from where the step begins and from the guidance scale:

    rho_N = 1 + h q,    h = sigma_{N-1} / (sigma_{N-2} - sigma_{N-1}),
    q = a + b L + c w + d w L + e w^2    limited to 0..1,

``L`` the half-logSNR at ``sigma_{N-1}`` and ``w = CFG / 12``, of CFG 4 at most; it fades at the
ends of the ranges of CFG and of ``sigma_{N-1}``.  ``benchmarks/prior.py`` fits the five numbers of
each family to trained models, takes less than half of what they give, and judges them on a model
left out.  All other ratios stay 1, and so does this one wherever nothing was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..solvers import FlowSchedule, Schedule
from ..solvers.grid import falls_strictly
from .schedule import PRIOR, ForSolver, RatioSchedule, settings_of

#: a to e of each family: eps- and v-prediction, and rectified flow.
VP = (0.362, -0.11, -0.294, 0.592, -2.124)
FLOW = (0.162, -0.02, -0.569, 0.473, -0.194)
#: Where it holds: these numbers of steps, and guidance scales above the first up to the second.
#: Below are models distilled for few steps, which follow no ODE that a ratio could help with.
STEPS = (5, 10)
CFGS = (2.0, 7.0)
#: Above this scale the models differ most, and it fades to nothing at the end of the range.
_FADES = 4.0
#: Ratios nearer to 1 than this do nothing that anybody would see.
_LEAST = 1.02
#: No grid that was measured has a larger one; two sigmas that nearly meet would.
MOST = 1.4
#: From this half-logSNR at the start a run is a whole one, from noise alone.
_NOISE = -2.0
#: Schedules that end in a step from less than the first of these sigmas have no use for it; from
#: the second it counts in full.
_TAPER = (0.05, 0.1)
#: The schedules that it is for, as the hosts call them.
SCHEDULERS = ("simple", "beta", "sgm_uniform")
#: What the model may predict.
PREDICTIONS = ("eps", "v", "flow")
#: Settings of ratios, which do nothing where there are none.
_FREE = ("dc_order", "variable")
NOTE = "the prior: nothing is calibrated for this run"


def measured(steps: int, cfg: float) -> bool:
    """Whether the prior is for so many steps at this guidance scale."""
    return STEPS[0] <= steps <= STEPS[1] and CFGS[0] < cfg <= CFGS[1]


def prior_ratio(
    sigmas: Sequence[float], cfg: float, schedule: Schedule, numbers: Sequence[float] | None = None
) -> float:
    """The ratio of the last step of a run over ``sigmas`` (three or more, the last 0).

    ``numbers`` stand in for those of the schedule's family.
    """
    before, last = sigmas[-3], sigmas[-2]
    a, b, c, d, e = numbers or (FLOW if isinstance(schedule, FlowSchedule) else VP)
    far, w = schedule.half_logsnr(last), min(cfg, _FADES) / 12.0
    share = min(max(a + b * far + c * w + d * w * far + e * w * w, 0.0), 1.0)
    weight = _ramp(last, *_TAPER) * _ramp(cfg, CFGS[1], _FADES)
    return min(1.0 + weight * share * last / (before - last), MOST)


def _ramp(value: float, nothing: float, all_of_it: float) -> float:
    """From 0 at one value to 1 at the other, and so on beyond them."""
    return min(max((value - nothing) / (all_of_it - nothing), 0.0), 1.0)


def prior(
    sigmas: Sequence[float],
    cfg: float | None,
    schedule: Schedule,
    solver: Mapping[str, Any],
    numbers: Sequence[float] | None = None,
) -> RatioSchedule | None:
    """The ratios for a run of a model that nothing is known of; None where 1 is the better guess.

    Args:
        sigmas: of the run, in the host's scaling.
        cfg: its guidance scale.
        schedule: that of the model.
        solver: its settings, as :func:`ratios.settings_of` gives them; it holds for the defaults.
        numbers: as in :func:`prior_ratio`.
    """
    steps = len(sigmas) - 1
    default = {k: v for k, v in settings_of(ForSolver()).items() if k not in _FREE}
    if (
        cfg is None
        or not measured(steps, cfg)
        or any(solver.get(name, value) != value for name, value in default.items())
        or not schedule.has_model_time
        or sigmas[-1] != 0.0
        or not falls_strictly(sigmas)
        or schedule.half_logsnr(sigmas[0]) > _NOISE
    ):
        return None
    ratio = round(prior_ratio(sigmas, cfg, schedule, numbers), 4)
    if not math.isfinite(ratio) or ratio < _LEAST:
        return None
    return RatioSchedule(
        ratios=(*(1.0,) * (steps - 1), ratio),
        sigmas=tuple(sigmas),
        cfg=cfg,
        origin=PRIOR,
        notes=(NOTE,),
    )
