"""The embedded models, the demo and the command line, on a small scale."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dc_solver import ratios
from dc_solver.demo import emoji, grids
from dc_solver.demo import run as demo
from dc_solver.demo.experiment import Experiment, compare
from dc_solver.ratios.reference import reference_sigmas
from dc_solver.ratios.text import label_of
from dc_solver.solvers import SOLVERS, sample
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_model_tells_its_conditions_apart() -> None:
    model = emoji.load("eps")
    conditions = emoji.Conditions()
    smiley = conditions.vector("Smileys & Emotion")[None]
    flag = conditions.vector("Flags")[None]
    x, sigma = 3.0 * torch.randn(1, *emoji.LATENT, generator=seeded(1)), torch.tensor([3.0])
    a, b = (model.denoiser(3.0)(x, sigma, condition=c) for c in (smiley, flag))
    assert float((a - b).square().mean()) > 0.05


def test_decoded_images_are_images() -> None:
    images = emoji.decode(torch.zeros(2, *emoji.LATENT))
    assert images.shape == (2, 32, 32, 3)
    assert float(images.min()) >= 0.0 and float(images.max()) <= 1.0


@pytest.mark.parametrize("scheduler", grids.SCHEDULERS)
@pytest.mark.parametrize("kind", emoji.KINDS)
def test_every_grid_falls_to_zero(scheduler: str, kind: str) -> None:
    table = emoji.load(kind).sigmas
    for steps in (1, 2, 5, 20):
        sigmas = grids.make_sigmas(scheduler, table, steps, flow=kind == "flow")
        assert len(sigmas) == steps + 1 or scheduler == "ddim_uniform"
        assert sigmas[-1] == 0.0 and bool((sigmas.diff() < 0.0).all())


@pytest.mark.parametrize("kind", emoji.KINDS)
def test_the_truth_is_finely_stepped(kind: str) -> None:
    """Half as many steps end at the same place, far nearer than any solver compared with it."""
    task = Experiment(emoji.load(kind), 3.0, "simple")
    data = emoji.points(range(3))
    assert 195 <= len(task.truth_sigmas()) <= 210
    truth = task.truth(data, int)
    sigmas = torch.tensor(reference_sigmas([float(task.model.sigmas[-1]), 0.0],
                                           task.model.schedule, 100)[0])  # fmt: skip
    coarser = sample(
        task.model.denoiser(3.0), task.model.start(data.noise, float(sigmas[0])), sigmas,
        solver="unipc", order=3, lower_order="final", schedule=task.model.schedule,
        extra_args={"condition": data.conditions}, disable=True,
    )  # fmt: skip
    student = task.row("", 8, data, truth, int, solver="unipc").errors
    difference = (coarser - truth).square().flatten(1).mean(dim=1)
    assert float((difference / student).max()) < 0.03


def test_calibration_beats_unipc_on_held_out_seeds() -> None:
    """The point of it all, on a trained model: 8 steps, CFG 3, seeds never seen."""
    task = Experiment(emoji.load("eps"), 3.0, "simple")
    (found,) = task.calibrate([8], [3.0])
    assert found.report is not None and found.report.verdict == "better"
    data = emoji.points(range(90_000, 90_012))
    truth = task.truth(data, int)
    plain = task.row("", 8, data, truth, int, solver="unipc")
    better = task.row("", 8, data, truth, int, ratios=found)
    assert plain.calls == better.calls == 8
    assert compare(better.errors, plain.errors).geometric_mean < 0.85


@pytest.mark.parametrize(("solver", "limit"), [("ddim", 0.9), ("dpmpp_2m", 0.75)])
def test_compensation_helps_the_other_solvers(solver: str, limit: float) -> None:
    """As the paper finds of DDIM and DPM-Solver++; here DPM-Solver++ gains more than DDIM."""
    task = Experiment(emoji.load("eps"), 3.0, "simple")
    (found,) = task.calibrate([8], [3.0], solver=solver)
    assert found.solver == solver and found.report is not None
    data = emoji.points(range(90_000, 90_012))
    truth = task.truth(data, int)
    plain = task.row("", 8, data, truth, int, solver=solver)
    better = task.row("", 8, data, truth, int, solver=solver, ratios=found)
    assert plain.calls == better.calls == 8
    assert compare(better.errors, plain.errors).geometric_mean < limit


def test_the_demo_writes_its_table_pictures_and_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "STEPS", (5, 6))
    monkeypatch.setattr(demo, "CPR_STEPS", (5, 6))
    monkeypatch.setattr(demo, "CPR_CFGS", (2.0, 4.0))
    rows = demo.run_demo("eps", "simple", 3.0, 4, tmp_path, quiet=True)
    plain = {label_of(name) for name, entry in SOLVERS.items() if entry.kind != "adaptive"}
    assert {row.solver for row in rows} == plain | {"DC-Solver", "DC-Solver, CPR"} | {
        f"{label} with ratios" for label in ("DDIM", "DPM-Solver++(2M)", "DEIS (tAB)")
    }
    assert all(row.calls == row.steps for row in rows)
    told = capsys.readouterr().out
    assert "UniPC on the same sigmas = 1" in told and "4 held-out seeds" in told
    assert told.count("DPM-Solver-23, adaptive: ") == 1
    (full,) = re.findall(r"DC-Solver, full: (\S+) of UniPC's error at 5 steps \(", told)
    assert float(full) < 0.7
    for name in ("contact_sheet.png", "ratios.png"):
        pixels = np.asarray(Image.open(tmp_path / name).convert("L"), dtype=np.float32)
        assert min(pixels.shape) > 300 and pixels.std() > 10.0
    assert isinstance(ratios.load(tmp_path / "emoji_eps_5_steps.safetensors"), ratios.RatioSchedule)
    assert isinstance(ratios.load(tmp_path / "emoji_eps_cpr.safetensors"), ratios.CPR)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT), *arguments], capture_output=True, text=True, timeout=300
    )


def test_the_command_line_calibrates_and_predicts(tmp_path: Path) -> None:
    file = tmp_path / "grid.safetensors"
    made = command("calibrate", str(file), "--steps", "5", "6", "--cfg", "2", "4")
    assert made.returncode == 0, made.stderr
    assert "5 to 6 steps, CFG 2 to 4" in made.stdout
    told = command("predict", str(file), "--steps", "5", "--cfg", "3")
    assert told.returncode == 0 and "5 steps at CFG 3 on simple, predicted" in told.stdout
    other = tmp_path / "ddim.safetensors"
    made = command("calibrate", str(other), "--steps", "5", "--cfg", "2", "--solver", "ddim")
    assert made.returncode == 0 and "of DDIM's" in made.stdout, made.stderr
    refused = command("calibrate", str(other), "--solver", "dpm_2")
    assert refused.returncode == 1 and "expected one that takes ratios" in refused.stderr
    outside = command("predict", str(file), "--steps", "9", "--cfg", "3")
    assert "outside the fitted range 5 to 6" in outside.stdout


def test_the_command_line_knows_every_quality() -> None:
    spec = importlib.util.spec_from_file_location("dc_solver_main", ROOT / "__main__.py")
    assert spec is not None and spec.loader is not None
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    assert main._QUALITIES == ratios.QUALITIES


def test_the_command_line_learns_steps(tmp_path: Path) -> None:
    """What they are worth, on seeds never seen; and they predict nothing."""
    file = tmp_path / "full.safetensors"
    made = command("calibrate", str(file), "--steps", "5", "--quality", "full")
    assert made.returncode == 0, made.stderr
    assert "learned steps: 5 steps at CFG 3 on simple, calibrated (quality full)" in made.stdout
    found = ratios.load(file)
    assert isinstance(found, ratios.RatioSchedule) and found.quality == "full"
    task = Experiment(emoji.load("eps"), 3.0, "simple")
    data = emoji.points(range(90_000, 90_012))
    truth = task.truth(data, int)
    plain = task.row("", 5, data, truth, int, solver="unipc")
    better = task.row("", 5, data, truth, int, ratios=found)
    assert plain.calls == better.calls == 5
    assert compare(better.errors, plain.errors).geometric_mean < 0.6
    refused = command("predict", str(file), "--steps", "5", "--cfg", "3")
    assert refused.returncode == 1 and "holds learned steps for 5 steps" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_command_line_keeps_what_is_learned_for_each_setting_apart(tmp_path: Path) -> None:
    made = command("calibrate", str(tmp_path / "t.safetensors"), "--steps", "4", "5",
                   "--quality", "tournament")  # fmt: skip
    assert made.returncode == 0 and "quality tournament makes no CPR" in made.stdout, made.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"t {steps} steps CFG 3.safetensors" for steps in (4, 5)}
    for steps in (4, 5):
        found = ratios.load(tmp_path / f"t {steps} steps CFG 3.safetensors")
        assert isinstance(found, ratios.RatioSchedule) and found.quality == "tournament"


def test_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a calibration")
    told = command("predict", str(broken), "--steps", "5", "--cfg", "3")
    assert told.returncode == 1 and "broken.safetensors" in told.stderr
    assert "Traceback" not in told.stderr
    assert broken.read_bytes() == b"not a calibration"
    none = command("predict", str(tmp_path / "none.safetensors"), "--steps", "5", "--cfg", "3")
    assert none.returncode == 1 and "Traceback" not in none.stderr


def test_the_command_line_offers_every_scheduler() -> None:
    """It lists them itself, so that --help needs no package; the lists must not drift apart."""
    spec = importlib.util.spec_from_file_location("dc_solver_main", ROOT / "__main__.py")
    assert spec is not None and spec.loader is not None
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    offered = tuple(main._SCHEDULERS)
    assert offered == tuple(grids.SCHEDULERS)
