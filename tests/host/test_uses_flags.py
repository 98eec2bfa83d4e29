"""Every use of a sampler under the host's options: memory, precision and previews."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
import torch
from comfy_server import ComfyServer, install
from dc_solver import ratios
from dc_solver.demo import emoji, grids
from graphs import CALIBRATION, Bench, batch_points, inputs, model_graph
from PIL import Image
from safetensors.torch import save_file
from test_comfyui import prior_of
from twins import Twin
from uses import distance, twin_of
from websocket import WebSocket

STEPS = 6


@contextmanager
def server(folder: Path, *flags: str) -> Iterator[ComfyServer]:
    comfy = ComfyServer(*install(), folder, *flags)
    with comfy.running():
        yield comfy


# Measured: 16-bit weights and activations, over 6 steps at CFG 3.
OPTIONS = {
    "smart memory off": (("--disable-smart-memory",), 1e-5),
    "fp16": (("--fp16-unet",), 0.02),
    "bf16": (("--bf16-unet",), 0.03),
    "force fp16": (("--force-fp16",), 0.02),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_memory_and_precision(tmp_path: Path, option: str) -> None:
    """Sampling, a short calibration, and sampling with what it found."""
    flags, tolerance = OPTIONS[option]
    with server(tmp_path, *flags) as comfy:
        for kind in emoji.KINDS:
            comfy.clear_library()
            comfy.library.mkdir(parents=True, exist_ok=True)
            points = batch_points(31, 2)
            b = Bench(comfy, model_graph(kind, points.conditions, comfy.inputs, 2))
            b.ksampler("plain", seed=31, steps=STEPS)
            few = {**CALIBRATION, "seeds": 2, "check_seeds": 0, "reference_steps": 24}
            found = b.add("cal", "DCSolverCalibrate", **inputs(), **few, steps=STEPS, cfg=3.0,
                          scheduler="simple")  # fmt: skip
            b.add("keep", "DCSolverSaveRatios", ratios=found, name="found", overwrite=True)
            b.add("with", "DCSolverKSampler", model=b.counted("with"), positive=["prompts", 0],
                  negative=["prompts", 1], latent_image=["latent", 0], seed=31, steps=STEPS,
                  cfg=3.0, scheduler="simple", denoise=1.0, ratios=found)  # fmt: skip
            b.result("with", ["with", 0])
            results = b.run()

            known = ratios.load(comfy.library / "found.safetensors")
            assert isinstance(known, ratios.RatioSchedule) and known.active
            twin = twin_of(kind)
            sigmas = grids.make_sigmas("simple", twin.table, STEPS, flow=twin.flow)
            run = (sigmas, points.noise, points.conditions)
            apart = {
                "plain": distance(results["plain"].latent, twin.run(*run)),
                "with": distance(
                    results["with"].latent, twin.run(*run, solver="dc_solver", ratios=known)
                ),
            }
            for key, far in apart.items():
                print(f"{option}, {kind}, {key}: {far:.2e} from Python in float32")
                assert results[key].calls == STEPS
                assert far < tolerance


def test_weights_that_are_cast_when_they_are_used(comfy: ComfyServer) -> None:
    """Low VRAM with a LoRA, sampling and calibrating: the same as with all of it in memory."""
    comfy.clear_library()
    comfy.library.mkdir(parents=True, exist_ok=True)
    points = batch_points(33, 1)
    name = "joint_blocks.0.x_block.mlp.fc1"
    weight = emoji.load("eps").network.state_dict()[f"{name}.weight"]
    generator = torch.Generator().manual_seed(2)
    up = torch.randn(weight.shape[0], 2, generator=generator) * 0.2
    down = torch.randn(2, weight.shape[1], generator=generator) * 0.2
    folder = comfy.folder / "models" / "loras"
    folder.mkdir(exist_ok=True)
    prefix = f"diffusion_model.{name}"
    save_file({f"{prefix}.lora_up.weight": up, f"{prefix}.lora_down.weight": down},
              folder / "low.safetensors")  # fmt: skip
    b = Bench(comfy, model_graph("eps", points.conditions, comfy.inputs))
    lora = b.add("lora", "LoraLoaderModelOnly", model=["model", 0], lora_name="low.safetensors",
                 strength_model=1.0)  # fmt: skip
    low = b.add("low", "UsesLowVram", model=lora)
    few = {**CALIBRATION, "seeds": 2, "check_seeds": 0, "reference_steps": 24}
    for key, model in (("high", lora), ("low", low)):
        b.ksampler(f"{key}_run", model=model, seed=33, steps=STEPS)
        found = b.add(f"{key}_cal", "DCSolverCalibrate", **inputs() | {"model": model}, **few,
                      steps=STEPS, cfg=3.0, scheduler="simple")  # fmt: skip
        b.add(f"{key}_keep", "DCSolverSaveRatios", ratios=found, name=key, overwrite=True)
    results = b.run()
    twin = Twin("eps", lora={f"{name}.weight": up @ down})
    sigmas = grids.make_sigmas("simple", twin.table, STEPS, flow=False)
    expected = twin.run(sigmas, points.noise, points.conditions)
    known = {}
    for key in ("high", "low"):
        assert results[f"{key}_run"].calls == STEPS
        assert distance(results[f"{key}_run"].latent, expected) < 1e-5
        known[key] = ratios.load(comfy.library / f"{key}.safetensors")
    assert known["low"].identity == known["high"].identity
    assert known["low"].ratios == pytest.approx(known["high"].ratios, abs=1e-3)


def test_previews(tmp_path: Path) -> None:
    """A preview for every step, and the same image as without."""
    with server(tmp_path, "--preview-method", "latent2rgb") as comfy:
        for kind in emoji.KINDS:
            points = batch_points(32, 1)
            client = uuid.uuid4().hex
            b = Bench(comfy, model_graph(kind, points.conditions, comfy.inputs))
            b.ksampler("run", seed=32, steps=STEPS)
            b.add("node", "DCSolverKSampler", model=["model", 0], positive=["prompts", 0],
                  negative=["prompts", 1], latent_image=["latent", 0], seed=32, steps=STEPS,
                  cfg=3.0, scheduler="simple", denoise=1.0)  # fmt: skip
            b.result("node", ["node", 0])
            socket = WebSocket(f"{comfy.url}/ws?clientId={client}")
            try:
                started = comfy.post("/prompt", {"prompt": b.graph, "client_id": client})
                shown, progress = listen(socket, str(started["prompt_id"]))
            finally:
                socket.close()
            results = b.read(comfy.wait(str(started["prompt_id"]))["outputs"])
            twin = twin_of(kind)
            sigmas = grids.make_sigmas("simple", twin.table, STEPS, flow=twin.flow)
            run = (sigmas, points.noise, points.conditions)
            expected = {
                "run": twin.run(*run),  # the counter of its calls is a patch beside CFG
                "node": twin.run(*run, solver="dc_solver", ratios=prior_of(kind, STEPS)),
            }
            for key in ("run", "node"):
                assert progress[key] == [(i + 1, STEPS) for i in range(STEPS)], key
                assert distance(results[key].latent, expected[key]) < 1e-5
            # The host may leave out a preview that comes too soon after another.
            assert 2 <= len(shown) <= 2 * STEPS
            print(f"{kind}: {len(shown)} previews of 2 runs of {STEPS} steps, {shown[0]}")


def listen(
    socket: WebSocket, prompt: str
) -> tuple[list[tuple[int, int]], dict[str, list[tuple[int, int]]]]:
    """The sizes of the previews of a prompt, and its nodes' progress, until it has ended."""
    sizes: list[tuple[int, int]] = []
    progress: dict[str, list[tuple[int, int]]] = {}
    while True:
        message = socket.read()
        if isinstance(message, bytes):
            (event,) = struct.unpack(">I", message[:4])
            if event == 1:
                with Image.open(BytesIO(message[8:])) as image:
                    image.load()
                    sizes.append(image.size)
            continue
        content = json.loads(message)
        data = content.get("data", {})
        if content["type"] == "progress" and data.get("prompt_id") == prompt:
            progress.setdefault(data["node"], []).append((data["value"], data["max"]))
        done = content["type"] == "executing" and data.get("node") is None
        if content["type"] == "execution_error" or (done and data.get("prompt_id") == prompt):
            return sizes, progress
