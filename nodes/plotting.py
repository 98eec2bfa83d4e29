"""Pictures as the nodes give them out: a preview in the node and an IMAGE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ..ratios import Finals, RatioSchedule
from ..ratios.plots import comparison_figure, pixels, ratio_figure
from ..ratios.text import base_of
from . import host

_COLUMNS = ("plain", "compensated", "reference")
_MOST_COMPARED = 16
#: The entries for ``ui.images``, and an image (B, H, W, 3) in [0, 1] or what stands for none.
Shown = tuple[list[dict[str, str]], Any]
NEEDED = (
    "No picture: it takes matplotlib, which is not installed here. Run python -m pip install "
    "matplotlib with the Python that runs ComfyUI, and restart it."
)


def plot(schedules: Sequence[RatioSchedule], title: str = "Compensation ratios") -> Shown:
    """The curves, as one image."""
    return _drawn(lambda: ratio_figure(schedules, title=title))


def title_of(found: RatioSchedule) -> str:
    """What a comparison is of, in a few words."""
    gain = found.report.gain if found.report is not None else None
    seeds = 0 if found.report is None else found.report.check_points
    error = "" if gain is None else f", {gain:.2f} of {base_of(found)}'s error on {seeds} seeds"
    kept = "" if found.active or gain is None else ", not kept"
    return f"{found.steps} steps, CFG {found.cfg or 0.0:g}{error}{kept}"


def _drawn(draw: Callable[[], Any]) -> Shown:
    """Where no picture comes of it what takes the image is told why, and nothing else is lost: it
    is not worth the minutes of search behind it."""
    try:
        image = pixels(draw())
        shown = [host.save_preview(image)]
    except host.Interrupted:
        raise
    except Exception as error:  # a VAE that is not this model's, memory, a full disk
        if isinstance(error, ImportError) and (error.name or "").startswith("matplotlib"):
            host.log.warning("DC-Solver: %s (%s)", NEEDED, error)
            return [], host.block(NEEDED)
        host.log.warning("DC-Solver: no picture", exc_info=True)
        return [], host.block(f"No picture: {error}")
    return shown, torch.from_numpy(image).float().div(255.0)[None]


class Pictures:
    """Collects what calibrations look like on a few check seeds, to compare side by side."""

    def __init__(self, vae: Any, model: Any, rows: int = 3) -> None:
        self._vae = vae
        self._model = model
        self._rows = rows
        self._finals: list[Finals] = []

    def add(self, finals: Finals) -> None:
        """Take the final states of a calibration, where there is a VAE to look through."""
        if self._vae is not None and len(self._finals) < _MOST_COMPARED:
            few = {name: getattr(finals, name)[: self._rows] for name in _COLUMNS}
            self._finals.append(Finals(**few))

    def compare(self, calibrated: Sequence[RatioSchedule]) -> Shown:
        """UniPC, DC-Solver and the reference, a row a seed, of each of the calibrations.

        Without pictures the image is an ExecutionBlocker: what shows them is passed over, with the
        reason where somebody connected a VAE to see them.
        """
        if not self._finals:
            if self._vae is None:
                host.log.info("DC-Solver: no pictures to compare, which needs a VAE")
                return [], host.block(None)
            return [], host.block("Nothing to compare: it needs check_seeds of 1 or more.")
        previews, images = [], []
        for finals, found in zip(self._finals, calibrated):
            own = found.solver == "dc_solver" and found.corrector is None
            ours = "DC-Solver" if own else "with ratios"
            ours = ours if found.learned is None else "learned steps"
            labels = (base_of(found), ours, "reference")
            shown, image = _drawn(partial(self._figure, finals, labels, title_of(found)))
            if not shown:
                return [], image
            previews += shown
            images.append(image)
        return previews, torch.cat(images)

    def _figure(self, finals: Finals, labels: Sequence[str], title: str) -> Any:
        columns = [
            (label, host.decode(self._vae, self._model, getattr(finals, name)).numpy())
            for name, label in zip(_COLUMNS, labels)
        ]
        return comparison_figure(columns, title)
