"""The regressions of this session, so that the front end can draw one before it is saved."""

from __future__ import annotations

import hashlib
import json

from ..ratios import CPR
from ..ratios.records import to_record

_MOST = 32
_kept: dict[str, CPR] = {}


def remember(cpr: CPR) -> str:
    """Keep ``cpr`` as the newest; its token, which is a hash of its content."""
    record, arrays = to_record(cpr)
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + arrays[name].tobytes())
    token = digest.hexdigest()[:32]
    _kept.pop(token, None)
    _kept[token] = cpr
    while len(_kept) > _MOST:
        del _kept[next(iter(_kept))]
    return token


def recall(token: str) -> CPR | None:
    """The regression of a token, unless 32 newer ones have come since or the host has restarted."""
    return _kept.get(token)
