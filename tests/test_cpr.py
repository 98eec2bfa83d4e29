"""Cascade polynomial regression: the fit, the prediction, its limits, and the authors' layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from dc_solver.ratios import CPR, Identity, RatioSchedule, Report, fit_cpr, import_official
from dc_solver.solvers import VPSchedule, sample

DATA = "DC_SOLVER_SHARED_DATA"


def polynomial(coefficients: Sequence[float], steps: int, cfg: float, i: int) -> float:
    """Equations 9 to 11 of 2409.03755 with Horner's scheme, from the nested layout."""
    table = [list(coefficients[9 * q : 9 * q + 9]) for q in range(4)]
    n, w, position = steps / 50.0, cfg / 12.0, i / steps
    ratio = 0.0
    for block in reversed(table):
        a, b, c = ((block[k] * n + block[k + 1]) * n + block[k + 2] for k in (0, 3, 6))
        ratio = ratio * position + (a * w + b) * w + c
    return ratio


def expected(coefficients: Sequence[float], steps: int, cfg: float, k: int = 2) -> list[float]:
    free = [polynomial(coefficients, steps, cfg, i) for i in range(k + 1, steps + 1)]
    return [1.0] * min(k, steps) + free


def known_coefficients(seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(size=36).tolist()


def calibration(coefficients: Sequence[float], steps: int, cfg: float, **how: object):
    ratios = tuple(expected(coefficients, steps, cfg, int(how.get("dc_order", 2))))  # type: ignore[call-overload]
    sigmas = (*np.geomspace(14.0, 0.1, steps).tolist(), 0.0)
    return RatioSchedule(ratios=ratios, sigmas=sigmas, cfg=cfg, **how)  # type: ignore[arg-type]


GRID = [(steps, cfg) for steps in (5, 6, 8, 10) for cfg in (1.5, 3.0, 5.0, 7.5)]


@pytest.mark.parametrize("seed", range(3))
def test_the_layout_is_that_of_the_authors(seed: int) -> None:
    coefficients = known_coefficients(seed)
    cpr = CPR(tuple(coefficients), steps_range=(1, 100), cfg_range=(0.0, 20.0))
    for steps, cfg in [(1, 3.0), (2, 3.0), (3, 7.0), *GRID, (50, 12.0)]:
        got = cpr.predict(steps, cfg)
        assert got.ratios == pytest.approx(expected(coefficients, steps, cfg), rel=1e-9, abs=1e-9)
        assert got.origin == "predicted" and got.cfg == cfg and got.notes == ()
        assert got.steps == steps and got.report is None


def test_each_coefficient_has_its_place() -> None:
    """One coefficient at a time, against the powers written out."""
    steps, cfg, i = 8, 6.0, 5
    w, n, position = cfg / 12.0, steps / 50.0, i / steps
    for q in range(4):
        for row, in_w in enumerate((w**2, w, 1.0)):
            for column, in_n in enumerate((n**2, n, 1.0)):
                one = np.zeros((4, 3, 3))
                one[q, row, column] = 1.0
                cpr = CPR(tuple(one.ravel()), steps_range=(5, 10), cfg_range=(1.0, 9.0))
                got = cpr.predict(steps, cfg).ratios[i - 1]
                assert got == pytest.approx(position**q * in_w * in_n, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_recovers_known_ratios(seed: int) -> None:
    coefficients = known_coefficients(seed)
    cpr = fit_cpr([calibration(coefficients, steps, cfg) for steps, cfg in GRID])
    low, high = cpr.ratio_range or (0.0, 0.0)
    seen = [r for steps, cfg in GRID for r in expected(coefficients, steps, cfg)]
    assert (low, high) == (min(seen), max(seen))
    assert (cpr.steps_range, cpr.cfg_range) == ((5, 10), (1.5, 7.5))
    for steps, cfg in [*GRID, (7, 4.0), (9, 6.6), (5, 2.2)]:
        truth = np.clip(expected(coefficients, steps, cfg), low, high)
        assert cpr.predict(steps, cfg).ratios == pytest.approx(truth, abs=1e-5), (steps, cfg)


@pytest.mark.parametrize("dc_order", [1, 2, 3])
def test_steps_that_know_too_few_outputs_have_a_ratio_of_one(dc_order: int) -> None:
    coefficients = known_coefficients(4)
    given = [calibration(coefficients, n, cfg, dc_order=dc_order) for n, cfg in GRID]
    cpr = fit_cpr(given)
    assert cpr.dc_order == dc_order
    for steps, cfg in GRID:
        got = cpr.predict(steps, cfg).ratios
        assert got[:dc_order] == (1.0,) * dc_order
        assert got == pytest.approx(expected(coefficients, steps, cfg, dc_order), abs=1e-5)


def test_one_calibration_gives_its_own_curve() -> None:
    """Four free ratios determine the four powers of the position."""
    given = RatioSchedule(ratios=(1.0, 1.0, 1.3, 0.8, 1.1, 1.6), cfg=3.0)
    cpr = fit_cpr([given])
    assert cpr.predict(6, 3.0).ratios == pytest.approx(given.ratios, abs=1e-8)
    assert cpr.steps_range == (6, 6) and cpr.cfg_range == (3.0, 3.0)
    # Without another step count or scale to go by, the curve depends on the position alone.
    wide = CPR(cpr.coefficients, steps_range=(4, 12), cfg_range=(1.0, 9.0))
    assert wide.predict(12, 3.0).ratios[5::2] == pytest.approx(given.ratios[2:], abs=1e-8)
    assert wide.predict(6, 9.0).ratios == pytest.approx(given.ratios, abs=1e-8)


def test_two_scales_are_joined_by_a_line() -> None:
    low = RatioSchedule(ratios=(1.0, 1.0, 1.3, 0.8, 1.1), cfg=2.0)
    high = RatioSchedule(ratios=(1.0, 1.0, 0.7, 1.2, 1.5), cfg=6.0)
    middle = fit_cpr([low, high]).predict(5, 4.0).ratios
    expected_middle = [(a + b) / 2 for a, b in zip(low.ratios, high.ratios)]
    assert middle == pytest.approx(expected_middle, abs=1e-8)


def test_calibrations_too_short_to_compensate_predict_one() -> None:
    cpr = fit_cpr([RatioSchedule(ratios=(1.0, 1.0), cfg=3.0)])
    assert cpr.predict(2, 3.0).ratios == (1.0, 1.0)
    assert cpr.predict(5, 3.0).ratios == (1.0,) * 5


@pytest.mark.parametrize(
    ("steps", "cfg", "near", "words"),
    [
        (30, 3.0, (10, 3.0), ["steps 30", "5 to 10", "10"]),
        (4, 3.0, (5, 3.0), ["steps 4", "5 to 10"]),
        (8, 12.0, (8, 7.5), ["CFG 12", "1.5 to 7.5", "7.5"]),
        (8, 1.0, (8, 1.5), ["CFG 1 ", "1.5 to 7.5"]),
        (30, 12.0, (10, 7.5), ["steps 30", "CFG 12"]),
    ],
)
def test_outside_the_fitted_range_the_prediction_is_clamped_and_says_so(
    steps: int, cfg: float, near: tuple[int, float], words: list[str]
) -> None:
    coefficients = known_coefficients(1)
    cpr = CPR(tuple(coefficients), steps_range=(5, 10), cfg_range=(1.5, 7.5))
    got = cpr.predict(steps, cfg)
    assert not cpr.covers(steps, cfg) and cpr.covers(*near)
    assert got.steps == steps and got.cfg == cfg
    notes = " ".join(got.notes)
    assert all(word in notes for word in words), notes
    assert len(got.notes) == (steps != near[0]) + (cfg != near[1])
    # The curve of the nearest step count: its third to its last step, over those asked for.
    n, w = near[0] / 50.0, near[1] / 12.0
    table = np.array(coefficients).reshape(4, 3, 3)
    phi = np.einsum("qab,a,b->q", table, [w * w, w, 1.0], [n * n, n, 1.0])
    places = np.linspace(3, near[0], steps - 2) / near[0]
    curve = [float(np.polyval(phi[::-1], place)) for place in places]
    assert got.ratios[2:] == pytest.approx(curve, rel=1e-9, abs=1e-9)


def test_predictions_stay_within_the_ratios_that_were_seen() -> None:
    steep = np.zeros((4, 3, 3))
    steep[0, 2, 2], steep[3, 2, 2] = -3.0, 10.0
    cpr = CPR(
        tuple(steep.ravel()), steps_range=(5, 10), cfg_range=(1.0, 9.0), ratio_range=(0.6, 1.8)
    )
    ratios = cpr.predict(10, 3.0).ratios
    assert min(ratios) == 0.6 and max(ratios) == 1.8


def test_a_prediction_brings_settings_identity_and_known_sigmas() -> None:
    how = {
        "order": 3,
        "variant": "bh1",
        "variable": "lambda",
        "lower_order": "final",
        "first_corrector": False,
        "identity": Identity(fingerprint="abc", scheduler="simple"),
    }
    given = [calibration(known_coefficients(), n, cfg, **how) for n, cfg in GRID]
    got = fit_cpr(given).predict(6, 4.0)
    assert (got.order, got.variant, got.variable) == (3, "bh1", "lambda")
    assert (got.lower_order, got.first_corrector) == ("final", False)
    assert got.identity == how["identity"]
    assert got.sigmas == given[4].sigmas
    assert fit_cpr(given).predict(7, 4.0).sigmas is None


def test_a_prediction_runs_as_it_is() -> None:
    import torch

    got = fit_cpr([calibration(known_coefficients(), 6, 3.0, variable="lambda")]).predict(6, 3.0)
    x = torch.randn(2, 3, dtype=torch.float64)
    result = sample(
        lambda x, sigma: x * 0.3, x, got.sigmas or (), schedule=VPSchedule(), ratios=got,
        disable=True,
    )  # fmt: skip
    assert result.isfinite().all()


def test_the_authors_sd21_file() -> None:
    """Their coefficients, read by us, against their polynomial, evaluated apart."""
    folder = os.environ.get(DATA)
    if not folder:
        pytest.skip(f"{DATA} does not name the folder of dc_solver_sd2.1_cpr.npy")
    path = Path(folder) / "dc_solver_sd2.1_cpr.npy"
    coefficients = np.load(path, allow_pickle=False).astype(np.float64).ravel().tolist()
    cpr = import_official(path)
    assert isinstance(cpr, CPR)
    assert (cpr.order, cpr.variant, cpr.dc_order, cpr.variable) == (2, "bh2", 2, "t")
    assert (cpr.lower_order, cpr.first_corrector) == ("final", False)
    for steps in range(5, 11):
        for cfg in np.linspace(1.5, 7.5, 13).tolist():
            got = cpr.predict(steps, cfg)
            assert got.notes == ()
            assert got.ratios == pytest.approx(expected(coefficients, steps, cfg), abs=1e-8)
            assert all(0.0 < ratio < 2.5 for ratio in got.ratios), (steps, cfg, got.ratios)
    # Their polynomial runs away far outside; ours does not.
    far = cpr.predict(30, 12.0)
    assert max(far.ratios) < 2.5 < max(expected(coefficients, 30, 12.0))


def test_where_no_calibration_around_helped_the_prediction_keeps_one() -> None:
    """The guard's verdict holds for predictions too: between cells that kept 1, they keep 1."""
    helped = (1.0, 1.0, 1.1, 1.2, 1.3)
    kept = (1.0,) * 8
    fitted = [RatioSchedule(helped, cfg=cfg) for cfg in (2.0, 4.0)]
    fitted += [RatioSchedule(kept, cfg=cfg) for cfg in (2.0, 4.0)]
    cpr = fit_cpr(fitted)
    assert cpr.predict(8, 3.0).ratios == kept
    assert "did not help" in cpr.predict(8, 3.0).notes[-1]
    assert cpr.predict(5, 3.0).active and cpr.predict(6, 3.0).active


def test_a_prediction_trusts_the_calibrations_around_as_far_as_they_gained() -> None:
    """A gain of a tenth or more counts in full, half of that half; the harmonic mean between, flat
    beside each."""

    def checked(cfg: float, gain: float) -> RatioSchedule:
        report = Report(points=10, check_points=2, errors=(gain, gain), errors_plain=(1.0, 1.0),
                        verdict="better")  # fmt: skip
        return RatioSchedule((1.0, 1.0, 1.2, 0.8, 1.4), cfg=cfg, report=report)

    cpr = fit_cpr([checked(2.0, 0.6), checked(4.0, 0.95), checked(6.0, 0.8)])
    for cfg, share in (
        (2.0, 1.0), (3.0, 2 / 3), (4.0, 0.5), (4.5, 32 / 59), (6.0, 1.0), (9.0, 1.0),
    ):  # fmt: skip
        got = cpr.predict(5, cfg)
        free = [1.0 + share * (ratio - 1.0) for ratio in (1.2, 0.8, 1.4)]
        assert got.ratios[2:] == pytest.approx(free, abs=1e-6), cfg
        assert any("helped little" in note for note in got.notes) == (share < 0.95)
    # Without a check there is no gain to go by.
    unchecked = fit_cpr([RatioSchedule((1.0, 1.0, 1.2, 0.8, 1.4), cfg=2.0)])
    assert unchecked.predict(5, 2.0).ratios[2:] == pytest.approx((1.2, 0.8, 1.4), abs=1e-6)


def test_between_calibrations_that_are_no_whole_grid_it_trusts_the_least_of_them() -> None:
    def checked(steps: int, cfg: float, gain: float) -> RatioSchedule:
        report = Report(points=10, check_points=1, errors=(gain,), errors_plain=(1.0,),
                        verdict="better")  # fmt: skip
        ratios = (1.0, 1.0, *(1.3,) * (steps - 2))
        return RatioSchedule(ratios, cfg=cfg, report=report)

    cpr = fit_cpr([checked(5, 2.0, 0.5), checked(5, 7.0, 0.99), checked(10, 2.0, 0.5)])
    far = cpr.predict(10, 7.0)
    assert max(far.ratios) < 1.04 and "weakened to 10%" in far.notes[-1]
    assert max(cpr.predict(10, 2.0).ratios) == pytest.approx(1.3, abs=1e-6)
