"""Nodes that only the host tests use: the emoji models' conditions and their linear codec."""

from pathlib import Path

import folder_paths
import torch
from safetensors.torch import load_file

from . import calibrating, uses


def load_input(name):
    return load_file(Path(folder_paths.get_input_directory()) / name)


class EmojiConditions:
    """Conditions from a file (B, 128): a batch of prompts, and the empty prompt."""

    CATEGORY = "testing"
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING", {"default": ""})}}

    def make(self, file):
        vectors = load_input(file)["conditions"]
        empty = torch.zeros_like(vectors[:1])
        return tuple([[v[:, None], {"pooled_output": v}]] for v in (vectors, empty))


class EmojiDecode:
    """The linear codec: latents as ComfyUI gives them out (SD3 format) to images."""

    CATEGORY = "testing"
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT",), "codec": ("STRING", {"default": ""})}}

    def decode(self, samples, codec):
        codec = load_input(codec)
        latents = (samples["samples"].float() - 0.0609) * 1.5305
        z = latents.flatten(2).transpose(1, 2)
        patches = (z * codec["scale"]) @ codec["basis"] + codec["mean"]
        images = torch.nn.functional.fold(patches.transpose(1, 2), (32, 32), 4, stride=4)
        return (images.permute(0, 2, 3, 1).add(1).div(2).clamp(0, 1),)


NODE_CLASS_MAPPINGS = {
    "EmojiConditions": EmojiConditions,
    "EmojiDecode": EmojiDecode,
    **calibrating.NODE_CLASS_MAPPINGS,
    **uses.NODE_CLASS_MAPPINGS,
}
