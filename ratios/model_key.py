"""What tells a model, with all that changes its outputs, from another, within one session.

Plain data counts by content, so that a prompt which was encoded again is the same.  Any other
object counts by being the very same one, and is not kept alive.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

_PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device)


class Same:
    """Equal where the very same object is meant; one that is gone equals none."""

    def __init__(self, value: Any) -> None:
        self._hash = id(value)
        self._alive: Callable[[], Any] = lambda: None
        with suppress(TypeError):  # of a kind that cannot be followed
            self._alive = weakref.ref(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same):
            return NotImplemented
        value = self._alive()
        return value is not None and value is other._alive()

    def __hash__(self) -> int:
        return self._hash

    @property
    def gone(self) -> bool:
        return self._alive() is None


@dataclass(frozen=True)
class ModelKey:
    """Equal for the same model, as long as it lives."""

    objects: tuple[Same, ...]
    parts: tuple[Hashable, ...]
    grid: tuple[Hashable, ...] | None

    @property
    def gone(self) -> bool:
        """Whether no other key can ever equal this one."""
        return any(isinstance(part, Same) and part.gone for part in (*self.objects, *self.parts))


def model_key(objects: Iterable[Any], settings: Any, grid: Any) -> ModelKey:
    """A key of the model that some objects make, with these settings.

    Args:
        objects: the model and what else has to be the very same.
        settings: all that changes what it makes, conditionings included: data in dicts, lists and
            tuples of any depth, and objects or functions of others.
        grid: what such functions might read of the run at work.  It counts only where there are
            some, so that without them a run of other steps has the same key.
    """
    try:
        parts = tuple(_parts(settings))
    except RecursionError:  # something that holds itself: never the same
        parts = (Same(object()),)
    foreign = any(isinstance(part, Same) for part in parts)
    return ModelKey(
        tuple(Same(value) for value in objects),
        parts,
        tuple(_parts(grid)) if foreign else None,
    )


def _parts(value: Any) -> Iterator[Hashable]:
    if isinstance(value, torch.Tensor):
        yield _digest(value)
    elif isinstance(value, _PLAIN):
        yield type(value), value
    elif isinstance(value, Mapping):
        yield "dict", len(value)
        for name, part in value.items():
            yield from _parts(name)
            yield from _parts(part)
    elif isinstance(value, (list, tuple)):
        yield "list", len(value)
        for part in value:
            yield from _parts(part)
    else:
        yield Same(value)


def _digest(tensor: torch.Tensor) -> Hashable:
    """A hash over the whole content; of kinds that show none, the tensor itself."""
    try:
        content = tensor.detach().to("cpu").flatten().contiguous().view(torch.uint8).numpy()
    except (RuntimeError, TypeError):
        return Same(tensor)
    return tensor.dtype, tuple(tensor.shape), hashlib.sha256(content.tobytes()).digest()
