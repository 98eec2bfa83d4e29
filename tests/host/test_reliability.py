"""What users do to a host: cancel anywhere, install twice, load a namesake beside it."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from comfy_server import ROOT, ComfyServer, PromptError, install
from dc_solver.demo import emoji
from graphs import CALIBRATION, inputs, model_graph, node
from safetensors.torch import load_file

#: ``DC_SOLVER_CANCELS=200`` for the long version.
CANCELS = int(os.environ.get("DC_SOLVER_CANCELS", "12"))
NAMESAKE = '''
"""A pack that has a sampler called dc_solver too."""
import comfy.samplers

if "dc_solver" not in comfy.samplers.KSAMPLER_NAMES:
    comfy.samplers.KSAMPLER_NAMES.append("dc_solver")
if "dc_solver" not in comfy.samplers.SAMPLER_NAMES:
    comfy.samplers.SAMPLER_NAMES.append("dc_solver")
comfy.k_diffusion.sampling.sample_dc_solver = comfy.k_diffusion.sampling.sample_euler
NODE_CLASS_MAPPINGS = {}
'''


def image(comfy: ComfyServer, seed: int = 1, sampler: str = "dc_solver") -> dict[str, Any]:
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    graph["image"] = node(
        "KSampler", **inputs(), seed=seed, steps=6, cfg=3.0, sampler_name=sampler,
        scheduler="simple", denoise=1.0,
    )  # fmt: skip
    graph["keep"] = node("SaveLatent", samples=["image", 0], filename_prefix="after")
    return graph


def latent(comfy: ComfyServer, graph: dict[str, Any]) -> torch.Tensor:
    """The latent that a graph saves; it is run whatever ComfyUI remembers of it."""
    comfy.post("/free", {"free_memory": True})
    (entry,) = comfy.run(graph)["keep"]["latents"]
    return load_file(comfy.output_file(entry))["latent_tensor"]


def work(comfy: ComfyServer, dice: random.Random) -> dict[str, Any]:
    """Something that takes a while, never twice the same."""
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    seed = dice.randrange(2**31)
    kind = dice.choice(("cal", "grid", "image", "full"))
    long = {**CALIBRATION, "seeds": 8, "reference_steps": 200, "first_seed": seed}
    if kind == "image":
        graph["it"] = node(
            "DCSolverKSampler", **inputs(), seed=seed, steps=300, cfg=3.0, scheduler="simple",
            denoise=1.0,
        )  # fmt: skip
        graph["keep"] = node("SaveLatent", samples=["it", 0], filename_prefix="cancelled")
        return graph
    if kind == "grid":
        graph["it"] = node("DCSolverCalibrateGrid", **inputs(), **long, steps_list="5, 8",
                           cfg_list="3, 5", scheduler="simple")  # fmt: skip
    else:
        quality = "full" if kind == "full" else "paper"
        graph["it"] = node("DCSolverCalibrate", **inputs(), **long, steps=8, cfg=3.0,
                           scheduler="simple", quality=quality)  # fmt: skip
    graph["keep"] = node("DCSolverSaveRatios", ratios=["it", 0], name="cancelled", overwrite=False)
    return graph


def test_cancel_at_random_moments(comfy: ComfyServer) -> None:
    """The queue goes on, nothing is kept, and the next image is right to the bit."""
    dice = random.Random(5)
    expected = latent(comfy, image(comfy))
    ended = {"cancelled": 0, "done": 0}
    for k in range(CANCELS):
        prompt = comfy.queue(work(comfy, dice))
        while prompt not in str(comfy.get("/queue")["queue_running"]):
            if prompt in comfy.get(f"/history/{prompt}"):
                break
            time.sleep(0.01)
        time.sleep(dice.uniform(0.0, 2.5))
        comfy.post("/interrupt", {})
        try:
            comfy.wait(prompt, 60)
            ended["done"] += 1
            comfy.clear_library()
        except PromptError as error:
            assert any(message[0] == "execution_interrupted" for message in error.messages), error
            ended["cancelled"] += 1
            assert not comfy.library.exists() or not list(comfy.library.iterdir())
        if k % 10 == 9 or k == CANCELS - 1:
            assert torch.equal(latent(comfy, image(comfy)), expected)
    print(f"{CANCELS} interrupts: {ended['cancelled']} cancelled, {ended['done']} were done before")
    assert ended["cancelled"] > 0.7 * CANCELS
    queue = comfy.get("/queue")
    assert not queue["queue_running"] and not queue["queue_pending"]


@pytest.mark.parametrize("beside", ["a second copy", "a namesake"])
def test_a_second_pack_of_the_name_does_no_harm(tmp_path: Path, beside: str) -> None:
    """Our nodes run our code; the name in the dropdown is that of whoever came first or last."""
    comfy = ComfyServer(*install(), tmp_path)
    nodes = tmp_path / "custom_nodes"
    nodes.mkdir()
    if beside == "a second copy":
        (nodes / "dc_solver_copy").symlink_to(ROOT, target_is_directory=True)
    else:
        (nodes / "other").mkdir()
        (nodes / "other" / "__init__.py").write_text(NAMESAKE, encoding="utf-8")
    with comfy.running():
        log = comfy.log.read_text(encoding="utf-8")
        assert "IMPORT FAILED" not in log
        info = comfy.get("/object_info")
        names = info["KSampler"]["input"]["required"]["sampler_name"][0]
        assert names.count("dc_solver") == 1
        assert sum(name.startswith("DCSolver") for name in info) == 10
        graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
        few = {**CALIBRATION, "seeds": 2, "check_seeds": 0, "reference_steps": 24}
        graph["it"] = node("DCSolverCalibrate", **inputs(), **few, steps=4, cfg=3.0,
                           scheduler="simple")  # fmt: skip
        graph["keep"] = node("DCSolverSaveRatios", ratios=["it", 0], name="a", overwrite=False)
        comfy.run(graph)
        assert (comfy.library / "a.safetensors").is_file()
        ours = image(comfy)
        ours["image"] = node("DCSolverKSampler", **inputs(), seed=1, steps=6, cfg=3.0,
                             scheduler="simple", denoise=1.0)  # fmt: skip
        from_node = latent(comfy, ours)
        from_dropdown = latent(comfy, image(comfy))
        euler = latent(comfy, image(comfy, sampler="euler"))
        assert not torch.allclose(from_node, euler, atol=1e-2)
        same = torch.allclose(from_dropdown, from_node, atol=1e-4)
        if beside == "a second copy":
            assert same and "there is a sampler dc_solver already" in log
        else:
            assert same or torch.allclose(from_dropdown, euler, atol=1e-4)
