"""One refusal for every value that is none of those there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def check_one_of(name: str, value: Any, allowed: Iterable[Any], beside: str = "") -> None:
    """Raises ValueError, listing them, unless ``value`` is one of ``allowed``, type and all: True
    is not 1.  ``beside`` says what else limits it, such as ``" with unipc"``."""
    allowed = list(allowed)
    if not any(type(value) is type(option) and value == option for option in allowed):
        listed = ", ".join(map(str, allowed))
        raise ValueError(f"{name}: expected one of {listed}, got {value!r}{beside}.")
