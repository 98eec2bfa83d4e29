"""What the fields of the WebUI's calibration page ask for."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import webui_host as host
from dc_solver import ratios
from dc_solver.ratios import CPR, QUALITIES, RatioSchedule

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
        "modules.call_queue": {"queue_lock": contextlib.nullcontext()},
        "modules.processing": {"StableDiffusionProcessingTxt2Img": host.Txt2Img,
                               "process_images": host.process_images},
        "modules.prompt_parser": {"MulticondLearnedConditioning": Conditions},
    }  # fmt: skip
    for name, content in more.items():
        stand_ins[name] = ModuleType(name)
        stand_ins[name].__dict__.update(content)
        setattr(stand_ins["modules"], name.split(".")[1], stand_ins[name])
    shared: Any = stand_ins["modules.shared"]
    info = SimpleNamespace(model_name="\u6a21\u578b: v/1" * 12)
    shared.sd_model = SimpleNamespace(sd_checkpoint_info=info)
    shared.state = SimpleNamespace(begin=lambda job: None, end=lambda: None)
    shared.opts.data_labels = {}
    samplers: Any = stand_ins["modules.sd_samplers"]
    samplers.find_sampler_config = lambda name: None
    paths: Any = stand_ins["modules.paths"]
    paths.data_path = str(tmp_path)
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
    assert name == "", "none was asked for"
    named = work().name_of(made)
    assert named.endswith("5-8 steps CFG 1-4") or len(named.encode()) <= 120


def test_a_job_of_another_solver(webui: dict[str, Any]) -> None:
    webui["modules.shared"].sd_model.sd_checkpoint_info.model_name = "model"
    made, _ = job(solver="ddim", corrector="on")
    assert made.solver == "ddim" and made.corrector is True
    assert work().name_of(made) == "model ddim with UniC 8 steps CFG 7"
    made, _ = job()
    assert made.solver == "dc_solver" and made.corrector is None
    assert work().name_of(made) == "model 8 steps CFG 7"


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_job_of_a_quality(webui: dict[str, Any], quality: str) -> None:
    webui["modules.shared"].sd_model.sd_checkpoint_info.model_name = "model"
    made, _ = job(quality=quality)
    assert made.quality == quality and made.reference_calls is None
    own = "" if quality == "paper" else f" {quality}"
    assert work().name_of(made) == f"model{own} 8 steps CFG 7"


def test_any_model_name_makes_a_file_name(tmp_path: Path) -> None:
    from dc_solver.ratios.library import path_in

    made, _ = job()
    assert path_in(tmp_path, work().name_of(made)).parent == tmp_path
    _, named = job(name="../a:b")
    assert path_in(tmp_path, named).name == "_a_b.safetensors"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"prompts": " \n"}, "prompts: expected one or more"),
        ({"steps": "few"}, "steps: expected numbers"),
        ({"steps": "2"}, "steps: expected 3 or more, got 2"),
        ({"steps": "1", "quality": "full"}, "steps: expected 2 or more, got 1"),
        ({"steps": "5.7"}, "steps: expected whole numbers such as 5, 8; got '5.7'"),
        ({"steps": ""}, "steps: expected numbers"),
        ({"cfgs": "nan"}, "CFG: expected numbers"),
        ({"steps": "3 4 5 6 7 8 9", "cfgs": "1 2 3 4 5"}, "at most 32 pairs"),
        ({"first_seed": None}, "first seed: expected a number"),
        ({"seeds": float("inf")}, "search seeds: expected a number"),
        ({"quality": "best"}, "quality: expected one of paper, ratios\\+, "),
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


# Whole calibrations, as the tab makes them


class Calibrated:
    """What a job came to: the work, the files by name, the model and the calls told."""

    def __init__(self, made: Any, folder: Path, model: Any, told: list[tuple[int, int]]) -> None:
        self.work, self.model, self.told = made, model, told
        self.files = {path.name: ratios.load(path) for path in folder.glob("*.safetensors")}


def calibrated(
    tmp_path: Path, webui: dict[str, Any], model: Any = None, **changes: Any
) -> Calibrated:
    model = model or host.forge_model()
    if not hasattr(model, "sd_checkpoint_info"):
        model.sd_checkpoint_info = SimpleNamespace(model_name="model")
    webui["modules.shared"].sd_model = host.Txt2Img.sd_model = model
    host.KDiffusionSampler.grids["host"] = lambda n: host.simple(n, 0, 0, model.wrap, "cpu")
    fields = {"steps": "5", "seeds": 4, "check_seeds": 2, **changes}
    made = work().Work(*job(**fields))
    told: list[tuple[int, int]] = []
    progress = made._progress
    made._progress = lambda done, total: (told.append((done, total)), progress(done, total))
    made.thread.start()
    made.thread.join()
    return Calibrated(made, tmp_path / "DC-Ratios", model, told)


def karras(n: int, sigma_min: float, sigma_max: float, device: Any) -> torch.Tensor:
    ramp = torch.linspace(sigma_max ** (1 / 7), sigma_min ** (1 / 7), n)
    return torch.cat([ramp**7, torch.zeros(1)])


def broken(n: int, sigma_min: float, sigma_max: float, device: Any) -> torch.Tensor:
    raise RuntimeError("of another extension")


def doubled(n: int, sigma_min: float, sigma_max: float, device: Any) -> torch.Tensor:
    return karras(2 * n, sigma_min, sigma_max, device)


@pytest.fixture
def schedulers(webui: dict[str, Any]) -> None:
    known = webui["modules.sd_schedulers"]
    known.schedulers = [
        host.SIMPLE,
        *(host.Scheduler(f.__name__, f.__name__, f) for f in (karras, broken, doubled)),
    ]
    known.schedulers_map = {one.name: one for one in known.schedulers}


def test_the_stock_are_the_hosts_schedules_that_work(schedulers: None) -> None:
    model = host.forge_model()
    models = importlib.import_module("dc_solver.scripts.webui.models")
    for steps in (5, 8):
        stock = models.stock_of(model.wrap)(steps)
        assert set(stock) == {"simple", "karras"}
        assert all(len(grid) == steps + 1 for grid in stock.values())


@pytest.mark.parametrize("quality", QUALITIES)
def test_what_the_tab_calibrates_is_found_at_one_call_a_step(
    tmp_path: Path, webui: dict[str, Any], schedulers: None, quality: str
) -> None:
    done = calibrated(tmp_path, webui, quality=quality, name="made")
    found = done.files["made.safetensors"]
    assert isinstance(found, RatioSchedule) and found.quality == quality
    use = "the next image uses it" if found.active else "it gained nothing, so images stay plain"
    assert done.work.message == f"saved as made.safetensors; {use}"
    assert done.work.result == [found]
    assert found.identity.scheduler == "simple" and found.report is not None
    if quality == "full":
        assert found.learned is not None and found.learned.changes is not None
    # What was told to begin with is what it took, but for what the reference had to be finer.
    (first, total), last = done.told[0], done.told[-1]
    assert first == 0 and last[0] == last[1] and total <= last[1]
    assert sum(found.report.calls.values()) <= last[1]
    sampler = importlib.import_module("dc_solver.scripts.webui.sampler")
    wrap = done.model.wrap
    grid = host.simple(5, 0, 0, wrap, "cpu")
    for sigmas, hires, used in ((grid, False, found.active), (grid[2:], True, False)):
        p: Any = host.Processing(is_hr_pass=hires)
        denoiser = host.Denoiser(wrap, p)
        x = float(sigmas[0]) * torch.randn(1, 8, generator=torch.Generator().manual_seed(2))
        sampler.sample_dc_solver(denoiser, x, sigmas, {"cond": "", "cond_scale": 7.0})
        assert len(denoiser.seen) == len(sigmas) - 1
        written = p.extra_generation_params
        if found.learned is not None:
            expected = f"{quality} made.safetensors" if used else "- | none"
            assert written["DC ratios"] == expected
        elif used and not hires:
            assert written["DC file"] == "made.safetensors"


@pytest.mark.parametrize("name", ["", "\u6a21" * 40])
def test_several_settings_beyond_paper_are_files_of_their_own(
    tmp_path: Path, webui: dict[str, Any], schedulers: None, name: str
) -> None:
    more = {"steps": "5 6", "cfgs": "3, 7.5", "seeds": 2, "check_seeds": 1, "name": name}
    done = calibrated(tmp_path, webui, quality="tournament", **more)
    assert "saved as 4 calibrations" in done.work.message and "no CPR" in done.work.message
    assert "quality tournament" in done.work.message
    assert len(done.work.result) == 4
    cells = {(one.steps, one.cfg) for one in done.files.values() if isinstance(one, RatioSchedule)}
    assert cells == {(5, 3.0), (5, 7.5), (6, 3.0), (6, 7.5)}
    again = calibrated(tmp_path, webui, quality="tournament", **more)
    assert set(again.files) == set(done.files), "the same is not saved twice"
    for file, one in done.files.items():
        assert isinstance(one, RatioSchedule)
        assert file.endswith(f" {one.steps} steps CFG {one.cfg:g}.safetensors")
        assert len(file.encode()) <= 120 + len(".safetensors")


@pytest.mark.parametrize("steps", ["5", "5 6"])
def test_a_file_is_named_after_the_model_that_the_host_loads_for_it(
    tmp_path: Path, webui: dict[str, Any], schedulers: None, steps: str
) -> None:
    """The hosts load a chosen checkpoint when they first make something with it."""
    processing = webui["modules.processing"]
    inner = processing.process_images

    def process_images(p: Any) -> None:
        webui["modules.shared"].sd_model.sd_checkpoint_info = SimpleNamespace(model_name="new")
        inner(p)

    processing.process_images = process_images
    model = host.forge_model()
    model.sd_checkpoint_info = SimpleNamespace(model_name="before")
    more = {"steps": steps, "seeds": 2, "check_seeds": 1, "quality": "tournament"}
    done = calibrated(tmp_path, webui, model, **more)
    expected = {f"new tournament {n} steps CFG 7.safetensors" for n in steps.split()}
    assert set(done.files) == expected


def test_several_settings_at_paper_are_a_cpr(tmp_path: Path, webui: dict[str, Any]) -> None:
    more = {"steps": "5 6", "cfgs": "3 7", "seeds": 2, "check_seeds": 1, "name": "all"}
    done = calibrated(tmp_path, webui, **more)
    assert isinstance(done.files["all.safetensors"], CPR) and len(done.work.result) == 1
    again = calibrated(tmp_path, webui, **more)
    assert "all.safetensors is the same already" in again.work.message and len(again.files) == 1


def test_a_second_calibration_goes_on_with_the_reference(
    tmp_path: Path, webui: dict[str, Any]
) -> None:
    """Where nothing has changed that the model's output depends on."""
    model = host.forge_model()
    opts = webui["modules.shared"].opts

    def reference(model: Any = model, **changes: Any) -> int:
        (found,) = calibrated(tmp_path, webui, model, **changes).work.result
        return int(found.report.calls["reference"])

    own = reference()
    assert own > 28 * 6 and reference() == 5 * 4
    for same in ({"steps": "6"}, {"scheduler": "simple"}, {"solver": "ddim"}, {"batch": 3}):
        assert reference(**same) < 28 * 6, same
    assert reference(seeds=3, check_seeds=3) < 28 * 6
    for other in ({"prompts": "a cow"}, {"negative": "blurry"}, {"cfgs": "6"}, {"seeds": 5}):
        assert reference(**other) > 28 * 6, other
    opts.data["token_merging_ratio"] = 0.5
    assert reference() > 28 * 6
    opts.data.clear()
    assert reference() < 28 * 6
    assert reference(host.forge_model()) > 28 * 6, "another model, of the same weights"
    model.sd_checkpoint_info.filename = "other.safetensors"  # loaded into the same object
    assert reference() > 28 * 6
    webui["modules.script_callbacks"].callback_map = {"callbacks_cfg_denoiser": [print]}
    assert reference() == own and reference() == own, "what another extension does is not known"


def test_the_key_is_of_what_the_prompts_were_encoded_to(webui: dict[str, Any]) -> None:
    references = importlib.import_module("dc_solver.scripts.webui.references")
    model = host.forge_model()
    denoiser = SimpleNamespace(inner_model=model.wrap)

    def prompt(value: float, end: int = 5) -> Any:
        part = SimpleNamespace(
            weight=1.0, schedules=[(end, {"crossattn": torch.full((3,), value)})]
        )
        return Conditions((2,), [[part], [part]])

    def key(steps: int = 5, lora: str | None = None, **changes: Any) -> Any:
        usual = {"cond": prompt(1.0), "image_cond": torch.zeros(1, 5, 1, 1), "cond_scale": 7.0}
        identity = ratios.Identity(lora=lora)
        return references.key_of(denoiser, {**usual, **changes}, 2, identity, (steps,))

    plain = key()
    assert plain == key() == key(6) == key(cond_scale=3.0)
    assert plain == key(image_cond=torch.zeros(3, 5, 1, 1)), "of a batch of another size"
    assert plain != key(cond=prompt(2.0)) and plain != key(cond=prompt(1.0, end=3))
    assert plain != key(lora="x") == key(lora="x")
    model.forge_objects.unet.model_options["patch"] = print
    assert plain != key() == key() != key(6)
    denoiser.inner_model = host.a1111_model().wrap
    assert key() == key() and key(lora="x") is None, "there a LoRA is known by name alone"
