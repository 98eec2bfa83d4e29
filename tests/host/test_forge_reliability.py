"""What users do to a WebUI: interrupt anywhere, install twice, load a namesake beside it."""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from forge_server import ROOT, ForgeServer, install

#: ``DC_SOLVER_CANCELS=200`` for the long version.
CANCELS = int(os.environ.get("DC_SOLVER_CANCELS", "6"))
NAMESAKE = """
from modules import sd_samplers, sd_samplers_kdiffusion
from modules.sd_samplers_common import SamplerData


def build(model):
    return sd_samplers_kdiffusion.KDiffusionSampler("sample_euler", model, None)


if "DC-Solver" not in sd_samplers.all_samplers_map:
    data = SamplerData("DC-Solver", build, ["namesake"], {})
    sd_samplers.all_samplers.append(data)
    sd_samplers.all_samplers_map["DC-Solver"] = data
    sd_samplers.set_samplers()
"""
STEPS = 150
HIRES: dict[str, Any] = {
    "enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.7,
    "hr_additional_modules": [],
}  # fmt: skip


def test_interrupt_at_random_moments(forge: ForgeServer) -> None:
    """The image ends early, and every tenth time the next one is right to the bit."""
    dice = random.Random(5)
    right = forge.txt2img(steps=6).images
    early = 0
    for k in range(CANCELS):
        more = HIRES if dice.random() < 0.3 else {}
        known, box = forge.images_made(), list[Any]()
        worker = threading.Thread(
            target=lambda more=more, box=box: box.append(  # type: ignore[misc]
                forge.post_image("/sdapi/v1/txt2img", steps=STEPS, **more)
            )
        )
        worker.start()
        moment, deadline = dice.randrange(STEPS - 20), time.monotonic() + 60
        while forge.get("/sdapi/v1/progress")["state"]["sampling_step"] <= moment:
            assert time.monotonic() < deadline, "the image did not get so far"
            if box:  # it was done between two looks
                break
            time.sleep(0.01)
        forge.post("/sdapi/v1/interrupt", {})
        worker.join(60)
        assert box, "the image did not end"
        assert forge.images_made() == known + 1
        early += forge.last_calls() < STEPS
        if k % 10 == 9 or k == CANCELS - 1:
            assert forge.txt2img(steps=6).images == right
    print(f"{CANCELS} interrupts: {early} images ended early")
    assert early > 0.7 * CANCELS


@pytest.mark.parametrize("beside", ["a second copy", "a namesake"])
def test_a_second_extension_of_the_name_does_no_harm(tmp_path: Path, beside: str) -> None:
    """The name is in the dropdown once, images are made, and the log tells what to do."""
    forge = ForgeServer(*install(), tmp_path)
    other = tmp_path / "extensions" / "a-first"  # the host loads them by name
    if beside == "a second copy":
        ignored = shutil.ignore_patterns(".*", "tests", "benchmarks", "docs", "__pycache__")
        shutil.copytree(ROOT, other, ignore=ignored)
    else:
        (other / "scripts").mkdir(parents=True)
        (other / "scripts" / "namesake.py").write_text(NAMESAKE, encoding="utf-8")
    with forge.running():
        log = forge.log.read_text(encoding="utf-8")
        assert "cannot be used" not in log and "Error loading script" not in log
        names = [sampler["name"] for sampler in forge.get("/sdapi/v1/samplers")]
        assert names.count("DC-Solver") == 1
        titles = forge.get("/sdapi/v1/scripts")
        assert titles["txt2img"].count("dc-solver") == 1
        answer = forge.post_image("/sdapi/v1/txt2img", steps=6)
        ours = "DC ratios" in answer["info"]
        if beside == "a second copy":
            assert ours and "a-first too; remove one, and start the WebUI anew" in log
        else:
            assert not ours and "another extension has a sampler DC-Solver" in log
