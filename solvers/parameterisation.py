"""What a network or a solver speaks of: data, noise, velocity, or the ODE's right-hand side.

A noisy latent is ``x = signal * x0 + sigma * noise`` in the host's scaling; the papers' is
``alpha / signal`` times that.  All that a network may predict and all that a solver may integrate
is linear in ``x`` and ``x0``, so one pair of weights a sigma converts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .choices import check_one_of
from .grid import Point
from .schedules import Schedule

#: What a network may predict: noise, data, the velocity of progressive distillation
#: (2202.00512), or the velocity ``noise - x0`` of a rectified flow.
PREDICTIONS = ("eps", "x0", "v", "flow")

Pair = tuple[float, float]


def denoised_weights(prediction: str, sigma: float, schedule: Schedule) -> Pair:
    """The weights of the state (host's scaling) and of the network's output in x0.

    Raises ValueError for an unknown prediction and for one that says nothing of x0 on this
    schedule: noise where there is no signal, either velocity on the other family.
    """
    check_one_of("prediction", prediction, PREDICTIONS)
    signal, alpha = schedule.signal(sigma), schedule.alpha(sigma)
    if prediction == "x0":
        return (0.0, 1.0)
    if prediction == "eps" and signal > 0.0:
        return (1.0 / signal, -sigma / signal)
    if prediction == "flow" and signal == max(0.0, 1.0 - sigma):
        return (1.0, -sigma)
    if prediction == "v" and signal == 1.0:  # v = alpha noise - alpha sigma x0
        return (alpha * alpha, -alpha * sigma)
    raise ValueError(
        f"prediction: expected one that tells x0 at sigma {sigma:.6g} of a "
        f"{type(schedule).__name__}, got {prediction!r}; eps and v go with VPSchedule, flow with "
        "FlowSchedule."
    )


def denoiser(
    network: Callable[..., torch.Tensor], prediction: str, schedule: Schedule
) -> Callable[..., torch.Tensor]:
    """A ``model(x, sigma, **extra_args)`` that returns x0, of a network in the papers' scaling.

    ``network(x, sigma, **extra_args)`` takes the state in the papers' scaling and the host's
    sigmas, shape ``(B,)``, and returns its prediction, one of :data:`PREDICTIONS`.
    """
    check_one_of("prediction", prediction, PREDICTIONS)

    def model(x: torch.Tensor, sigma: torch.Tensor, **extra_args: Any) -> torch.Tensor:
        values = [float(value) for value in sigma]
        scales = [schedule.alpha(s) / schedule.signal(s) if schedule.signal(s) else 1.0
                  for s in values]  # fmt: skip
        of_state, of_output = zip(*(denoised_weights(prediction, s, schedule) for s in values))
        output = network(x * _column(scales, x), sigma, **extra_args)
        return _column(of_state, x) * x + _column(of_output, x) * output

    return model


def _column(values: Sequence[float], x: torch.Tensor) -> torch.Tensor:
    """One number a sample, shaped to multiply ``x``."""
    column = torch.tensor(values, dtype=x.dtype, device=x.device)
    return column.view(-1, *[1] * (x.ndim - 1))


def output_weights(parameterisation: str, here: Point) -> Pair | None:
    """The weights of the state and of x0 in what a solver integrates; None where that is x0.

    "noise" is the paper's epsilon, "derivative" is ``dx/dsigma = (x - x0) / sigma`` in the host's
    scaling: the noise of variance preserving models, the velocity of a rectified flow.
    """
    if parameterisation == "data":
        return None
    signal = here.signal if parameterisation == "noise" else 1.0
    return (1.0 / here.sigma, -signal / here.sigma)


def transfer(parameterisation: str, here: Point, there: Point) -> Pair:
    """The first-order step: weights of the state and of the newest output.  All are DDIM.

    They agree while the output belongs to the state; after a corrector or a compensation it does
    not, and each goes on from what it integrates.
    """
    if parameterisation == "derivative":
        return (1.0, there.sigma - here.sigma)
    if parameterisation == "noise":
        state = there.signal / here.signal
        return (state, there.sigma - here.sigma * state)
    state = there.sigma / here.sigma
    return (state, there.signal - here.signal * state)
