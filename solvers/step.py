"""A run as a list of steps: one model call each, and the weights of the update after it.

Every update of the solvers here is linear in the state and in the model's outputs, so all of a run
is known before its first model call, and the loop only multiplies and adds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How to integrate: the arguments of :func:`solvers.sample` that shape the coefficients.

    ``corrector`` None means the solver's own.  ``dc_order`` None means no compensation; then no
    model time is needed for it.
    """

    solver: str = "unipc"
    order: int = 2
    variant: str = "bh2"
    corrector: bool | None = None
    dc_order: int | None = None
    variable: str = "t"
    lower_order: bool | str = True
    first_corrector: bool = True


@dataclass(frozen=True)
class Step:
    """One model call at ``sigma`` and the update after it; outputs count from the newest.

    The call gives ``m``, of which the solver integrates ``o_0 = convert[0] x + convert[1] m`` (x0
    itself where ``convert`` is None).  With ``o_0 <- sum_j compensate[j] o_j`` where that is given,

        x_next = state * x + denoised * m + sum_j outputs[j] * o_j.

    Once the model has been called at ``x_next``, giving ``o_new``, ``correct`` adds
    ``correct[0] * o_new + sum_j correct[j + 1] * o_j``.

    ``starts`` makes the state the ``x`` and its ``m`` the ``m`` of this update and those that
    follow, up to the next that starts: a singlestep solver goes several times from one state.
    ``completes`` is False on the way to a point that is not one of the grid.

    ``nodes`` are the times (or half-logSNRs) of the ``K + 1`` newest outputs where compensation can
    act, else empty.  ``keep`` tells how many outputs, from the newest, later steps still use.
    """

    sigma: float
    sigma_next: float
    state: float
    outputs: tuple[float, ...]
    correct: tuple[float, ...] | None
    order: int
    denoised: float = 0.0
    convert: tuple[float, float] | None = None
    nodes: tuple[float, ...] = ()
    compensate: tuple[float, ...] | None = None
    calls_model: bool = True
    replaces_newest: bool = False
    starts: bool = True
    completes: bool = True
    keep: int = 0


def nothing(sigma: float, sigma_next: float) -> Step:
    """A step from sigma 0 on, where nothing is left to do."""
    return Step(sigma, sigma_next, 1.0, (), None, order=0, calls_model=False)
