"""Stand-ins for calibrations of the emoji models: a CLIP, a VAE, a memory that is full."""

from pathlib import Path

import folder_paths
import torch
from safetensors.torch import load_file


def load_input(name):
    return load_file(Path(folder_paths.get_input_directory()) / name)


class _Clip:
    """A prompt is the row of a file of conditions, perhaps with a number of repeats: "3 x 2"."""

    def __init__(self, conditions):
        self.conditions = conditions

    def tokenize(self, text):
        row, _, repeats = text.partition("x")
        return int(row), int(repeats or 1)

    def encode_from_tokens_scheduled(self, tokens, add_dict=None):
        row, repeats = tokens
        vector = self.conditions[row : row + 1]
        return [
            [vector[:, None].repeat(1, repeats, 1), {"pooled_output": vector, **(add_dict or {})}]
        ]


class EmojiCodec:
    """The linear codec: latents as ComfyUI gives them out (SD3 format) to images."""

    def __init__(self, codec):
        self.codec = codec

    def decode(self, latents):
        latents = (latents.float() - 0.0609) * 1.5305
        z = latents.flatten(2).transpose(1, 2)
        patches = (z * self.codec["scale"]) @ self.codec["basis"] + self.codec["mean"]
        images = torch.nn.functional.fold(patches.transpose(1, 2), (32, 32), 4, stride=4)
        return images.permute(0, 2, 3, 1).add(1).div(2).clamp(0, 1)


class EmojiClip:
    CATEGORY = "testing"
    RETURN_TYPES = ("CLIP",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING", {"default": ""})}}

    def make(self, file):
        return (_Clip(load_input(file)["conditions"]),)


class EmojiVae:
    CATEGORY = "testing"
    RETURN_TYPES = ("VAE",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"codec": ("STRING", {"default": ""})}}

    def make(self, codec):
        return (EmojiCodec(load_input(codec)),)


class OtherVae:
    """That of another model."""

    CATEGORY = "testing"
    RETURN_TYPES = ("VAE",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return (self,)

    def decode(self, latents):
        raise RuntimeError("expected 16 channels, got 4")


class LittleMemory:
    """A model that runs out of memory where a call has more than so many rows (cond and uncond)."""

    CATEGORY = "testing"
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "patch"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "rows": ("INT", {"default": 4})}}

    def patch(self, model, rows):
        def wrapper(apply, arguments):
            if arguments["input"].shape[0] > rows:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory (simulated)")
            return apply(arguments["input"], arguments["timestep"], **arguments["c"])

        patched = model.clone()
        patched.set_model_unet_function_wrapper(wrapper)
        return (patched,)


NODE_CLASS_MAPPINGS = {
    "EmojiClip": EmojiClip, "EmojiVae": EmojiVae, "LittleMemory": LittleMemory,
    "OtherVae": OtherVae,
}  # fmt: skip
