"""References kept between calibrations: the dearest part of one, and the same for the next.

A reference depends on the model, its conditioning and CFG and on the starting states, but neither
on the steps nor on the solver that it judges: between its fine steps it is known to within the
error that it has itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from functools import cache
from threading import RLock

from .accuracy import Reference

#: Most references kept, and most bytes of them.
MOST = 8
MOST_BYTES = 512 * 2**20


class References:
    """The last few references by key, on the CPU; the oldest go, and those of models that are gone.

    Holds no model.  A key, or a part of one, may say that it is ``gone``
    (:class:`ratios.model_key.ModelKey`).
    """

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Hashable, Reference] = OrderedDict()
        self._lock = RLock()

    def find(self, key: Hashable) -> Reference | None:
        """The reference of a key, which is then the newest."""
        with self._lock:
            self._drop_gone()
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Hashable, reference: Reference) -> None:
        """Keep a whole reference in place of an older one; one that is not finite is passed over,
        and so is one that is too large."""
        size = reference.trajectory.nbytes
        if not reference.finite or size > self._most_bytes:
            return
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = reference
            self._drop_gone()
            while len(self._kept) > self._most or self.nbytes > self._most_bytes:
                self._kept.popitem(last=False)

    def _drop_gone(self) -> None:
        for key in [key for key in self._kept if _gone(key)]:
            del self._kept[key]

    @property
    def nbytes(self) -> int:
        """The bytes of all that is kept."""
        with self._lock:
            return sum(reference.trajectory.nbytes for reference in self._kept.values())

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)


def _gone(key: Hashable) -> bool:
    parts = key if isinstance(key, tuple) else (key,)
    return any(getattr(part, "gone", False) for part in parts)


@cache
def kept_references() -> References:
    """Those of this session, made where they are first needed."""
    return References()
