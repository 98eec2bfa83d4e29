"""What the pack adds to ComfyUI beside its nodes."""

from __future__ import annotations

from . import host, host_notes
from .sampling import sample_dc_solver


def register_sampler() -> None:
    """Put ``dc_solver`` into the sampler dropdowns and ``dc_ratios`` among the model folders.

    Images tell which ratios made them, so every prompt is seen.
    """
    host.add_to_dropdown(sample_dc_solver)
    host.register_folder()
    host_notes.follow_prompts()
