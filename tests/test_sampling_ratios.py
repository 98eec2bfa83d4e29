"""Ratios in ``sample``: those of 1 change no bit, and a schedule of them brings its settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from dc_solver.ratios import RatioSchedule
from problems import Mixture
from runs import GRIDS, KINDS, RATIOS, run, start


@pytest.mark.parametrize("variable", ["t", "lambda"])
@pytest.mark.parametrize("dc_order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_ratios_of_one_are_unipc_to_the_bit(
    kind: str, order: int, variant: str, dc_order: int, variable: str
) -> None:
    x = start(kind, dtype=torch.float32)
    common: dict[str, Any] = {"order": order, "variant": variant, "lower_order": "final"}
    plain = run(kind, Mixture(kind), x, GRIDS[kind], solver="unipc", **common)
    common |= {"dc_order": dc_order, "variable": variable}
    for ratios in (None, [1.0] * 6):
        assert torch.equal(run(kind, Mixture(kind), x, GRIDS[kind], ratios=ratios, **common), plain)
    # A ratio at a step with too few outputs switches compensation on and yet does nothing.
    ignored = [7.0] * dc_order + [1.0] * (6 - dc_order)
    assert torch.equal(run(kind, Mixture(kind), x, GRIDS[kind], ratios=ignored, **common), plain)
    acting = [1.0] * dc_order + [1.5] + [1.0] * (5 - dc_order)
    assert not torch.equal(run(kind, Mixture(kind), x, GRIDS[kind], ratios=acting, **common), plain)


def test_a_ratio_schedule_brings_its_settings() -> None:
    x = start("vp")
    how: dict[str, Any] = {
        "order": 3,
        "variant": "bh1",
        "dc_order": 1,
        "variable": "lambda",
        "lower_order": "final",
        "first_corrector": False,
    }
    stored = RatioSchedule(ratios=tuple(RATIOS), **how)
    got = run("vp", Mixture(), x, GRIDS["vp"], ratios=stored, order=1, dc_order=3)
    assert torch.equal(got, run("vp", Mixture(), x, GRIDS["vp"], ratios=RATIOS, **how))
    by_name = RatioSchedule(ratios=tuple(RATIOS), solver="dpmpp_2m", order=2)
    got = run("vp", Mixture(), x, GRIDS["vp"], ratios=by_name)
    expected = run("vp", Mixture(), x, GRIDS["vp"], ratios=RATIOS, solver="dpmpp_2m")
    assert torch.equal(got, expected)
    for solver, words in (("unipc", "without compensation"), ("ddim", "expected dpmpp_2m")):
        with pytest.raises(ValueError, match=words):
            run("vp", Mixture(), x, GRIDS["vp"], ratios=by_name, solver=solver)
