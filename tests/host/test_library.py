"""Ratios found by themselves, in a real ComfyUI: by the fingerprint, and only where they fit.

Every expectation is made in Python with the numbers that were put into the library.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from comfy_server import ComfyServer
from dc_solver import ratios
from dc_solver.demo import emoji
from dc_solver.ratios import Identity, RatioSchedule
from dc_solver.ratios.prior import NOTE
from graphs import CALIBRATION, Graph, batch_points, inputs, model_graph, node, saved_latent
from PIL import Image
from safetensors.torch import save_file
from test_comfyui import CFG, library_sample, prior_of

FIVE = (1.0, 1.0, 1.12, 0.91, 1.05)
SEED = 77


@pytest.fixture(scope="module")
def identity(comfy: ComfyServer) -> Identity:
    """The emoji model as the host sees it."""
    return found_by_calibration(comfy, "eps").identity


def found_by_calibration(comfy: ComfyServer, kind: str, **loader: Any) -> RatioSchedule:
    comfy.clear_library()
    graph = model_graph(kind, emoji.points([1]).conditions, comfy.inputs)
    graph["load"]["inputs"].update(loader)
    few = {**CALIBRATION, "seeds": 1, "check_seeds": 0, "reference_steps": 24}
    graph["cal"] = node("DCSolverCalibrate", **inputs(), **few, steps=3, cfg=CFG,
                        scheduler="simple")  # fmt: skip
    graph["keep"] = node("DCSolverSaveRatios", ratios=["cal", 0], name="id", overwrite=False)
    comfy.run(graph)
    found = ratios.load(comfy.library / "id.safetensors")
    comfy.clear_library()
    assert isinstance(found, RatioSchedule)
    return found


def calibration(identity: Identity, values: tuple[float, ...] = FIVE, cfg: float = CFG) -> Any:
    model = emoji.load("eps")
    sigmas = emoji_sigmas(len(values))
    assert model.sigmas is not None
    return RatioSchedule(
        values, sigmas=tuple(sigmas.tolist()), cfg=cfg, identity=replace(identity, seeds=())
    )


def emoji_sigmas(steps: int) -> torch.Tensor:
    from dc_solver.demo import grids

    return grids.make_sigmas("simple", emoji.load("eps").sigmas, steps, flow=False)


def sampling_graph(comfy: ComfyServer, steps: int = 5, kind: str = "eps", **more: Any) -> Graph:
    """Nodes "stock" and "ours" with their latents saved as "stock_latent" and "ours_latent"."""
    graph = model_graph(kind, batch_points(SEED, 1).conditions, comfy.inputs)
    common = {**inputs(), "seed": SEED, "steps": steps, "cfg": CFG, "scheduler": "simple",
              "denoise": 1.0, **more}  # fmt: skip
    graph |= {
        "stock": node("KSampler", **common, sampler_name="dc_solver"),
        "ours": node("DCSolverKSampler", **common),
        "stock_latent": node("SaveLatent", samples=["stock", 0], filename_prefix="stock"),
        "ours_latent": node("SaveLatent", samples=["ours", 0], filename_prefix="ours"),
    }
    return graph


def run_both(comfy: ComfyServer, graph: Graph) -> tuple[torch.Tensor, str]:
    """The latent, the same from the stock node and from ours, and what ours told."""
    shown = comfy.run(graph)
    stock, ours = (saved_latent(comfy.folder, shown[f"{k}_latent"]) for k in ("stock", "ours"))
    assert torch.equal(stock, ours)
    return ours, shown["ours"]["text"][0]


def test_an_exact_calibration_is_found_by_the_stock_ksampler(
    comfy: ComfyServer, identity: Identity
) -> None:
    found = calibration(identity)
    ratios.save(found, comfy.library / "five.safetensors")
    latent, told = run_both(comfy, sampling_graph(comfy))
    points = batch_points(SEED, 1)
    assert (latent - library_sample("eps", points, 5, ratios=found)).abs().max() < 1e-4
    assert (latent - library_sample("eps", points, 5, solver="unipc")).abs().max() > 1e-2
    assert told == "ratios 1.000 1.000 1.120 0.910 1.050 (five.safetensors in the library)"
    assert told in comfy.log.read_text()


def test_img2img_takes_the_tail_of_a_calibration(comfy: ComfyServer, identity: Identity) -> None:
    ten = tuple(1.0 if k < 2 else 1.0 + 0.02 * k for k in range(10))
    ratios.save(calibration(identity, ten), comfy.library / "ten.safetensors")
    _, told = run_both(comfy, sampling_graph(comfy, steps=5, denoise=0.5, seed=SEED + 1))
    assert told.startswith("ratios 1.000 1.000 1.140 1.160 1.180 (ten.safetensors")


def test_a_cpr_serves_a_step_count_between(comfy: ComfyServer, identity: Identity) -> None:
    cells = [
        calibration(identity, tuple(1.0 if k < 2 else 1.0 + c * 0.01 * k for k in range(n)), c)
        for n in (5, 8) for c in (2.0, 4.0)
    ]  # fmt: skip
    fitted = ratios.fit_cpr(cells)
    ratios.save(fitted, comfy.library / "fit.safetensors")
    latent, told = run_both(comfy, sampling_graph(comfy, steps=7))
    same = library_sample("eps", batch_points(SEED, 1), 7, ratios=fitted.predict(7, CFG))
    assert (latent - same).abs().max() < 1e-4 and "fit.safetensors" in told
    _, told = run_both(comfy, sampling_graph(comfy, steps=9))
    assert f"({NOTE}) (for this model the library has a CPR for 5 to 8 steps" in told
    _, told = run_both(comfy, sampling_graph(comfy, steps=12))
    assert told.startswith(
        "no ratios: plain UniPC (for this model the library has a CPR for 5 to 8"
    )
    _, told = run_both(comfy, sampling_graph(comfy, steps=12, kind="flow"))
    assert told == "no ratios: plain UniPC (the library has no calibration of this model)"


def test_a_model_that_nothing_is_known_of_takes_the_prior(comfy: ComfyServer) -> None:
    for kind in ("eps", "flow"):
        expected = prior_of(kind, 7)
        latent, told = run_both(comfy, sampling_graph(comfy, steps=7, kind=kind))
        same = library_sample(kind, batch_points(SEED, 1), 7, ratios=expected)
        assert (latent - same).abs().max() < 1e-4
        assert f"{expected.ratios[-1]:.3f} ({NOTE}) (the library" in told


@pytest.mark.parametrize("dtype", ["fp8_e4m3fn", "fp8_e5m2"])
def test_another_precision_is_the_same_model(
    comfy: ComfyServer, identity: Identity, dtype: str
) -> None:
    other = found_by_calibration(comfy, "eps", weight_dtype=dtype).identity
    assert other.fingerprint == identity.fingerprint


def test_half_precision_files_and_loras(comfy: ComfyServer, identity: Identity) -> None:
    """Copies of the checkpoint have its fingerprint; a LoRA is told as such, another model not."""
    from safetensors.torch import load_file

    folder = comfy.folder / "models"
    (folder / "loras").mkdir(exist_ok=True)
    weights = load_file(folder / "diffusion_models" / "emoji_eps.safetensors")
    for name, dtype in (("half", torch.float16), ("brain", torch.bfloat16)):
        cast = {key: w.to(dtype) for key, w in weights.items()}
        save_file(cast, folder / "diffusion_models" / f"{name}.safetensors")
    generator = torch.Generator().manual_seed(3)
    trained = {k: w + 0.01 * w.std() * torch.randn(w.shape, generator=generator) if w.ndim > 1
               else w for k, w in weights.items()}  # fmt: skip
    save_file(trained, folder / "diffusion_models" / "trained.safetensors")
    key = next(k for k, w in weights.items() if k.endswith("linear.weight") and w.ndim == 2)
    rows, columns = weights[key].shape
    name = f"diffusion_model.{key.removesuffix('.weight')}"
    lora = {f"{name}.lora_up.weight": 0.02 * torch.randn(rows, 2, generator=generator),
            f"{name}.lora_down.weight": torch.randn(2, columns, generator=generator)}  # fmt: skip
    save_file(lora, folder / "loras" / "small.safetensors")

    ratios.save(calibration(identity), comfy.library / "five.safetensors")
    for file, expected in (("half", True), ("brain", True), ("trained", False)):
        graph = sampling_graph(comfy)
        graph["load"]["inputs"]["unet_name"] = f"{file}.safetensors"
        _, told = run_both(comfy, graph)
        assert ("five.safetensors" in told) == expected, told

    graph = sampling_graph(comfy)
    graph["lora"] = node("LoraLoaderModelOnly", model=["load", 0], lora_name="small.safetensors",
                         strength_model=1.0)  # fmt: skip
    graph["model"]["inputs"]["model"] = ["lora", 0]
    changed, told = run_both(comfy, graph)
    assert "five.safetensors in the library) (found without this LoRA)" in told
    graph["lora"]["inputs"]["strength_model"] = 0.0
    bare, _ = run_both(comfy, graph)
    assert not torch.equal(changed, bare)
    _, told = run_both(comfy, sampling_graph(comfy, seed=SEED + 2))
    assert told.endswith("(five.safetensors in the library)"), "the weights are the model's again"


def test_guidance_beside_cfg_needs_a_calibration_of_its_own(
    comfy: ComfyServer, identity: Identity
) -> None:
    ratios.save(calibration(identity), comfy.library / "five.safetensors")
    graph = sampling_graph(comfy)
    graph["rescale"] = node("RescaleCFG", model=["model", 0], multiplier=0.7)
    for name in ("stock", "ours"):
        graph[name]["inputs"]["model"] = ["rescale", 0]
    _, told = run_both(comfy, graph)
    assert "nothing for 5 steps at CFG 3 with RescaleCFG 0.7" in told
    guided = replace(calibration(replace(identity, guidance="RescaleCFG 0.7")), ratios=FIVE)
    ratios.save(guided, comfy.library / "rescaled.safetensors")
    for name in ("stock", "ours"):  # the stock node does not know that the library has changed
        graph[name]["inputs"]["seed"] = SEED + 9
    _, told = run_both(comfy, graph)
    assert "rescaled.safetensors in the library" in told


def custom_graph(comfy: ComfyServer) -> Graph:
    """Node "run" samples by SamplerCustomAdvanced with DCSolverSampler and a CFGGuider."""
    graph = model_graph("eps", batch_points(SEED, 1).conditions, comfy.inputs)
    return graph | {
        "guider": node("CFGGuider", model=["model", 0], positive=["prompts", 0],
                       negative=["prompts", 1], cfg=CFG),
        "noise": node("RandomNoise", noise_seed=SEED),
        "sampler": node("DCSolverSampler", order=2, variant="bh2", lower_order="automatic"),
        "sigmas": node(
            "BasicScheduler", model=["model", 0], scheduler="simple", steps=5, denoise=1.0
        ),
        "run": custom_run("guider"),
    }  # fmt: skip


def custom_run(guider: str) -> Any:
    return node(
        "SamplerCustomAdvanced", noise=["noise", 0], guider=[guider, 0], sampler=["sampler", 0],
        sigmas=["sigmas", 0], latent_image=["latent", 0],
    )  # fmt: skip


def test_guiders_without_a_single_cfg_sample_plainly(
    comfy: ComfyServer, identity: Identity
) -> None:
    """DualCFGGuider leaves the CFG of its parent class at 1."""
    ratios.save(calibration(identity, cfg=1.0), comfy.library / "one.safetensors")
    graph = custom_graph(comfy)
    del graph["guider"], graph["run"]
    both = {"cond1": ["prompts", 0], "cond2": ["prompts", 0], "negative": ["prompts", 1]}
    graph["dual"] = node("DualCFGGuider", model=["model", 0], **both, cfg_conds=3.0,
                         cfg_cond2_negative=2.0, style="regular")  # fmt: skip
    graph["basic"] = node("BasicGuider", model=["model", 0], conditioning=["prompts", 0])
    for name in ("dual", "basic"):
        graph[f"{name}_run"] = custom_run(name)
        graph[f"{name}_save"] = node("SaveLatent", samples=[f"{name}_run", 0],
                                     filename_prefix=name)  # fmt: skip
    start = len(comfy.log.read_text())
    comfy.run(graph)
    log = comfy.log.read_text()[start:]
    assert "plain UniPC (this guider has no single CFG to look up)" in log
    assert "(one.safetensors in the library)" in log


def test_the_result_follows_the_library_and_only_then_runs_again(
    comfy: ComfyServer, identity: Identity
) -> None:
    ratios.save(calibration(identity), comfy.library / "five.safetensors")
    graph = sampling_graph(comfy, seed=SEED + 3)
    graph["found"] = node("DCSolverLoadRatios", file="five.safetensors")
    linked = {**graph["ours"]["inputs"], "ratios": ["found", 0]}
    graph["linked"] = node("DCSolverKSampler", **linked)
    graph["off"] = node("DCSolverKSampler", **graph["ours"]["inputs"], find_ratios=False)
    for name in ("linked", "off"):
        graph[f"{name}_latent"] = node("SaveLatent", samples=[name, 0], filename_prefix=name)

    def cached() -> set[str]:
        entry = comfy.wait(comfy.queue(graph))
        if "off" in entry["outputs"]:  # newer hosts do not repeat what a cached node showed
            (told,) = entry["outputs"]["off"]["text"]
            assert told == "no ratios: plain UniPC (looking in the library is off)"
        (message,) = [m for m in entry["status"]["messages"] if m[0] == "execution_cached"]
        return set(message[1]["nodes"]) & {"ours", "linked", "off"}

    assert cached() == set()
    assert cached() == {"ours", "linked", "off"}
    ratios.save(calibration(identity, (1.0, 1.0, 1.2, 1.2, 1.2)), comfy.library / "six.safetensors")
    assert cached() == {"linked", "off"}


def notes_of_images(comfy: ComfyServer, graph: Graph, latent: str) -> dict[str, Any]:
    """What DC-Solver has written into the image of a latent, by node; empty without."""
    graph["image"] = node("EmojiDecode", samples=[latent, 0], codec="emoji_codec.safetensors")
    graph["save"] = node("SaveImage", images=["image", 0], filename_prefix="told")
    asked = {"prompt": graph, "extra_data": {"extra_pnginfo": {"workflow": {}}}}
    shown = comfy.wait(comfy.post("/prompt", asked)["prompt_id"])["outputs"]
    with Image.open(comfy.output_file(shown["save"]["images"][0])) as image:
        return dict(json.loads(image.info.get("dc_solver", "{}")))


def test_the_choice_is_saved_with_the_image(comfy: ComfyServer, identity: Identity) -> None:
    """By our node and by the stock one, each under its own id."""
    ratios.save(calibration(identity), comfy.library / "five.safetensors")
    expected = {"told": "ratios 1.000 1.000 1.120 0.910 1.050 (five.safetensors in the library)",
                "solver": "dc_solver", "ratios": list(FIVE), "quality": "paper",
                "source": "five.safetensors"}  # fmt: skip
    for k, name in enumerate(("ours", "stock")):
        notes = notes_of_images(comfy, sampling_graph(comfy, seed=SEED + 4 + 100 * k), name)
        assert notes[name] == [expected]


def test_a_cached_sampler_node_still_tells_with_each_image(
    comfy: ComfyServer, identity: Identity
) -> None:
    ratios.save(calibration(identity), comfy.library / "five.safetensors")
    graph = custom_graph(comfy)
    for seed in (SEED + 5, SEED + 6):
        graph["noise"]["inputs"]["noise_seed"] = seed
        (record,) = notes_of_images(comfy, graph, "run")["run"]
        assert record["source"] == "five.safetensors"


def test_notes_of_many_waiting_prompts(comfy: ComfyServer, identity: Identity) -> None:
    """More prompts at once than are remembered once they are done; each image has its own note."""
    graph = sampling_graph(comfy, steps=1)
    graph["image"] = node("EmojiDecode", samples=["ours", 0], codec="emoji_codec.safetensors")
    graph["save"] = node("SaveImage", images=["image", 0], filename_prefix="many")
    waiting = []
    for seed in range(70):
        graph["ours"]["inputs"]["seed"] = 1000 + seed
        asked = {"prompt": graph, "extra_data": {"extra_pnginfo": {"workflow": {}}}}
        waiting.append(comfy.post("/prompt", asked)["prompt_id"])
    for prompt in waiting:
        (saved,) = comfy.wait(prompt)["outputs"]["save"]["images"]
        with Image.open(comfy.output_file(saved)) as image:
            assert len(json.loads(image.info["dc_solver"])["ours"]) == 1


def test_a_broken_file_is_told_once_and_blocks_nothing(
    comfy: ComfyServer, identity: Identity
) -> None:
    ratios.save(calibration(identity), comfy.library / "five.safetensors")
    (comfy.library / "broken.safetensors").write_bytes(b"\x00" * 40)
    before = comfy.log.read_text().count("leaving out broken.safetensors")
    for seed in (1, 2):
        _, told = run_both(comfy, sampling_graph(comfy, seed=seed))
        assert "five.safetensors" in told
    assert comfy.log.read_text().count("leaving out broken.safetensors") == before + 1
    assert (comfy.library / "broken.safetensors").read_bytes() == b"\x00" * 40
