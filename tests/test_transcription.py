"""The solvers against plain transcriptions of the papers' equations, written apart from the code.

Variance preserving problems run here in the papers' unit-variance scaling, ``x = alpha x0 +
sigma n`` with ``alpha^2 + sigma^2 = 1``; the pack runs in the hosts' scaling.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
import torch
from dc_solver.solvers import sample
from problems import Mixture, schedule_of

Array = np.ndarray


@dataclass
class Times:
    """alpha, sigma, lambda and t on a grid of host sigmas."""

    alpha: list[float]
    sigma: list[float]
    lam: list[float]
    t: list[float]
    scale: list[float]  # the papers' state over the hosts' state

    @classmethod
    def of(cls, kind: str, host_sigmas: Sequence[float]) -> Times:
        if kind == "flow":
            alpha = [1.0 - s for s in host_sigmas]
            sigma = list(host_sigmas)
            t = list(host_sigmas)
            scale = [1.0] * len(alpha)
        else:
            alpha = [1.0 / math.sqrt(1.0 + s * s) for s in host_sigmas]
            sigma = [s / math.sqrt(1.0 + s * s) for s in host_sigmas]
            t = [math.atan(s) for s in host_sigmas]
            scale = alpha
        lam = [math.log(a / s) if s > 0.0 else math.inf for a, s in zip(alpha, sigma)]
        return cls(alpha, sigma, lam, t, scale)


def lagrange(nodes: Sequence[float], values: Sequence[Array], at: float) -> Array:
    """The polynomial through ``values`` at ``nodes``, evaluated at ``at``."""
    total = np.zeros_like(values[0])
    for j, node in enumerate(nodes):
        weight = 1.0
        for other in nodes[:j] + nodes[j + 1 :]:
            weight *= (at - other) / (node - other)
        total = total + weight * values[j]
    return total


def order_conditions(eta: float, count: int, variant: str) -> tuple[float, list[float]]:
    """B and b_1 .. b_count, with 60 digits since the recurrence cancels."""
    with localcontext() as context:
        context.prec = 60
        e = Decimal(eta)
        big_b = e if variant == "bh1" else e.exp() - 1
        g = (e.exp() - 1) / e - 1
        b = []
        for n in range(1, count + 1):
            b.append(float(math.factorial(n) * g / big_b))
            g = g / e - 1 / Decimal(math.factorial(n + 1))
        return float(big_b), b


def unipc_step(
    times: Times, m: list[Array], x: Array, i: int, p: int, variant: str
) -> tuple[Array, Callable[[Array], Array]]:
    """The predicted state at i, and the corrector as a function of the output there."""
    h = times.lam[i] - times.lam[i - 1]
    r = [(times.lam[i - 1 - k] - times.lam[i - 1]) / h for k in range(1, p)] + [1.0]
    d = [(m[i - 1 - k] - m[i - 1]) / r[k - 1] for k in range(1, p)]
    big_b, b = order_conditions(-h, p, variant)
    matrix = np.array([[r_k ** (n - 1) for r_k in r] for n in range(1, p + 1)])
    a = [0.5] if p == 2 else np.linalg.solve(matrix[: p - 1, : p - 1], b[: p - 1]) if p > 1 else []
    c = [0.5] if p == 1 else np.linalg.solve(matrix, b)
    alpha = times.alpha[i]
    z = times.sigma[i] / times.sigma[i - 1] * x - alpha * math.expm1(-h) * m[i - 1]
    predicted = z - alpha * big_b * sum((a_k * d_k for a_k, d_k in zip(a, d)), np.zeros_like(x))

    def correct(new: Array) -> Array:
        total = sum((c_k * d_k for c_k, d_k in zip(c, d)), c[-1] * (new - m[i - 1]))
        return z - alpha * big_b * total

    return predicted, correct


def ddim_step(times: Times, m: list[Array], x: Array, i: int) -> Array:
    """Split the state into data and noise, and mix them anew."""
    noise = (x - times.alpha[i - 1] * m[i - 1]) / times.sigma[i - 1]
    return times.alpha[i] * m[i - 1] + times.sigma[i] * noise


def dpmpp_2m_step(times: Times, m: list[Array], x: Array, i: int) -> Array:
    """2211.01095, algorithm 2."""
    h = times.lam[i] - times.lam[i - 1]
    r = (times.lam[i - 1] - times.lam[i - 2]) / h
    mixed = (1 + 1 / (2 * r)) * m[i - 1] - 1 / (2 * r) * m[i - 2]
    return times.sigma[i] / times.sigma[i - 1] * x - times.alpha[i] * (math.exp(-h) - 1) * mixed


def dpmpp_3m_step(times: Times, m: list[Array], x: Array, i: int) -> Array:
    """The Taylor expansion of the exact solution with the derivatives of the parabola."""
    l0, l1, l2 = times.lam[i - 1], times.lam[i - 2], times.lam[i - 3]
    h = times.lam[i] - l0
    newer = (m[i - 1] - m[i - 2]) / (l0 - l1)
    older = (m[i - 2] - m[i - 3]) / (l1 - l2)
    half_second = (newer - older) / (l0 - l2)
    first, second = newer + half_second * (l0 - l1), 2 * half_second
    decay = math.exp(-h)
    taylor = (1 - decay) * m[i - 1] + (decay - 1 + h) * first
    taylor = taylor + (h * h / 2 - h + 1 - decay) * second
    return times.sigma[i] / times.sigma[i - 1] * x + times.alpha[i] * taylor


def transcribed(
    kind: str,
    host_sigmas: list[float],
    host_x: torch.Tensor,
    ratios: Sequence[float] | None,
    *,
    solver: str,
    p_max: int,
    variant: str = "bh2",
    dc_order: int = 2,
    variable: str = "t",
    first_corrector: bool = True,
) -> Array:
    """One run, step by step as numbered in the text of the algorithm."""
    times = Times.of(kind, host_sigmas)
    label = times.t if variable == "t" else times.lam
    problem = Mixture(kind)
    steps = len(host_sigmas) - 1

    def data(x: Array, i: int) -> Array:
        host = torch.from_numpy(x / times.scale[i])
        return problem(host, torch.full((len(x),), host_sigmas[i], dtype=torch.float64)).numpy()

    x = host_x.numpy() * times.scale[0]
    m = [data(x, 0)]
    for i in range(1, steps + 1):
        p = min(i, p_max, steps + 1 - i)
        if ratios is not None and len(m) >= dc_order + 1:
            rho = ratios[i - 1]
            at = rho * label[i - 1] + (1 - rho) * label[i - 2]
            newest_first = [i - 1 - j for j in range(dc_order + 1)]
            m[i - 1] = lagrange([label[j] for j in newest_first], [m[j] for j in newest_first], at)
        if host_sigmas[i] == 0.0:
            return m[i - 1] * times.alpha[i] / times.scale[i]
        if solver in ("unipc", "dc_solver"):
            predicted, correct = unipc_step(times, m, x, i, p, variant)
        else:
            step = (ddim_step, dpmpp_2m_step, dpmpp_3m_step)[p - 1]
            predicted = step(times, m, x, i)
        x = predicted
        if i < steps:
            m.append(data(predicted, i))
            if solver in ("unipc", "dc_solver") and (first_corrector or i > 1):
                x = correct(m[i])
    return x / times.scale[steps]


def random_grid(kind: str, steps: int, to_zero: bool, seed: int, scale: float = 1.0) -> list[float]:
    """Falling sigmas whose steps in half-logSNR are all different."""
    rng = np.random.default_rng(seed)
    lam = -2.2 + scale * np.cumsum(rng.uniform(0.25, 0.9, size=steps + 1))
    sigmas = 1.0 / (1.0 + np.exp(lam)) if kind == "flow" else np.exp(-lam)
    values = [float(sigma) for sigma in sigmas]
    return [*values[:-1], 0.0] if to_zero else values


def start(kind: str, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = 1.0 if kind == "flow" else 6.0
    return scale * torch.randn(3, 5, generator=generator, dtype=torch.float64)


def random_ratios(steps: int, seed: int) -> list[float]:
    return np.random.default_rng(seed + 100).uniform(0.5, 1.6, size=steps).tolist()


def assert_same(got: torch.Tensor, expected: Array) -> None:
    assert np.isfinite(expected).all()
    largest = max(float(np.abs(expected).max()), 1.0)
    assert float(np.abs(got.numpy() - expected).max()) < 1e-10 * largest


@pytest.mark.parametrize("first_corrector", [True, False])
@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_dc_solver_is_the_paper(
    kind: str, order: int, variant: str, dc_order: int, variable: str, first_corrector: bool
) -> None:
    for seed, to_zero, steps in ((0, True, 8), (1, False, 7), (2, True, 5)):
        sigmas, ratios = random_grid(kind, steps, to_zero, seed), random_ratios(steps, seed)
        got = sample(
            Mixture(kind),
            start(kind, seed),
            sigmas,
            schedule=schedule_of(kind),
            ratios=ratios,
            order=order,
            variant=variant,
            dc_order=dc_order,
            variable=variable,
            lower_order="final",
            first_corrector=first_corrector,
        )
        expected = transcribed(
            kind,
            sigmas,
            start(kind, seed),
            ratios,
            solver="dc_solver",
            p_max=order,
            variant=variant,
            dc_order=dc_order,
            variable=variable,
            first_corrector=first_corrector,
        )
        assert_same(got, expected)


@pytest.mark.parametrize("first_corrector", [True, False])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_unipc_is_the_paper(kind: str, order: int, variant: str, first_corrector: bool) -> None:
    for seed, to_zero, steps in ((3, True, 9), (4, False, 6), (5, True, 2), (6, False, 1)):
        sigmas = random_grid(kind, steps, to_zero, seed)
        got = sample(
            Mixture(kind),
            start(kind, seed),
            sigmas,
            schedule=schedule_of(kind),
            solver="unipc",
            order=order,
            variant=variant,
            lower_order="final",
            first_corrector=first_corrector,
        )
        expected = transcribed(
            kind,
            sigmas,
            start(kind, seed),
            None,
            solver="unipc",
            p_max=order,
            variant=variant,
            first_corrector=first_corrector,
        )
        assert_same(got, expected)


@pytest.mark.parametrize("scale", [3e-4, 1e-2, 4.0])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_very_short_and_very_long_steps(kind: str, variant: str, scale: float) -> None:
    """Where the recurrence of the coefficients cancels, and where the moments vanish."""
    sigmas = random_grid(kind, 6, False, 10, scale)
    how: dict[str, Any] = {"variant": variant, "first_corrector": True, "solver": "unipc"}
    got = sample(
        Mixture(kind),
        start(kind, 10),
        sigmas,
        schedule=schedule_of(kind),
        order=4,
        lower_order="final",
        **how,
    )
    assert_same(got, transcribed(kind, sigmas, start(kind, 10), None, p_max=4, **how))


@pytest.mark.parametrize("with_ratios", [False, True])
@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("dpmpp_3m", 3)])
@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_predictors_are_their_papers(kind: str, solver: str, order: int, with_ratios: bool) -> None:
    for seed, to_zero, steps in ((7, True, 8), (8, False, 7), (9, True, 3)):
        sigmas = random_grid(kind, steps, to_zero, seed)
        ratios = random_ratios(steps, seed) if with_ratios else None
        got = sample(
            Mixture(kind),
            start(kind, seed),
            sigmas,
            schedule=schedule_of(kind),
            solver=solver,
            ratios=ratios,
            lower_order="final",
        )
        expected = transcribed(kind, sigmas, start(kind, seed), ratios, solver=solver, p_max=order)
        assert_same(got, expected)


@pytest.mark.parametrize("kind", ["vp", "flow"])
def test_the_transcription_tells_settings_apart(kind: str) -> None:
    """Each setting moves the result far more than the tolerance of the comparisons above."""
    sigmas, ratios = random_grid(kind, 8, True, 0), random_ratios(8, 0)

    def run(**changed: object) -> Array:
        settings = {"solver": "dc_solver", "p_max": 3, **changed}
        return transcribed(kind, sigmas, start(kind, 0), ratios, **settings)  # type: ignore[arg-type]

    base = run()
    for changed in (
        {"p_max": 2},
        {"variant": "bh1"},
        {"dc_order": 1},
        {"variable": "lambda"},
        {"first_corrector": False},
        {"solver": "dpmpp_3m"},
    ):
        assert np.abs(run(**changed) - base).max() > 1e-4, changed
