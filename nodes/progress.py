"""What a user sees of a running calibration: cost, bar, time left, preview."""

from __future__ import annotations

import time

from ..ratios.text import duration
from . import host
from .host_runs import GuidedModel

_EVERY = 1.0  # seconds
_TIMED = 3.0  # seconds of work, from which the time left is told


class Progress:
    """Told ``(done, total)`` in model calls times images, it moves the bar of a node.

    The time left is counted from the second call on, for the first one loads and compiles.
    """

    def __init__(self, node: str, guided: GuidedModel, previewer: host.Previewer) -> None:
        self._node = node
        self._guided = guided
        self._previewer = previewer
        self._bar: host.Bar | None = None
        self._first: tuple[float, int] | None = None
        self._told = 0.0
        self._logged = False
        guided.watch = previewer is not None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._bar is None:
            self._bar = host.progress_bar(total)
            self._say(
                f"calibrating: about {total} model calls of one image, more where the model needs "
                "a finer reference"
            )
        elif self._first is None:
            self._first = (now, done)
        elif now - self._told >= _EVERY or done == total:
            began, at = self._first
            left = (now - began) / max(done - at, 1) * (total - done)
            if done < total:
                text = f"calibrating: {done} of about {total} model calls"
                timed = now - began >= _TIMED
                if timed:
                    text += f", {duration(left)} left"
                self._say(text, log=timed and not self._logged)
                self._logged |= timed
            else:
                self._say(f"calibrated in {duration(now - began)}")
            self._told = now
            self._bar(done, total, self._picture())
            return
        self._bar(done, total, None)

    def _picture(self) -> host.Preview:
        latent = self._guided.preview
        return None if latent is None or self._previewer is None else self._previewer(latent)

    def _say(self, text: str, log: bool = True) -> None:
        if log:
            host.log.info("DC-Solver: %s", text)
        host.show_on_node(text, self._node, passing=True)
