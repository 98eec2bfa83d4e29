"""Agreement with diffusers' schedulers on the same grids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from dc_solver.solvers import SOLVERS, sample
from dc_solver.solvers.grid import Point
from dc_solver.solvers.methods.dpm_singlestep import second_order
from outside import METHODS, even_sigmas, run_diffusers
from problems import Mixture, schedule_of

pytest.importorskip("diffusers", reason="needs diffusers, of requirements-dev.txt")

#: Of order 2 the lists of orders differ at an even number: the papers end in 2, diffusers in 1, 1.
STEPS = {"dpm_2": (3, 5, 7), "dpmpp_2s": (3, 5, 7)}


def difference(
    name: str, ours: dict[str, Any], theirs: str, options: dict[str, Any], kind: str, steps: int
) -> float:
    """The largest difference of the final states, over every end that both can run to."""
    found = 0.0
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for to_zero in (False, True):
        if to_zero and options.get("algorithm_type") == "dpmsolver":
            continue
        if to_zero and options.get("predict_x0") is False:
            continue
        sigmas = even_sigmas(kind, steps)
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


@pytest.fixture
def middle_as_in_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    """At two thirds of a third-order step diffusers takes half the second difference where the
    papers (2206.00927, algorithm 2, ``u_2i``) take the integral, of the same order."""
    for name in ("dpm_3", "dpmpp_3s"):
        entry = SOLVERS[name]
        noise = entry.parameterisation == "noise"

        def stages(order: int, here: Point, target: Point, at: Any, entry=entry, noise=noise):
            found = entry.stages(order, here, target, at)
            if order < 3:
                return found
            first, middle, last = found
            return [first, second_order(here, middle.target, 0.5, noise=noise), last]

        monkeypatch.setitem(SOLVERS, name, replace(entry, stages=stages))


@pytest.mark.usefixtures("middle_as_in_diffusers")
@pytest.mark.parametrize("kind", ["vp", "flow"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m[0]}-{m[1]}-{m[2]}")
def test_agrees_with_diffusers(method: Any, kind: str) -> None:
    if method[2] == "DDIMScheduler" and kind == "flow":
        pytest.skip("diffusers' DDIM has no flow")
    for steps in STEPS.get(method[0], (1, 2, 5, 6, 8, 9)):
        assert difference(*method, kind, steps) < 1e-4
