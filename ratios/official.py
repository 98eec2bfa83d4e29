"""The authors' own files: ``.npy`` regressions and ``.json`` lists of ratios."""

from __future__ import annotations

import io
import json
import os
import tokenize
from pathlib import Path
from typing import Any

import numpy as np

from .cpr import CPR
from .files import RatioFileError
from .schedule import Identity, RatioSchedule

_MOST_BYTES = 1024 * 1024
_MOST_RATIOS = 1000
#: What numpy and json raise on content that is not what it should be.
_UNREADABLE = (ValueError, TypeError, RecursionError, EOFError, MemoryError, OverflowError,
               SyntaxError, tokenize.TokenError)  # fmt: skip
#: The ranges of the paper's experiments; the files themselves do not say what they were fitted on.
STEPS_RANGE = (5, 10)
CFG_RANGE = (1.5, 7.5)


def import_official(
    path: str | os.PathLike[str],
    *,
    cfg: float | None = None,
    steps_range: tuple[int, int] = STEPS_RANGE,
    cfg_range: tuple[float, float] = CFG_RANGE,
    fingerprint: str | None = None,
) -> RatioSchedule | CPR:
    """Read a file of the authors' repository.

    ``.npy`` holds the 36 coefficients of a regression, ``.json`` a bare list of ratios, one a step,
    without a word on model, guidance scale or grid: give what you know.  Both were searched with
    UniPC-2 bh2, K = 2, in the model's time, lowering the order at the end only and leaving the
    first step uncorrected, and the result is set so.

    Raises RatioFileError where the file holds something else; nothing in it is executed (pickled
    arrays are refused).
    """
    source = Path(path)
    with source.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise RatioFileError(f"{source.name}: expected at most {_MOST_BYTES} bytes, got more.")
    settings: dict[str, Any] = {"lower_order": "final", "first_corrector": False}
    identity = Identity(fingerprint=fingerprint)
    try:
        if source.suffix.lower() == ".npy":
            return CPR(
                coefficients=_coefficients(content),
                steps_range=steps_range,
                cfg_range=cfg_range,
                identity=identity,
                **settings,
            )
        if source.suffix.lower() == ".json":
            return RatioSchedule(
                ratios=_ratios(content), cfg=cfg, origin="imported", identity=identity, **settings
            )
    except _UNREADABLE as error:
        raise RatioFileError(f"{source.name}: {error}") from error
    raise RatioFileError(
        f"{source.name}: expected .npy (a regression) or .json (a list of ratios), "
        f"got {source.suffix or 'no ending'!r}."
    )


def _coefficients(content: bytes) -> tuple[float, ...]:
    if not content.startswith(b"\x93NUMPY"):
        raise ValueError("expected a numpy array file")
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.size != 36 or array.dtype.kind not in "fiu":
        raise ValueError("expected 36 numbers, [q][CFG^2, CFG, 1][NFE^2, NFE, 1]")
    return tuple(array.astype(np.float64).reshape(-1).tolist())


def _ratios(content: bytes) -> tuple[float, ...]:
    values = json.loads(content)
    if not isinstance(values, list) or not 1 <= len(values) <= _MOST_RATIOS:
        raise ValueError(f"expected a list of 1 to {_MOST_RATIOS} ratios")
    if any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        raise ValueError("expected a list of numbers")
    return tuple(float(value) for value in values)
