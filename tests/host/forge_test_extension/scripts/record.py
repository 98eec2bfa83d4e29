"""Lets the tests see what Forge samples: every model call and the latents that come out."""

import json
import os
from pathlib import Path

import torch
from modules import script_callbacks, scripts
from safetensors.torch import save_file

FOLDER = Path(os.environ["DC_SOLVER_TEST_RECORDS"])
calls = []


def before(params):
    calls.append({
        "x": params.x.detach().clone().cpu(),
        "sigma": params.sigma.detach().clone().cpu(),
        "grid": torch.tensor(getattr(params.denoiser.sampler, "grid", [])),
    })  # fmt: skip


def after(params):
    calls[-1]["denoised"] = params.x.detach().clone().cpu()


class Recorder(scripts.Script):
    def title(self):
        return "Recorder"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def process(self, p, *args):
        calls.clear()

    def post_sample(self, p, ps, *args):
        number = len(list(FOLDER.glob("*.json")))
        tensors = {f"{k}.{name}": t.contiguous() for k, c in enumerate(calls)
                   for name, t in c.items()}  # fmt: skip
        # After hires fix the host gives decoded images here.
        if not getattr(ps.samples, "already_decoded", False):
            tensors["latents"] = torch.as_tensor(ps.samples).detach().cpu().contiguous()
        save_file(tensors, FOLDER / f"{number}.safetensors")
        told = {"calls": len(calls), "sigmas": [float(c["sigma"][0]) for c in calls],
                "grid": calls[-1]["grid"].tolist() if calls else []}  # fmt: skip
        (FOLDER / f"{number}.json").write_text(json.dumps(told))


def started(_, app):
    """The host's API answers before it knows the defaults of the scripts."""
    app.add_api_route("/tests/started", lambda: True)


script_callbacks.on_app_started(started)
script_callbacks.on_cfg_denoiser(before)
script_callbacks.on_cfg_after_cfg(after)
