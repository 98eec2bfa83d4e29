"""Which model this is, told from a few of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

#: How many weights are looked at, spread over the network, and how many values of each.
_WEIGHTS = 16
_VALUES = 4096
_LONGEST = 32
#: How the LoRA hash of an identity begins where the patches are another model's weights.
MERGE = "merge "
#: What has a sign in each value; integers and packed kinds are another's format.
_SIGNED = {
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
}


def fingerprint(weights: Mapping[str, torch.Tensor]) -> str | None:
    """A hash over the signs of a few values of some weights; None where none can be read.

    Signs are what float32, float16, bfloat16 and float8 copies of a checkpoint have in common, so
    they share their fingerprint; another training of it flips some of 65,000 signs.  ``weights``
    are the network's own, without LoRA, by their names in the checkpoint.  Packed ones (GGUF,
    4 bits) are passed over, so a quantised copy has a fingerprint of its own.  Reads 16 slices,
    whatever the size of the model.
    """
    found = {name: value for name, value in weights.items() if _readable(value)}
    digest = hashlib.sha256()
    for name in _spread(sorted(found)):
        weight = found[name]
        signs = torch.signbit(_values(weight).float()).numpy()
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(np.packbits(signs).tobytes())
    return digest.hexdigest()[:_LONGEST] if found else None


def sample_hash(parts: Iterable[str | float | torch.Tensor]) -> str:
    """A short hash over texts, numbers and the first values of tensors."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            digest.update(str(tuple(part.shape)).encode())
            digest.update(_values(part, 64).half().numpy().tobytes())
        else:
            digest.update(str(part).encode())
        digest.update(b";")
    return digest.hexdigest()[:16]


def patches_hash(patches: Mapping[str, Sequence[Sequence[Any]]]) -> str | None:
    """A hash over the LoRA patches on weights; None where there are none.

    ``patches`` are those on each weight, as ``(strength, patch, strength of the model, ...)``.  The
    hash of a merge of models begins with :data:`MERGE`, for it is another model.
    """
    parts: list[Any] = []
    merged = False
    for key in sorted(patches, key=str):
        for strength, patch, strength_model, *_ in patches[key]:
            merged = merged or strength_model != 1.0 or isinstance(patch, list)
            parts += [key, strength, strength_model, type(patch).__name__]
            content = getattr(patch, "weights", patch)
            parts += [part for part in _flat(content) if isinstance(part, torch.Tensor)][:1]
    return f"{MERGE if merged else ''}{sample_hash(parts)}" if parts else None


def _flat(content: Any) -> Iterable[Any]:
    if isinstance(content, (tuple, list)):
        for part in content:
            yield from _flat(part)
    else:
        yield content


def _values(weight: torch.Tensor, count: int = _VALUES) -> torch.Tensor:
    """The first values, without a copy of the whole where it is not contiguous."""
    if weight.ndim == 0:
        return weight.detach().reshape(1).to("cpu")
    rows = -(-count * weight.shape[0] // max(weight.numel(), 1))
    return weight.detach()[: max(rows, 1)].flatten()[:count].to("cpu")


def _readable(weight: torch.Tensor) -> bool:
    """Whether this is a matrix or a kernel whose values have signs."""
    return weight.ndim >= 2 and weight.numel() > 0 and weight.dtype in _SIGNED


def _spread(names: list[str]) -> list[str]:
    """Up to 16 of the names, from the first to the last."""
    if len(names) <= _WEIGHTS:
        return names
    last = len(names) - 1
    return [names[round(k * last / (_WEIGHTS - 1))] for k in range(_WEIGHTS)]
