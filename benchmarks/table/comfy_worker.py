"""Runs inside ComfyUI's Python: its own samplers as its KSampler runs them, on one model.

    python comfy_worker.py COMFYUI_PATH THREADS

Reads one JSON request a line and answers each with one line (``comfy.py`` is the other end).
"""

import json
import os
import sys
from pathlib import Path

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the host prints must not come between the answers
COMFYUI, THREADS = Path(sys.argv[1]), int(sys.argv[2])
sys.argv = sys.argv[:1]
sys.path[0] = str(COMFYUI)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing(False)
from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True  # the fastest of its kinds on a CPU, and compiles

import comfy.sample  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import torch  # noqa: E402
from comfy_extras import nodes_model_advanced as patches  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

torch.set_num_threads(THREADS)
SAMPLINGS = {"eps": "eps", "v": "v_prediction"}
#: The seed of the noise that a stochastic sampler adds.
SEED = 7


class Session:
    """A model behind the host's own loader and nodes, and the points to sample."""

    def __init__(self, weights, kind, points, fast):
        tensors = load_file(points)
        self.noise = tensors["noise"]
        conditions = tensors["conditions"]
        self.positive = self.conditioning(conditions)
        self.negative = self.conditioning(torch.zeros_like(conditions[:1]))
        self.model = self.patched(comfy.sd.load_diffusion_model(weights), kind, tensors["sigmas"])
        if fast:
            network = self.model.model.diffusion_model
            network.forward = torch.compile(network.forward, dynamic=False)
        self.rows = 0
        self.model.set_model_unet_function_wrapper(self.counted)

    @staticmethod
    def conditioning(vectors):
        return [[vectors[:, None], {"pooled_output": vectors}]]

    @staticmethod
    def patched(model, kind, table):
        """Behind the node that gives a model its sampling.  Its sigmas must be the table."""
        if kind == "flow":
            middle = float(table[len(table) // 2 - 1])
            shift = round(middle / (1.0 - middle), 3)
            (model,) = patches.ModelSamplingSD3().patch(model, shift)
        else:
            (model,) = patches.ModelSamplingDiscrete().patch(model, SAMPLINGS[kind], False)
        theirs = model.get_model_object("model_sampling").sigmas
        if len(theirs) != len(table) or not torch.allclose(theirs, table, rtol=1e-4, atol=0.0):
            raise ValueError("the host's node makes other sigmas than the model was trained with")
        return model

    def counted(self, apply, call):
        """Counts rows, since the host may cut a guided call into several."""
        self.rows += len(call["input"])
        return apply(call["input"], call["timestep"], **call["c"])

    def sample(self, sampler, scheduler, steps, cfg):
        """The final latents in the model's own scaling, and the guided model calls."""
        if sampler not in comfy.samplers.KSampler.SAMPLERS:
            raise ValueError(f"this ComfyUI has no sampler {sampler}")
        if scheduler not in comfy.samplers.KSampler.SCHEDULERS:
            raise ValueError(f"this ComfyUI has no scheduler {scheduler}")
        self.rows = 0
        with torch.inference_mode():
            latents = comfy.sample.sample(
                self.model, self.noise.clone(), steps, cfg, sampler, scheduler, self.positive,
                self.negative, torch.zeros_like(self.noise), disable_pbar=True, seed=SEED,
            )  # fmt: skip
            latents = self.model.model.process_latent_in(latents)
        calls, rest = divmod(self.rows, 2 * len(self.noise))
        assert rest == 0, f"{self.rows} rows for {len(self.noise)} guided images"
        return latents.clone(), calls


def main():
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "weights" in request:
                session = Session(**request)
                answer = {}
            else:
                file = request.pop("file")
                latents, calls = session.sample(**request)
                save_file({"latents": latents.float().contiguous()}, file)
                answer = {"calls": calls}
        except Exception as error:  # told to the other end, which goes on
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
