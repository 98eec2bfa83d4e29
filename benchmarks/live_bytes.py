"""How much memory tensors take, as the operations make and free them."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class LiveBytes(TorchDispatchMode):
    """The most bytes that tensors made inside were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            storage = out.untyped_storage()
            known = any(
                isinstance(a, torch.Tensor) and a.untyped_storage()._cdata == storage._cdata
                for a in (*args, *(kwargs or {}).values())
            )
            if not known:
                size = storage.nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, size)
        return out

    def _freed(self, size: int) -> None:
        self.now -= size
