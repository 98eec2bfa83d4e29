"""What users do to a host: cancel anywhere, install twice, load a namesake beside it."""

from __future__ import annotations

import os
import random
import shutil
import time
import uuid
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
FEW = {**CALIBRATION, "seeds": 2, "check_seeds": 0, "reference_steps": 24}
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
#: Loads our pack again as packs for developers do, and tells what the host then has of it.
RELOADER = """
import sys
from pathlib import Path

import nodes
import server
from aiohttp import web

NODE_CLASS_MAPPINGS = {}
PACK = Path(__file__).resolve().parent.parent / "dc-solver.pack"


@server.PromptServer.instance.routes.post("/reload_dc_solver")
async def reload_dc_solver(request):
    from comfy.k_diffusion import sampling

    name = sampling.sample_dc_solver.__module__.removesuffix(".nodes.sampling")
    for module in [m for m in sys.modules if m == name or m.startswith(name + ".")]:
        del sys.modules[module]
    loaded = await nodes.load_custom_node(str(PACK), module_parent="custom_nodes")
    new = sys.modules[name + ".nodes.sampling"]
    handlers = server.PromptServer.instance.on_prompt_handlers
    return web.json_response({
        "loaded": loaded,
        "new sampler": sampling.sample_dc_solver is new.sample_dc_solver,
        "prompt handlers": [h.__module__.startswith(name) for h in handlers].count(True),
    })
"""


def image(comfy: ComfyServer, seed: int = 1, sampler: str = "dc_solver") -> dict[str, Any]:
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    graph["image"] = node(
        "KSampler", **inputs(), seed=seed, steps=6, cfg=3.0, sampler_name=sampler,
        scheduler="simple", denoise=1.0,
    )  # fmt: skip
    graph["keep"] = node("SaveLatent", samples=["image", 0], filename_prefix="after")
    return graph


def latent(comfy: ComfyServer, graph: dict[str, Any]) -> torch.Tensor:
    """The latent that a graph saves; another name for its prompts makes ComfyUI run it again."""
    prompts = graph["prompts"]["inputs"]
    name = f"{uuid.uuid4().hex}.safetensors"
    shutil.copy(comfy.inputs / prompts["file"], comfy.inputs / name)
    prompts["file"] = name
    (entry,) = comfy.run(graph)["keep"]["latents"]
    return load_file(comfy.output_file(entry))["latent_tensor"]


def calibration(comfy: ComfyServer, check_seeds: int = 0) -> dict[str, Any]:
    """A short one, saved as ``a``."""
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    graph["it"] = node("DCSolverCalibrate", **inputs(), **FEW | {"check_seeds": check_seeds},
                       steps=4, cfg=3.0, scheduler="simple")  # fmt: skip
    graph["keep"] = node("DCSolverSaveRatios", ratios=["it", 0], name="a", overwrite=False)
    return graph


def predicted(comfy: ComfyServer) -> int:
    """How many ratios the live curve of a grid has, which the nodes and the route share."""
    graph = model_graph("eps", emoji.points([1]).conditions, comfy.inputs)
    graph["grid"] = node("DCSolverCalibrateGrid", **inputs(), **FEW, steps_list="4, 5",
                         cfg_list="3, 5", scheduler="simple")  # fmt: skip
    graph["it"] = node("DCSolverPredictRatios", cpr=["grid", 0], steps=4, cfg=3.0)
    graph["keep"] = node("DCSolverSaveRatios", ratios=["it", 0], name="a", overwrite=True)
    (shown,) = comfy.run(graph)["it"]["dc_run"]
    curve = comfy.get(f"/dc_solver/curve?cpr={shown['cpr']}&steps=5&cfg=3")
    return len(curve["ratios"])


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
        comfy.run(calibration(comfy))
        assert (comfy.library / "a.safetensors").is_file()
        assert predicted(comfy) == 5
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


def test_without_matplotlib_everything_but_pictures_is_there(tmp_path: Path) -> None:
    comfy = ComfyServer(*install(), tmp_path)
    without = tmp_path / "custom_nodes" / "without"
    without.mkdir(parents=True)
    code = "import sys\nsys.modules['matplotlib'] = None\nNODE_CLASS_MAPPINGS = {}\n"
    (without / "__init__.py").write_text(code, encoding="utf-8")
    with comfy.running():
        graph = calibration(comfy, check_seeds=1)
        graph["plot"] = node("DCSolverPlotRatios", ratios=["it", 0])
        graph["see"] = node("PreviewImage", images=["plot", 0])
        outputs = comfy.run(graph)
        assert (comfy.library / "a.safetensors").is_file()
        assert outputs["plot"]["images"] == [] and "see" not in outputs
        (text,) = outputs["plot"]["text"]
        assert text.startswith("No picture: it takes matplotlib") and "pip install" in text
        assert "at CFG 3" in text
        assert len(latent(comfy, image(comfy)).shape) == 4
        assert "Traceback" not in comfy.log.read_text(encoding="utf-8")


def test_the_pack_is_loaded_again(tmp_path: Path) -> None:
    """The new code runs, in the nodes, the dropdown and the routes, and nothing is there twice."""
    comfy = ComfyServer(*install(), tmp_path)
    reloader = tmp_path / "custom_nodes" / "reloader"
    reloader.mkdir(parents=True)
    (reloader / "__init__.py").write_text(RELOADER, encoding="utf-8")
    with comfy.running():
        before = latent(comfy, image(comfy))
        for _ in range(2):
            answer = comfy.post("/reload_dc_solver", {})
            assert answer == {"loaded": True, "new sampler": True, "prompt handlers": 1}
        log = comfy.log.read_text(encoding="utf-8")
        assert "there is a sampler" not in log and "Traceback" not in log
        info = comfy.get("/object_info")
        for key in ("KSampler", "KSamplerSelect"):
            assert str(info[key]["input"]).count("'dc_solver'") == 1
        assert torch.equal(latent(comfy, image(comfy)), before)
        assert predicted(comfy) == 5
