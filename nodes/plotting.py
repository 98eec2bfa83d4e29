"""Pictures as the nodes give them out: a preview in the node and an IMAGE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch

from ..ratios import Finals, RatioSchedule
from ..ratios.plots import comparison_figure, pixels, ratio_figure
from ..ratios.text import base_of
from . import host

_COLUMNS = ("plain", "compensated", "reference")
_MOST_COMPARED = 16
_NEEDED = (
    "it takes matplotlib, which is not installed here. Run python -m pip install "
    "matplotlib with the Python that runs ComfyUI, and restart it."
)


class Shown(NamedTuple):
    """Pictures of a node: the entries for ``ui.images``, an image (B, H, W, 3) in [0, 1] or what
    passes over its readers, and why there is none."""

    previews: list[dict[str, str]]
    image: Any
    why: str = ""


def below_why(text: str, *pictures: Shown) -> str:
    """A text of the node, and before it why there is no picture where one of them failed."""
    why = next((shown.why for shown in pictures if shown.why), "")
    return f"No picture: {why}\n\n{text}" if why else text


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
    """Where no picture comes of it nothing else is lost: it is not worth the minutes of search
    behind it."""
    try:
        image = pixels(draw())
    except host.Interrupted:
        raise
    except Exception as error:  # a VAE that is not this model's, memory
        if isinstance(error, ImportError) and (error.name or "").startswith("matplotlib"):
            host.log.warning("DC-Solver: no picture: %s (%s)", _NEEDED, error)
            return Shown([], host.block(None), _NEEDED)
        host.log.warning("DC-Solver: no picture", exc_info=True)
        return Shown([], host.block(None), str(error) or type(error).__name__)
    given = torch.from_numpy(image).float().div(255.0)[None]
    try:
        return Shown([host.save_preview(image)], given)
    except OSError as error:  # a full disk
        host.log.warning("DC-Solver: no preview (%s)", error)
        return Shown([], given, f"it could not be saved for the node ({error})")


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

        Without pictures the image is an ExecutionBlocker, which passes over what shows them.
        """
        if not self._finals:
            if self._vae is None:
                host.log.info("DC-Solver: no pictures to compare, which needs a VAE")
                return Shown([], host.block(None))
            return Shown([], host.block(None), "a comparison needs check_seeds of 1 or more")
        previews, images = [], []
        for finals, found in zip(self._finals, calibrated):
            own = found.solver == "dc_solver" and found.corrector is None
            ours = "DC-Solver" if own else "with ratios"
            ours = ours if found.learned is None else "learned steps"
            labels = (base_of(found), ours, "reference")
            shown = _drawn(partial(self._figure, finals, labels, title_of(found)))
            if shown.why:
                return shown
            previews += shown.previews
            images.append(shown.image)
        return Shown(previews, torch.cat(images))

    def _figure(self, finals: Finals, labels: Sequence[str], title: str) -> Any:
        columns = [
            (label, host.decode(self._vae, self._model, getattr(finals, name)).numpy())
            for name, label in zip(_COLUMNS, labels)
        ]
        return comparison_figure(columns, title)
