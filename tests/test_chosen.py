"""What runs, told in words, for every solver."""

from __future__ import annotations

import pytest
from dc_solver.ratios import RatioSchedule
from dc_solver.ratios.chosen import choose_ratios, record, refusal, report_text, told
from dc_solver.ratios.lookup import Choice
from dc_solver.ratios.text import compensated, label_of
from dc_solver.solvers import SOLVERS, RunReport


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
        "told": "text", "solver": name, "ratios": None, "source": None,
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
