"""The same run by diffusers' schedulers, an implementation from elsewhere.

They work in the papers' scaling and on timesteps; here they are given the sigmas of a run and a
model in the hosts' scaling, so that both integrate the same ODE on the same grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import torch
from dc_solver.solvers import sample
from dc_solver.solvers.grid import Point
from dc_solver.solvers.methods.dpm_singlestep import second_order, third_order
from dc_solver.solvers.solver import Solver, Stage
from problems import Mixture, schedule_of

#: The solvers here, the order they run at, and diffusers' class and options for the same method.
#: Of the singlestep ones diffusers takes the points in between from the grid, so the two are one
#: method on a grid even in half-logSNR; its DPM-Solver on noise cannot end at sigma 0.
MULTISTEP, SINGLESTEP = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
UNIPC = "UniPCMultistepScheduler"
PLUS = {"algorithm_type": "dpmsolver++", "lower_order_final": True}
NOISE = {"algorithm_type": "dpmsolver", "lower_order_final": True}
METHODS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("ddim", {}, "DDIMScheduler", {}),
    ("ddim", {}, MULTISTEP, {**PLUS, "solver_order": 1}),
    ("dpm_1", {}, SINGLESTEP, {**NOISE, "solver_order": 1}),
    ("dpmpp_2m", {}, MULTISTEP, {**PLUS, "solver_order": 2, "solver_type": "midpoint"}),
    ("dpm_2m", {}, MULTISTEP, {**NOISE, "solver_order": 2, "solver_type": "midpoint"}),
    ("dpm_2", {}, SINGLESTEP, {**NOISE, "solver_order": 2}),
    ("dpm_3", {}, SINGLESTEP, {**NOISE, "solver_order": 3}),
    ("dpmpp_2s", {}, SINGLESTEP, {**PLUS, "solver_order": 2}),
    ("dpmpp_3s", {}, SINGLESTEP, {**PLUS, "solver_order": 3}),
    *(
        ("unipc", {"order": order, "variant": variant}, UNIPC,
         {"solver_order": order, "solver_type": variant})
        for order in (1, 2, 3) for variant in ("bh1", "bh2")
    ),
    *(
        ("unip", {"order": order, "variant": variant}, UNIPC,
         {"solver_order": order, "solver_type": variant, "disable_corrector": list(range(99))})
        for order in (1, 2, 3) for variant in ("bh1", "bh2")
    ),
    ("dpmpp_3m", {}, UNIPC, {"solver_order": 3, "disable_corrector": list(range(99))}),
    ("dc_solver", {"order": 3}, UNIPC, {"solver_order": 3, "solver_type": "bh2"}),
    ("dpm_2m", {"corrector": True}, UNIPC,
     {"solver_order": 2, "solver_type": "bh2", "predict_x0": False}),
]  # fmt: skip


def sigmas_of(kind: str, steps: int, bend: float) -> list[float]:
    """Sigmas from half-logSNR -2 to 2, evenly with a ``bend`` of 1, else denser at the start."""
    lambdas = [-2.0 + 4.0 * (k / steps) ** bend for k in range(steps + 1)]
    if kind == "flow":
        return [1.0 / (1.0 + math.exp(lam)) for lam in lambdas]
    return [math.exp(-lam) for lam in lambdas]


def run_diffusers(
    name: str, options: dict[str, Any], kind: str, x: torch.Tensor, sigmas: Sequence[float]
) -> torch.Tensor:
    """The end of a run from ``x`` (hosts' scaling) over ``sigmas``, in the hosts' scaling."""
    import diffusers

    steps = len(sigmas) - 1
    settings = {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", **options,
    }  # fmt: skip
    if name == "DDIMScheduler":
        return _run_ddim(diffusers.DDIMScheduler(**settings, clip_sample=False), x, sigmas, kind)
    if kind == "flow":
        settings["use_flow_sigmas"] = True
    last = "zero" if sigmas[-1] == 0.0 else "sigma_min"
    scheduler = getattr(diffusers, name)(**settings, final_sigmas_type=last)
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.tensor(sigmas, dtype=torch.float64)
    scheduler.timesteps = torch.arange(steps, 0, -1)
    model = Mixture(kind)

    def scale(sigma: float) -> float:
        return 1.0 if kind == "flow" else 1.0 / math.sqrt(1.0 + sigma * sigma)

    state = x * scale(sigmas[0])
    for i, sigma in enumerate(sigmas[:-1]):
        host = state / scale(sigma)
        denoised = model(host, torch.full((len(x),), sigma, dtype=x.dtype))
        noise = (host - (1.0 - sigma if kind == "flow" else 1.0) * denoised) / sigma
        state = scheduler.step(noise, scheduler.timesteps[i], state).prev_sample
    return state / scale(sigmas[-1])


def _run_ddim(scheduler: Any, x: torch.Tensor, sigmas: Sequence[float], kind: str) -> torch.Tensor:
    """DDIM knows timesteps alone: its table of alphas is replaced by that of the grid."""
    steps = len(sigmas) - 1
    alphas = [1.0 / (1.0 + sigma * sigma) for sigma in sigmas]
    scheduler.set_timesteps(steps)
    scheduler.config.num_train_timesteps = scheduler.num_inference_steps = steps
    scheduler.alphas_cumprod = torch.tensor(alphas[:-1][::-1], dtype=torch.float64)
    scheduler.final_alpha_cumprod = torch.tensor(alphas[-1], dtype=torch.float64)
    state, model = x * alphas[0] ** 0.5, Mixture(kind)
    for i, (sigma, alpha) in enumerate(zip(sigmas[:-1], alphas)):
        host = state / alpha**0.5
        denoised = model(host, torch.full((len(x),), sigma, dtype=x.dtype))
        state = scheduler.step((host - denoised) / sigma, steps - 1 - i, state).prev_sample
    return state / alphas[-1] ** 0.5


#: Of order 2 the lists of orders differ at an even number: the papers end in 2, diffusers in 1, 1.
STEPS = {"dpm_2": (3, 5, 7), "dpmpp_2s": (3, 5, 7)}


def difference(
    name: str, ours: dict[str, Any], theirs: str, options: dict[str, Any], kind: str
) -> float:
    """The largest difference of the final states, over every length and end that both run to."""
    found = 0.0
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    noise = options.get("algorithm_type") == "dpmsolver" or options.get("predict_x0") is False
    ends = (False,) if noise else (False, True)
    bends = (1.0,) if theirs == SINGLESTEP else (1.0, 1.4)
    for steps, to_zero, bend in product(STEPS.get(name, (1, 2, 5, 6, 8, 9)), ends, bends):
        sigmas = sigmas_of(kind, steps, bend)
        if to_zero:
            sigmas[-1] = 0.0
        start = x * (1.0 if kind == "flow" else sigmas[0])
        expected = run_diffusers(theirs, options, kind, start, sigmas)
        got = sample(
            Mixture(kind), start, sigmas, solver=name, schedule=schedule_of(kind),
            lower_order="final", disable=True, **ours,
        )  # fmt: skip
        found = max(found, float((got - expected).abs().max()))
    return found


def middle_of_diffusers(entry: Solver) -> Solver:
    """The entry with diffusers' update to two thirds of a third-order step.

    It takes half the second difference where the papers (2206.00927, algorithm 2, ``u_2i``) take
    the integral; both are of the same order.
    """
    noise = entry.parameterisation == "noise"

    def stages(order: int, here: Point, target: Point, at: Any) -> list[Stage]:
        assert entry.stages is not None
        found = entry.stages(order, here, target, at)
        if order < 3:
            return found
        s1, s2 = found[0].target, found[1].target
        middle = second_order(here, s1, s2, 0.5, noise=noise).outputs[1]
        return [found[0], *third_order(here, s2, target, middle, noise=noise)]

    return replace(entry, stages=stages)
