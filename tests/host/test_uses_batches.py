"""Every use of a sampler, many latents: batches, detailers of many sizes, and tiles."""

from __future__ import annotations

import pytest
import torch
from comfy_server import ComfyServer
from graphs import batch_points, model_graph
from twins import into_model, out_of_model
from uses import CFG, KINDS, bench, called_once_a_step, grid, load, original, same, tail, twin_of


@pytest.mark.parametrize("kind", KINDS)
def test_batches_keep_the_noise_of_each_item(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(22, 6)
    b, twin = bench(comfy, kind, points.conditions, 6), twin_of(kind)
    one = model_graph(kind, points.conditions[2:4], comfy.inputs)["prompts"]
    b.graph["some_prompts"] = one
    some = b.add("some", "LatentFromBatch", samples=["latent", 0], batch_index=2, length=2)
    twice = b.add("twice", "RepeatLatentBatch", samples=some, amount=2)
    b.ksampler("all", seed=22)
    b.ksampler("some_run", seed=22, positive=["some_prompts", 0], latent_image=some)
    b.ksampler("twice_run", seed=22, positive=["some_prompts", 0], latent_image=twice)
    b.add("node", "DCSolverKSampler", model=["model", 0], positive=["some_prompts", 0],
          negative=["prompts", 1], latent_image=some, seed=22, steps=6, cfg=CFG,
          scheduler="simple", denoise=1.0, find_ratios=False)  # fmt: skip
    b.result("node", ["node", 0])
    found = b.run()
    sigmas = grid(twin, 6)
    expected = twin.run(sigmas, points.noise, points.conditions)
    for key in ("all", "some_run", "twice_run"):
        called_once_a_step(found[key], sigmas)
    same(found["all"].latent, expected)
    same(found["some_run"].latent, expected[2:4])
    same(found["node"].latent, expected[2:4])
    # Repeated items go on counting: 2, 3 become 2, 3, 4, 5.
    twice_prompts = points.conditions[2:4].repeat(2, 1)
    same(found["twice_run"].latent, twin.run(sigmas, points.noise[2:6], twice_prompts))


@pytest.mark.parametrize("kind", KINDS)
def test_a_detailer_samples_many_sizes_in_one_prompt(comfy: ComfyServer, kind: str) -> None:
    points = batch_points(23, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    sizes = [(8, 8), (8, 4), (4, 8), (6, 4), (4, 4), (8, 6), (6, 6), (8, 8)]
    for k, (height, width) in enumerate(sizes):
        latent = b.add(f"latent{k}", "EmptySD3LatentImage", width=8 * width, height=8 * height,
                       batch_size=1)  # fmt: skip
        b.ksampler(f"size{k}", seed=100 + k, steps=3 + k % 3, latent_image=latent)
        # The detail pass: more steps over what the first pass made.
        b.ksampler(f"detail{k}", seed=200 + k, steps=2, denoise=0.4, latent_image=[f"size{k}", 0])
    found = b.run()
    for k, (height, width) in enumerate(sizes):
        noise = torch.randn(1, 16, height, width, generator=torch.Generator().manual_seed(100 + k))
        sigmas = grid(twin, 3 + k % 3)
        called_once_a_step(found[f"size{k}"], sigmas)
        first = twin.run(sigmas, noise, points.conditions)
        same(found[f"size{k}"].latent, first)
        noise = torch.randn(1, 16, height, width, generator=torch.Generator().manual_seed(200 + k))
        sigmas = tail(twin, 2, 0.4)
        called_once_a_step(found[f"detail{k}"], sigmas)
        detail = twin.run(sigmas, noise, points.conditions, latent=found[f"size{k}"].latent)
        same(found[f"detail{k}"].latent, detail)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiled_upscaler(comfy: ComfyServer, kind: str) -> None:
    """An enlarged latent, sampled again in overlapping tiles that are put together."""
    points = batch_points(24, 1)
    b, twin = bench(comfy, kind, points.conditions), twin_of(kind)
    start = original(kind)
    large = b.add("large", "LatentUpscale", samples=load(b, comfy, start),
                  upscale_method="nearest-exact", width=128, height=96,
                  crop="disabled")  # fmt: skip
    canvas = large
    places = [(x, y) for y in (0, 32) for x in (0, 32, 64)]
    for k, (x, y) in enumerate(places):
        tile = b.add(f"tile{k}", "LatentCrop", samples=canvas, width=64, height=64, x=x, y=y)
        made = b.ksampler(f"run{k}", seed=24 + k, steps=3, denoise=0.5, latent_image=tile)
        canvas = b.add(f"canvas{k}", "LatentComposite", samples_to=canvas, samples_from=made, x=x,
                       y=y, feather=0)  # fmt: skip
    b.result("whole", canvas)
    found = b.run()

    picture = out_of_model(start).repeat_interleave(2, -1)
    picture = torch.nn.functional.interpolate(picture, size=(12, 16), mode="nearest-exact")
    sigmas = tail(twin, 3, 0.5)
    for k, (x, y) in enumerate(places):
        rows, columns = slice(y // 8, y // 8 + 8), slice(x // 8, x // 8 + 8)
        noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(24 + k))
        tile = into_model(picture[..., rows, columns])
        result = twin.run(sigmas, noise, points.conditions, latent=tile)
        called_once_a_step(found[f"run{k}"], sigmas)
        picture[..., rows, columns] = out_of_model(result)
    same(found["whole"].raw, picture, 3e-4)
