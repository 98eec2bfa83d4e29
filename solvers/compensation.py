"""Dynamic compensation of the newest model output (DC-Solver, 2409.03755, equation 6).

After UniPC's corrector the newest output belongs to the predicted state, not to the corrected
one.  Compensation replaces it by the Lagrange interpolation of the last ``K + 1`` outputs at

    t' = rho * t_newest + (1 - rho) * t_before,

so that ``rho = 1`` leaves it as it is.  The weights depend on the times only through their
ratios; in the coordinate ``u = (t - t_before) / (t_newest - t_before)`` the target is ``rho``
itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def interpolation_weights(times: Sequence[float], rho: float) -> tuple[float, ...]:
    """Weights of the last ``K + 1`` outputs, newest first, for the ratio ``rho``.

    ``times`` are the outputs' times (or half-logSNRs), newest first, all different.  An output
    infinitely far away (the start of a flow grid in half-logSNR) has no weight, which is the
    limit of the formula; with ``K = 1`` the weights are ``rho`` and ``1 - rho`` at any distance.
    Raises ValueError for times that are not different.
    """
    if len(times) == 2:
        return (rho, 1.0 - rho)
    if len(set(times)) < len(times):
        raise ValueError(
            f"ratios: expected outputs at different times, got {tuple(times)}; the sigma_to_t of "
            'the schedule must not round, or compensate with variable="lambda".'
        )
    newest, before = times[0], times[1]
    nodes = [1.0, 0.0] + [(time - before) / (newest - before) for time in times[2:]]
    finite = [node for node in nodes if math.isfinite(node)]
    weights = [
        math.prod((rho - other) / (node - other) for other in finite if other != node)
        if math.isfinite(node)
        else 0.0
        for node in nodes
    ]
    return tuple(weights)
