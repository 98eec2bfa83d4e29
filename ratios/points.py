"""The model over all data points: in chunks, counted, with the states kept off the device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..solvers.calls import Model, call_model, state_dtype

log = logging.getLogger("dc_solver")

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
        if progress is not None:
            progress(0, total)

    def before_call(self) -> None:
        """Let the caller stop the run, by raising."""
        if self._interrupt is not None:
            self._interrupt()

    def expect(self, work: int) -> None:
        """``work`` more than was foreseen will be needed."""
        self.total += work

    def add(self, work: int) -> None:
        """Report ``work`` more calls x points, done or no longer needed."""
        self.done = min(self.done + work, self.total)
        if self._progress is not None and work:
            self._progress(self.done, self.total)


class Chunk:
    """How many points a model call takes: fewer once the device has run out of memory."""

    def __init__(self, size: int) -> None:
        self.size = size

    def halve(self, tried: int) -> None:
        """Go on with half of the ``tried`` points a call."""
        self.size = max(tried // 2, 1)
        log.warning("DC-Solver: out of memory at %d points a call, going on with %d", tried,
                    self.size)  # fmt: skip
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()


class PointModel:
    """A model over the points ``start`` to ``stop``, called with all of their states at once.

    States live on the CPU; each chunk of points visits the model's device for its call alone, so
    the device holds what plain sampling of one chunk needs.  Where it runs out of memory the chunk
    is halved and the call made again.
    """

    def __init__(
        self,
        model: Model,
        *,
        extra_args: ExtraArgs,
        device: torch.device,
        dtype: torch.dtype,
        points: range,
        chunk: Chunk,
        tally: Tally,
    ) -> None:
        self._model = model
        self._extra_args = extra_args
        self._device = device
        self._dtype = dtype
        self.points = points
        self._chunk = chunk
        self._tally = tally
        self.calls = 0

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The denoised states (B, ...) of all points; counts as one batched call."""
        value = float(sigma[0])
        parts = []
        first = 0
        while first < len(self.points):
            here = self.points[first : first + self._chunk.size]
            self._tally.before_call()
            denoised = self._call(x[first : first + len(here)], value, here)
            if denoised is None:
                self._chunk.halve(len(here))
                continue
            parts.append(denoised)
            self._tally.add(len(here))
            first += len(here)
        self.calls += 1
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _call(self, x: torch.Tensor, sigma: float, here: range) -> torch.Tensor | None:
        """The denoised states of a chunk; None where memory ran out and it can be smaller."""
        try:
            part = x.to(self._device, self._dtype)
            denoised = call_model(self._model, part, sigma, self._arguments(here))
            return denoised.to("cpu", state_dtype(self._dtype))
        except RuntimeError as error:
            if len(here) == 1 or not _ran_out(error):
                raise
        return None

    def _arguments(self, here: range) -> Mapping[str, Any]:
        if callable(self._extra_args):
            return self._extra_args(slice(here.start, here.stop))
        return self._extra_args or {}


def _ran_out(error: RuntimeError) -> bool:
    """Whether this is a device's way to say that its memory is full."""
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory")
    )
