"""What runs, told in words, for every solver."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dc_solver.ratios import RatioSchedule
from dc_solver.ratios.chosen import choose_ratios, record, refusal, report_text, told
from dc_solver.ratios.lookup import Choice
from dc_solver.ratios.text import compensated, describe_ratios, label_of, listed
from dc_solver.solvers import SOLVERS, LearnedSteps, RunReport


@pytest.mark.parametrize("name", SOLVERS)
def test_the_solver_that_runs_is_named(name: str) -> None:
    refused = refusal(name)
    assert bool(refused) == (not SOLVERS[name].compensates)
    brought = RatioSchedule((1.0, 1.2))
    if refused:  # whatever was brought or is in the library, which nobody asks

        def asked() -> None:
            raise AssertionError("nobody should ask")

        choice = choose_ratios(brought, asked, asked, 2, refused)  # type: ignore[arg-type]
        assert choice == Choice(reason=f"{refused}; the connected ratios are not used")
        plain = f"plain {SOLVERS[name].label}, which takes no ratios"
        assert told(choice, name) == f"{plain}: those connected are not used"
        choice = choose_ratios(None, asked, asked, 2, refused)  # type: ignore[arg-type]
        assert told(choice, name) == plain
    else:
        choice = Choice(reason="the library is empty")
        label = "UniPC" if name == "dc_solver" else SOLVERS[name].label
        assert told(choice, name) == f"no ratios: plain {label} (the library is empty)"
    assert record(choice, name, "text") == {
        "told": "text", "solver": name, "ratios": None, "quality": None, "source": None,
    }  # fmt: skip


def test_langevin_steps_take_no_ratios() -> None:
    assert refusal("dc_solver", langevin=True) == "Langevin steps take no ratios"
    assert refusal("dc_solver", langevin=False) == ""
    assert refusal("dc_solver", threshold=True) == "with thresholding there are no ratios"


def test_ratios_of_another_solver_name_it() -> None:
    choice = Choice(RatioSchedule((1.0, 1.2), solver="ddim", dc_order=1))
    assert told(choice, "ddim") == "ddim, ratios 1.000 1.200"
    assert record(choice, "dc_solver")["solver"] == "ddim"
    assert told(Choice(RatioSchedule((1.0,), solver="ipndm"))) == "ratios of 1: plain iPNDM"


def test_learned_steps_are_told_with_the_sigmas_that_run() -> None:
    host, own = (14.6, 5.0, 2.3, 0.5, 0.0), (14.6, 6.21111, 2.9, 0.71, 0.0)
    steps = LearnedSteps(own, (14.6, 6.0, 2.9, 0.71))
    found = RatioSchedule((1.0,) * 4, sigmas=host, cfg=3.0, learned=steps, quality="full")
    text = "learned steps (full) for 4 steps at CFG 3, sigmas 14.6 6.211 2.9 0.71 0"
    assert told(Choice(found, "a.safetensors")) == f"{text} (a.safetensors in the library)"
    beside = replace(
        found, ratios=(1.0, 1.0, 1.2, 1.0), cfg=None, solver="ddim", quality="schedule"
    )
    assert told(Choice(beside), "ddim") == (
        "ddim, learned steps (schedule) for 4 steps, sigmas 14.6 6.211 2.9 0.71 0, ratios 1.000 "
        "1.000 1.200 1.000"
    )
    saved = record(Choice(found, "a.safetensors"), text=text)
    assert saved == {
        "told": text, "solver": "dc_solver", "ratios": [1.0] * 4, "quality": "full",
        "source": "a.safetensors",
    }  # fmt: skip
    assert record(Choice(replace(found, learned=None)))["quality"] is None, "which runs plain"
    assert listed(range(20, 0, -1)) == "20 19 18 17 … 4 3 2 1"


def test_a_description_says_what_was_learned_and_who_can_use_it() -> None:
    host, own = (14.6, 5.0, 2.3, 0.0), (14.6, 6.0, 2.9, 0.0)
    bare = RatioSchedule((1.0,) * 3, sigmas=host, cfg=3.0, quality="schedule",
                         learned=LearnedSteps(own))  # fmt: skip
    lines = describe_ratios(bare).splitlines()
    assert lines == [
        "DC-Solver learned steps: 3 steps at CFG 3, calibrated (quality schedule)",
        "sigmas: 14.6 6 2.9 0 in place of the scheduler's; any graph can use them as SIGMAS, with "
        "any sampler",
        "solver: dc_solver order 2 bh2, K = 2 in t",
    ]
    changes = ((0.0,) * 3, (0.1, -0.1, 0.0), (0.0,) * 3)
    full = replace(bare, learned=LearnedSteps(own, (14.6, 5.5, 2.9), changes), quality="full",
                   ratios=(1.0, 1.0, 1.3))  # fmt: skip
    lines = describe_ratios(full).splitlines()
    assert lines[2:5] == [
        "told to the model: 14.6 5.5 2.9",
        "outputs weighed anew: after 1 of 3 steps",
        "ratios: 1.000  1.000  1.300",
    ]
    searched = replace(bare, learned=None, quality="ratios+")
    assert "DC-Solver ratios: 3 steps at CFG 3, calibrated (quality ratios+)" in describe_ratios(
        searched
    )


def test_labels() -> None:
    assert label_of("dc_solver") == "UniPC" and compensated("dc_solver") == "DC-Solver"
    assert label_of("ddim", True) == "DDIM with UniC"
    assert label_of("dc_solver", False) == label_of("unipc", False) == "UniP"
    assert label_of("dc_solver", True) == label_of("unipc", None) == "UniPC"
    assert compensated("dpmpp_2m") == "DPM-Solver++(2M) with ratios"
    assert compensated("dc_solver", False) == "UniP with ratios"


def test_an_adaptive_run_is_told() -> None:
    text = report_text("dpm_12", RunReport(31, 14, 2))
    assert text == "DPM-Solver-12: 31 model calls, 14 steps kept, 2 tried again"
    assert "the calls ran out" in report_text("dpm_12", RunReport(200, 60, 9, capped=True))
