"""How the pack gets into the WebUI: its sampler once, its axes, and what a host lacks."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver.solvers import SOLVERS
from webui_adapter import ROOT, adapter, by_library, load_script, run


def test_a_host_without_schedule_types_has_the_sampler(
    webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A1111 before 1.9."""
    monkeypatch.setitem(sys.modules, "modules.sd_schedulers", None)
    monkeypatch.delattr(webui["modules"], "sd_schedulers")
    load_script()
    assert "DC-Solver" in webui["modules.sd_samplers"].all_samplers_map
    assert any("schedule types" in text for text in webui["modules.errors"].reports)
    p = host.Processing()
    _, found = run(host.a1111_model(), p)
    assert torch.allclose(found, by_library(solver="unipc"), atol=1e-6)


def test_the_sampler_is_there_once_whatever_else_fails(
    webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without gradio there is no accordion and no tab; after Reload UI there is still one entry."""
    monkeypatch.setitem(sys.modules, "gradio", None)
    before = list(sys.path)
    for _ in range(2):
        script = load_script()
    samplers = webui["modules.sd_samplers"]
    assert [data.name for data in samplers.all_samplers] == ["DC-Solver"]
    assert samplers.all_samplers_map["DC-Solver"].options == {"scheduler": "simple"}
    assert script.DCSolverScript is None
    reports = webui["modules.errors"].reports
    assert any("accordion" in text for text in reports) and any("tab" in text for text in reports)
    assert sys.path == before
    names = {"nodes", "solvers", "ratios", "scripts", "web", "demo"}
    assert not names & {name for name, m in sys.modules.items()
                        if str(ROOT) in str(getattr(m, "__file__", ""))}  # fmt: skip


def test_a_second_copy_and_a_namesake_add_nothing(
    webui: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    (copy / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "dc_solver.py", copy / "scripts")
    monkeypatch.setattr(sys, "path", [str(copy), str(ROOT), *sys.path])
    samplers, reports = webui["modules.sd_samplers"], webui["modules.errors"].reports
    load_script()
    reports.clear()
    assert not hasattr(load_script(copy), "DCSolverScript")
    assert [data.name for data in samplers.all_samplers] == ["DC-Solver"]
    told = f"DC-Solver: it is in {ROOT} too; remove one, and start the WebUI anew"
    assert reports == [told]
    for callback in webui["modules.script_callbacks"].callbacks["before_ui"]:
        callback()
    assert not {str(copy), str(ROOT)} & set(sys.path)
    theirs = replace(samplers.all_samplers_map["DC-Solver"], constructor=print)
    samplers.all_samplers[:] = [theirs]
    samplers.all_samplers_map["DC-Solver"] = theirs
    reports.clear()
    load_script()
    assert samplers.all_samplers == [theirs]
    assert "DC-Solver: another extension has a sampler DC-Solver; ours is not added" in reports


def test_the_axes_of_a_plot(webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    common: Any = ModuleType("modules.ui_common")
    common.create_refresh_button = print
    for name, module in (("gradio", ModuleType("gradio")), ("modules.ui_common", common)):
        monkeypatch.setitem(sys.modules, name, module)
    plot = SimpleNamespace(axis_options=[], AxisOption=lambda *a, **k: SimpleNamespace(
        label=a[0], apply=a[2], **k))  # fmt: skip
    script = SimpleNamespace(module=plot, script_class=SimpleNamespace(__module__="xyz_grid.py"))
    webui["modules.scripts"].scripts_data.append(script)
    axes = adapter("axes")
    for _ in range(2):
        axes._add()
    names = [option.label.removeprefix("[DC-Solver] ") for option in plot.axis_options]
    assert names == ["Ratios", "Solver", "Order", "K"]
    axis = plot.axis_options[1]
    assert axis.choices() == list(SOLVERS)
    with pytest.raises(RuntimeError, match="expected one of dc_solver"):
        axis.confirm(None, ["dpm_2", "euler"])
    p = host.Processing()
    axis.apply(p, "dpm_2", None)
    _, found = run(host.a1111_model(), p)
    assert torch.allclose(found, by_library(solver="dpm_2"), atol=1e-6)


def test_the_packs_folder_does_not_stay_on_the_path(
    webui: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    adapter("registration").register_sampler()
    for callback in webui["modules.script_callbacks"].callbacks["before_ui"]:
        callback()
    assert str(ROOT) not in sys.path
