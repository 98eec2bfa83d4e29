"""Names for the functions that packs put into a model, the same whenever they do the same."""

from __future__ import annotations

import dis
import re
from contextlib import suppress
from typing import Any

_LONGEST = 400
#: What a list or a set that is memory is asked to do.
_FILLING = ("append", "extend", "insert", "pop", "clear", "remove", "add", "discard", "update")


def label(function: Any) -> str:
    """The node or class that a patch comes from."""
    inner = getattr(function, "func", function)
    return str(getattr(inner, "__qualname__", type(inner).__qualname__)).split(".")[0]


def name_of(function: Any) -> str:
    """A patch with the settings that it has been given, but not with what it remembers."""
    inner = getattr(function, "func", function)
    values = [*getattr(function, "args", ()), *(getattr(function, "keywords", None) or {}).values()]
    code = getattr(inner, "__code__", None)
    moving = remembers(function)
    # An object that is called, or a method of one.
    holder = getattr(inner, "__self__", None) if code else inner
    held = getattr(holder, "__dict__", {})
    values += (value for name, value in held.items() if name not in moving)
    if code is not None:
        if "<locals>" in inner.__qualname__:  # else its defaults are the same in every model
            bound = [*(inner.__defaults__ or ()), *(inner.__kwdefaults__ or {}).values()]
            values += (value for value in bound if not isinstance(value, (list, set)))  # memory
        for name, cell in zip(code.co_freevars, inner.__closure__ or ()):
            if name not in moving:
                with suppress(ValueError):  # not yet filled
                    values.append(cell.cell_contents)
    settings = [text for text in map(_setting, values) if text is not None]
    return " ".join([label(function), *settings])[:_LONGEST]


def remembers(function: Any) -> set[str]:
    """The outer variables and own attributes that a function sets or fills: its memory between
    calls."""
    inner = getattr(function, "func", function)
    code = getattr(inner, "__code__", None)
    if code is None:
        call = getattr(type(inner), "__call__", None)  # noqa: B004
        code = getattr(call, "__code__", None)
    if code is None:
        return set()
    instructions = list(dis.get_instructions(code))
    outer = set(code.co_freevars)
    found = {i.argval for i in instructions if i.opname == "STORE_DEREF"} & outer
    found |= {i.argval for i in instructions if i.opname == "STORE_ATTR"}
    return found | {
        held.argval
        for held, method in zip(instructions, instructions[1:])
        if method.argval in _FILLING and held.opname in ("LOAD_DEREF", "LOAD_ATTR")
    }


def _setting(value: Any) -> str | None:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return None if re.search(r"[/\\]", value) else value  # a path says nothing to others
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [text for text in map(_setting, value) if text is not None]
        # A set has another order in every process.
        return "/".join(sorted(parts) if isinstance(value, (set, frozenset)) else parts)
    return None
