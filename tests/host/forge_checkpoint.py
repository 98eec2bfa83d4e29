"""Writes a small checkpoint of SD1.5's kind with random weights, in Forge's own Python and folder.

    python forge_checkpoint.py FORGE_PATH OUTPUT.safetensors

It shows wiring, not pictures.  The UNet is small; text encoder and VAE have the sizes that Forge
expects.
"""

import os
import sys
from pathlib import Path

forge, output = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[:0] = [str(forge), str(forge / "packages_3rdparty")]
sys.argv = [sys.argv[0], "--always-cpu", "--all-in-fp32"]
os.chdir(forge)

import torch  # noqa: E402
from backend.nn.unet import IntegratedUNet2DConditionModel  # noqa: E402
from backend.nn.vae import IntegratedAutoencoderKL  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel  # noqa: E402

torch.manual_seed(5)
configs = forge / "backend" / "huggingface" / "runwayml" / "stable-diffusion-v1-5"
unet = IntegratedUNet2DConditionModel(
    in_channels=4, model_channels=320, out_channels=4, num_res_blocks=[1], channel_mult=[1],
    num_heads=8, use_spatial_transformer=True, transformer_depth=[1], context_dim=768,
    transformer_depth_middle=1, transformer_depth_output=[1, 1],
)  # fmt: skip
# Zero-initialised outputs would make the model return nothing of its own.
for _, weight in unet.named_parameters():
    if weight.ndim > 1 and not weight.any():
        torch.nn.init.normal_(weight, std=0.02)
vae = IntegratedAutoencoderKL.from_config(IntegratedAutoencoderKL.load_config(configs / "vae"))
clip = CLIPTextModel(CLIPTextConfig.from_pretrained(configs / "text_encoder"))
parts = {
    "model.diffusion_model.": unet,
    "first_stage_model.": vae,
    "cond_stage_model.transformer.": clip,
}
weights = {
    prefix + name: weight.half().contiguous().clone()
    for prefix, module in parts.items()
    for name, weight in module.state_dict().items()
}
save_file(weights, output)
