"""What the fields of the WebUI's calibration page ask for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import webui_host as host

GOOD: dict[str, Any] = {
    "prompts": "a fox\n\n  a hen ", "negative": "", "steps": "8", "cfgs": "7",
    "scheduler": "Simple", "width": 515, "height": 512, "first_seed": 1, "seeds": 10,
    "check_seeds": 3, "batch": 2, "name": "",
}  # fmt: skip


class Conditions:
    def __init__(self, shape: Any, batch: list[Any]) -> None:
        self.shape, self.batch = shape, batch


@pytest.fixture(autouse=True)
def webui(tmp_path: Path) -> Iterator[dict[str, ModuleType]]:
    stand_ins = host.modules(tmp_path)
    more: dict[str, dict[str, Any]] = {
        "modules.call_queue": {},
        "modules.processing": {"StableDiffusionProcessingTxt2Img": object},
        "modules.prompt_parser": {"MulticondLearnedConditioning": Conditions},
    }
    for name, content in more.items():
        stand_ins[name] = ModuleType(name)
        stand_ins[name].__dict__.update(content)
        setattr(stand_ins["modules"], name.split(".")[1], stand_ins[name])
    shared: Any = stand_ins["modules.shared"]
    info = SimpleNamespace(model_name="\u6a21\u578b: v/1" * 12)
    shared.sd_model = SimpleNamespace(sd_checkpoint_info=info)
    shared.state = SimpleNamespace()
    sys.modules.update(stand_ins)
    yield stand_ins
    for name in stand_ins:
        del sys.modules[name]
    host.forget("dc_solver.scripts")


def work() -> Any:
    return importlib.import_module("dc_solver.scripts.webui.work")


def calibrating() -> Any:
    return importlib.import_module("dc_solver.scripts.webui.calibrating")


def job(**changes: Any) -> Any:
    return work().job_of(**{**GOOD, **changes})


def test_a_job_of_good_fields() -> None:
    made, name = job(steps="5, 8 5", cfgs="1, 4")
    assert made.prompts == ("a fox", "a hen") and made.points == 13
    assert made.steps == (5, 8) and made.cfgs == (1.0, 4.0)
    assert (made.width, made.height) == (512, 512)
    assert name.endswith("5-8 steps CFG 1-4") or len(name.encode()) <= 120


def test_a_job_of_another_solver(webui: dict[str, Any]) -> None:
    webui["modules.shared"].sd_model.sd_checkpoint_info.model_name = "model"
    made, name = job(solver="ddim", corrector="on")
    assert made.solver == "ddim" and made.corrector is True
    assert name == "model ddim with UniC 8 steps CFG 7"
    assert job()[0].solver == "dc_solver" and job()[0].corrector is None
    assert job()[1] == "model 8 steps CFG 7"


def test_any_model_name_makes_a_file_name(tmp_path: Path) -> None:
    from dc_solver.ratios.library import path_in

    _, name = job()
    assert path_in(tmp_path, name).parent == tmp_path
    _, named = job(name="../a:b")
    assert path_in(tmp_path, named).name == "_a_b.safetensors"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prompts": " \n"}, "prompts: expected one or more"),
        ({"steps": "few"}, "steps: expected numbers"),
        ({"steps": "2"}, "steps: expected numbers from 3"),
        ({"steps": ""}, "steps: expected numbers"),
        ({"cfgs": "nan"}, "CFG: expected numbers"),
        ({"steps": "3 4 5 6 7 8 9", "cfgs": "1 2 3 4 5"}, "at most 32 pairs"),
        ({"first_seed": None}, "first seed: expected a number"),
        ({"seeds": float("inf")}, "search seeds: expected a number"),
        ({"width": 1e9}, "width: expected a number from 64 to 4096"),
    ],
)
def test_bad_fields_are_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        job(**changes)


def test_where_it_is_is_told_from_the_start_on() -> None:
    made = work().Work(*job())
    assert made.told() == "waiting for the image that is being made"
    made._progress(0, 100)
    assert made.told() == "0 of about 100 model calls of one image"
    made._progress(10, 100)
    made._progress(20, 100)
    assert made.told().startswith("20 of about 100 model calls of one image, ")


def test_every_point_gets_what_is_its_own() -> None:
    rows_of = calibrating().rows_of
    points = slice(2, 4)
    conditions = rows_of(Conditions((5,), list("abcde")), points, 5)
    assert conditions.batch == ["c", "d"] and conditions.shape == (2,)
    assert rows_of(list("abcde"), points, 5) == ["c", "d"]
    whole = torch.arange(5.0)
    assert rows_of(whole, points, 5).tolist() == [2.0, 3.0]
    assert rows_of(torch.zeros(3, 4), points, 5).shape == (2, 4), "that of a batch serves all"
    assert rows_of(7.0, points, 5) == 7.0 and rows_of(None, points, 5) is None


def test_the_hosts_scaling_of_the_noise_is_found() -> None:
    noise = torch.randn(3, 4, 8, 8)
    assert calibrating()._scale(14.6 * noise[:2], noise[:2]) == pytest.approx(14.6, rel=1e-6)


def test_a_schedule_has_the_name_that_comfyui_gives_it(webui: dict[str, Any]) -> None:
    known = webui["modules.sd_schedulers"].schedulers_map
    known["DDIM"] = SimpleNamespace(name="ddim", function=print)
    known["Simple"] = known["simple"]
    known["Automatic"] = SimpleNamespace(name="automatic", function=None)
    models = importlib.import_module("dc_solver.scripts.webui.models")
    names = [models.scheduler_name(x) for x in ("DDIM", "Simple", "Automatic", "none such")]
    assert names == ["ddim_uniform", "simple", "simple", "simple"]
