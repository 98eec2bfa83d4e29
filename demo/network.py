"""The demo's network: a small multimodal diffusion transformer (2403.03206), in plain torch.

The weights are named as Stable Diffusion 3's, so that ComfyUI's stock loader reads the same file.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

CHANNELS = 16
CONDITION = 128
_HEAD = 64
_PATCH = 2


class _RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.weight


class _Attention(nn.Module):
    def __init__(self, width: int, with_output: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.ln_q = _RMSNorm(_HEAD)
        self.ln_k = _RMSNorm(_HEAD)
        if with_output:
            self.proj = nn.Linear(width, width)

    def project(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Query, key and value of shape (B, heads, tokens, head)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, _HEAD)).movedim(2, 0).transpose(2, 3)
        return [self.ln_q(q), self.ln_k(k), v]


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def _modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1.0 + scale[:, None]) + shift[:, None]


class _Stream(nn.Module):
    """One of a block's two streams: the image's tokens or the condition's."""

    def __init__(self, width: int, attends_only: bool = False) -> None:
        super().__init__()
        self.attends_only = attends_only
        self.attn = _Attention(width, with_output=not attends_only)
        if not attends_only:
            self.mlp = _MLP(width)
        self.parts = 2 if attends_only else 6
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, self.parts * width))

    def before(
        self, x: torch.Tensor, c: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        shift, scale, *rest = self.adaLN_modulation(c).chunk(self.parts, dim=1)
        return self.attn.project(_modulate(x, shift, scale)), rest

    def after(self, x: torch.Tensor, mixed: torch.Tensor, rest: list[torch.Tensor]) -> torch.Tensor:
        gate, shift, scale, gate_mlp = rest
        x = x + gate[:, None] * self.attn.proj(mixed)
        return x + gate_mlp[:, None] * self.mlp(_modulate(x, shift, scale))


class _JointBlock(nn.Module):
    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.context_block = _Stream(width, attends_only=last)
        self.x_block = _Stream(width)

    def forward(
        self, context: torch.Tensor, x: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        context_qkv, context_rest = self.context_block.before(context, c)
        x_qkv, x_rest = self.x_block.before(x, c)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(context_qkv, x_qkv))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = context.shape[1]
        if not self.context_block.attends_only:
            context = self.context_block.after(context, mixed[:, :tokens], context_rest)
        return context, self.x_block.after(x, mixed[:, tokens:], x_rest)


class _FinalLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, _PATCH * _PATCH * CHANNELS)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=1)
        return self.linear(_modulate(x, shift, scale))


class _Embedder(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mlp(x)


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(CHANNELS, width, _PATCH, stride=_PATCH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class MMDiT(nn.Module):
    """Noise or velocity of a latent (B, 16, 8, 8), given its time (B,) and condition (B, 128)."""

    pos_embed: torch.Tensor

    def __init__(self, depth: int = 3, size: int = 8) -> None:
        super().__init__()
        width = _HEAD * depth
        self.x_embedder = _PatchEmbed(width)
        self.t_embedder = _Embedder(256, width)
        self.y_embedder = _Embedder(CONDITION, width)
        self.context_embedder = nn.Linear(CONDITION, width)
        self.register_buffer("pos_embed", _sincos(width, size // _PATCH))
        self.joint_blocks = nn.ModuleList(
            _JointBlock(width, last=i == depth - 1) for i in range(depth)
        )
        self.final_layer = _FinalLayer(width)

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[-2] // _PATCH, x.shape[-1] // _PATCH
        c = self.t_embedder(_timestep_features(t)) + self.y_embedder(condition)
        context = self.context_embedder(condition)[:, None]
        tokens = self.x_embedder(x) + self.pos_embed
        for block in self.joint_blocks:
            context, tokens = block(context, tokens, c)
        patches = self.final_layer(tokens, c).unflatten(1, (rows, columns))
        patches = patches.unflatten(-1, (_PATCH, _PATCH, CHANNELS))
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(x.shape)


def _timestep_features(t: torch.Tensor, width: int = 256) -> torch.Tensor:
    half = width // 2
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _sincos(width: int, side: int) -> torch.Tensor:
    """Fixed position features of a square of patches, (1, side * side, width)."""
    quarter = width // 4
    omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    parts = []
    for position in (columns, rows):
        angles = position.reshape(-1, 1) * omega
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float()[None]
