"""The model over all data points: in chunks, counted, with the states kept off the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..solvers.loop import Model, call_model, state_dtype

ExtraArgs = Mapping[str, Any] | Callable[[slice], Mapping[str, Any]] | None


class Tally:
    """Counts the work of a calibration and tells it to the caller."""

    def __init__(
        self,
        progress: Callable[[int, int], None] | None,
        interrupt: Callable[[], None] | None,
        total: int,
    ) -> None:
        self._progress = progress
        self._interrupt = interrupt
        self.total = total
        self.done = 0

    def before_call(self) -> None:
        """Let the caller stop the run, by raising."""
        if self._interrupt is not None:
            self._interrupt()

    def add(self, work: int) -> None:
        """Report ``work`` more calls x points, done or no longer needed."""
        self.done = min(self.done + work, self.total)
        if self._progress is not None and work:
            self._progress(self.done, self.total)


class PointModel:
    """A model over the points ``start`` to ``stop``, called with all of their states at once.

    States live on the CPU; each chunk of at most ``chunk`` points visits the model's device for
    its call alone, so the device holds what plain sampling of one chunk needs.
    """

    def __init__(
        self,
        model: Model,
        *,
        extra_args: ExtraArgs,
        device: torch.device,
        dtype: torch.dtype,
        points: range,
        chunk: int,
        tally: Tally,
    ) -> None:
        self._model = model
        self._extra_args = extra_args
        self._device = device
        self._dtype = dtype
        self._points = points
        self._chunk = chunk
        self._tally = tally
        self.calls = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The denoised states (B, ...) of all points; counts as one batched call."""
        value = float(sigma[0])
        parts = []
        for first in range(0, len(self._points), self._chunk):
            here = self._points[first : first + self._chunk]
            self._tally.before_call()
            part = x[first : first + len(here)].to(self._device, self._dtype)
            denoised = call_model(self._model, part, value, self._arguments(here))
            parts.append(denoised.to("cpu", state_dtype(self._dtype)))
            self._tally.add(len(here))
        self.calls += 1
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _arguments(self, here: range) -> Mapping[str, Any]:
        if callable(self._extra_args):
            return self._extra_args(slice(here.start, here.stop))
        return self._extra_args or {}
