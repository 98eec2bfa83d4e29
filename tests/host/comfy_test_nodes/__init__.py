"""Nodes that only the host tests use: the emoji models' conditions and their linear codec."""

import torch

from . import calibrating, uses
from .calibrating import EmojiCodec, load_input


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
        return (EmojiCodec(load_input(codec)).decode(samples["samples"]),)


NODE_CLASS_MAPPINGS = {
    "EmojiConditions": EmojiConditions,
    "EmojiDecode": EmojiDecode,
    **calibrating.NODE_CLASS_MAPPINGS,
    **uses.NODE_CLASS_MAPPINGS,
}
