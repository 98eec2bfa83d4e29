"""What ComfyUI's save nodes write into an image, for a sampler to add to.

The host gives it to nodes alone, and a node that it has cached does not run in the prompt whose
image is saved.  A handler of the host's sees every prompt, so what samples can find its own.
"""

from __future__ import annotations

import uuid
from typing import Any

from . import host

KEY = "dc_solver"
_KEPT = 64  # prompts that are finished leave beyond this many

_notes: dict[str, dict[str, Any]] = {}


def follow_prompts() -> None:
    """See every prompt that is queued from now on."""
    server = host.prompt_server()
    if server is None:
        return
    handlers = server.on_prompt_handlers  # one of before the pack was loaded again has no readers
    handlers[:] = [handler for handler in handlers if not host.same_function(handler, _follow)]
    server.add_on_prompt_handler(_follow)


def keep_with_image(record: dict[str, Any]) -> None:
    """Add a record of the node that runs to what is saved with the images of its prompt."""
    prompt, node = host.running()
    notes = _notes.get(prompt)
    if notes is None:
        return
    records = notes.setdefault(KEY, {}).setdefault(node, [])
    if record not in records:  # a detailer samples many times with the same ratios
        records.append(record)


def _follow(asked: dict[str, Any]) -> dict[str, Any]:
    """Remember by its id what is saved with a prompt's images."""
    notes = (asked.get("extra_data") or {}).get("extra_pnginfo")
    if isinstance(notes, dict):
        if len(_notes) >= _KEPT:
            alive = host.queued_prompts()
            for prompt in [prompt for prompt in _notes if prompt not in alive]:
                del _notes[prompt]
        _notes[str(asked.setdefault("prompt_id", str(uuid.uuid4())))] = notes
    return asked
