"""Nodes for the tests of every use: counting calls, saving any latent, small models, patches."""

import re
import uuid
from pathlib import Path

import comfy.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import folder_paths
import torch
from safetensors.torch import save_file

CALLS = {}


class UsesCount:
    """Notes the sigma of every guided model call, however many batches the host makes of it."""

    CATEGORY = "testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "wrap"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "name": ("STRING", {"default": ""})}}

    def wrap(self, model, name):
        CALLS[name] = []
        counted = model.clone()

        def note(args):
            CALLS[name].append(float(args["sigma"].flatten()[0]))
            return args["denoised"]

        counted.set_model_sampler_post_cfg_function(note)
        return (counted,)


class UsesResult:
    """Saves a latent of any rank, packed or not, and shows the calls that were noted."""

    CATEGORY = "testing"
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "show"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"samples": ("LATENT",), "name": ("STRING", {"default": ""})},
        }

    def show(self, samples, name):
        latent = samples["samples"]
        parts = latent.unbind() if getattr(latent, "is_nested", False) else [latent]
        file = f"uses_{uuid.uuid4().hex}.safetensors"
        tensors = {str(i): part.contiguous() for i, part in enumerate(parts)}
        folder = Path(folder_paths.get_output_directory())
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / file)
        return {"ui": {"file": [file], "sigmas": list(CALLS.get(name, []))}}


class UsesSigmas:
    """Shows sigmas, once a latent that was made with them is there."""

    CATEGORY = "testing"
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "show"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"sigmas": ("SIGMAS",)}, "optional": {"after": ("LATENT",)}}

    def show(self, sigmas, after=None):
        return {"ui": {"sigmas": sigmas.tolist()}}


class UsesCfgOverSteps:
    """A guidance scale that falls with the noise: ``low`` at sigma 0 to ``high`` at ``at``."""

    CATEGORY = "testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls):
        number = ("FLOAT", {"default": 1.0, "max": 1000.0, "step": 0.001})
        return {"required": {"model": ("MODEL",), "low": number, "high": number, "at": number}}

    def patch(self, model, low, high, at):
        patched = model.clone()

        def guide(args):
            share = (args["sigma"].view(-1, 1, 1, 1) / at).clamp(max=1.0)
            scale = low + (high - low) * share
            return args["uncond"] + scale * (args["cond"] - args["uncond"])

        patched.set_model_sampler_cfg_function(guide)
        return (patched,)


class UsesEmptyLatent:
    """Zeros of any shape."""

    CATEGORY = "testing"
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"shape": ("STRING", {"default": "1, 16, 8, 8"})}}

    def make(self, shape):
        return ({"samples": torch.zeros([int(n) for n in shape.split(",")])},)


class UsesConditioning:
    """A random prompt: ``tokens`` vectors of ``width``, and a pooled one."""

    CATEGORY = "testing"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        number = ("INT", {"default": 1, "min": 0})
        return {"required": {"seed": number, "tokens": number, "width": number, "pooled": number}}

    def make(self, seed, tokens, width, pooled):
        generator = torch.Generator().manual_seed(seed)
        vectors = torch.randn(1, tokens, width, generator=generator)
        return ([[vectors, {"pooled_output": torch.randn(1, pooled, generator=generator)}]],)


class _Residual(comfy.controlnet.ControlBase):
    """A ControlNet without a network: it adds its hint to the output of every block."""

    def __init__(self, hint, key):
        super().__init__()
        self.hint = hint
        self.key = key

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        start, end = self.timestep_range
        if not end <= float(t[0]) <= start:
            return None
        added = self.hint.to(x_noisy).repeat(x_noisy.shape[0], *[1] * (self.hint.ndim - 1))
        control = {"input": [], "middle": [], "output": []}
        control[self.key] = [added]
        return self.control_merge(control, None, None)

    def copy(self):
        copied = _Residual(self.hint, self.key)
        self.copy_to(copied)
        return copied


class UsesControl:
    """A ControlNet-like patch that travels in the conditioning."""

    CATEGORY = "testing"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "apply"

    @classmethod
    def INPUT_TYPES(cls):
        number = ("FLOAT", {"default": 1.0, "step": 0.001})
        return {
            "required": {
                "conditioning": ("CONDITIONING",),
                "shape": ("STRING", {"default": "1, 16, 192"}),
                "strength": number,
                "start": number,
                "end": number,
            }
        }

    def apply(self, conditioning, shape, strength, start, end):
        generator = torch.Generator().manual_seed(5)
        hint = torch.randn([int(n) for n in shape.split(",")], generator=generator)
        control = _Residual(hint, "middle" if hint.ndim == 4 else "output")
        control.set_cond_hint(None, strength, (start, end))
        return ([[v, {**d, "control": control}] for v, d in conditioning],)


class UsesLowVram:
    """A model that is loaded as ``--lowvram`` does, which the host refuses beside ``--cpu``:
    no weight stays on the device, each is cast and patched when it is used."""

    CATEGORY = "testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def patch(self, model):
        class LowVram(type(model)):
            def load(self, device_to=None, lowvram_model_memory=0, *rest, **settings):
                super().load(device_to, 1, *rest, **settings)
                assert self.model.model_lowvram

        low = model.clone()
        low.__class__ = LowVram
        return (low,)


#: The host's own classes, small.  Their weights are random and made smooth in time.
SMALL = {
    "unet": ("SD15", {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32,
        "num_res_blocks": [1, 1], "channel_mult": [1, 2], "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
        "context_dim": 32, "use_linear_in_transformer": False, "adm_in_channels": None,
        "use_temporal_attention": False, "legacy": False, "use_spatial_transformer": True,
    }),
    "flux": ("Flux", {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "patch_size": 2,
        "vec_in_dim": 32, "context_in_dim": 32, "hidden_size": 64, "mlp_ratio": 2.0,
        "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [8, 12, 12],
        "theta": 10000, "qkv_bias": True, "guidance_embed": True,
    }),
    "audio": ("StableAudio", {
        "audio_model": "dit1.0", "embed_dim": 128, "depth": 1, "num_heads": 2,
        "project_cond_tokens": True,
    }),
    "av": ("LTXAV", {
        "image_model": "ltxav", "in_channels": 128, "audio_in_channels": 128,
        "cross_attention_dim": 64, "audio_cross_attention_dim": 64, "attention_head_dim": 32,
        "audio_attention_head_dim": 32, "num_attention_heads": 2, "audio_num_attention_heads": 2,
        "caption_channels": 32, "num_layers": 1,
    }),
}  # fmt: skip
_TIME = re.compile(
    r"time_embed\.0\.|time_embedding\.0\.|(time|guidance)_in\.in_layer\.|timestep_embedder\.linear_1\."
)


def fill(name, weight, generator):
    """A weight for a parameter of this name and shape; no fast waves in time."""
    if weight.ndim < 2:
        scale = name.endswith((".weight", ".scale", ".gamma")) and "norm" in name
        return (
            torch.ones(weight.shape)
            if scale
            else torch.randn(weight.shape, generator=generator) * 0.1
        )
    value = torch.randn(weight.shape, generator=generator) / weight[0].numel() ** 0.5
    if _TIME.search(name):
        waves = value.shape[1] // 2
        fast = torch.arange(value.shape[1]) % waves < waves * 0.6
        value[:, fast] = 0.0
        value *= 2.0
    return value


def fill_all(weights, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: fill(name, weights[name], generator) for name in sorted(weights)}


class UsesSmallModel:
    """One of the host's own classes, small, with random weights; "wan" goes through its loader."""

    CATEGORY = "testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "build"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (["wan", *SMALL],)}}

    def build(self, kind):
        if kind == "wan":
            return (self.wan(),)
        name, sizes = SMALL[kind]
        sizes = dict(sizes)
        if kind == "flux":
            import dataclasses

            import comfy.ldm.flux.model as flux

            if "txt_ids_dims" in {field.name for field in dataclasses.fields(flux.FluxParams)}:
                sizes["txt_ids_dims"] = []
        config = getattr(comfy.supported_models, name)(sizes)
        config.set_inference_dtype(torch.float32, None)
        weights = {}
        if kind == "audio":
            import comfy.ldm.audio.embedders as embedders

            for part in ("seconds_start", "seconds_total"):
                made = embedders.NumberConditioner(768, min_val=0, max_val=512).state_dict()
                prefix = f"conditioner.conditioners.{part}."
                weights |= {prefix + k: v for k, v in fill_all(made, 3).items()}
        model = config.get_model(weights, "")
        network = model.diffusion_model
        parameters = dict(network.named_parameters())
        network.load_state_dict(fill_all(parameters, 7), strict=False)
        for name, buffer in network.named_buffers():
            if name.endswith("rotary_pos_emb.inv_freq"):  # comes with the weights, else empty
                buffer.copy_(1e4 ** -torch.linspace(0.0, 1.0, buffer.numel()))
        network.to(torch.float32).eval().requires_grad_(False)
        device = comfy.model_management.get_torch_device()
        return (comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu")),)

    def wan(self):
        import comfy.ldm.wan.model
        import comfy.ops
        import comfy.sd

        network = comfy.ldm.wan.model.WanModel(
            dim=128,
            ffn_dim=128,
            num_heads=1,
            num_layers=1,
            operations=comfy.ops.disable_weight_init,
        )
        weights = fill_all(dict(network.named_parameters()), 7)
        return comfy.sd.load_diffusion_model_state_dict(weights)


NODE_CLASS_MAPPINGS = {
    node.__name__: node
    for node in (
        UsesCount, UsesResult, UsesSigmas, UsesCfgOverSteps, UsesEmptyLatent, UsesConditioning,
        UsesControl, UsesLowVram, UsesSmallModel,
    )
}  # fmt: skip
