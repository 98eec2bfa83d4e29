"""What the panel shows of the chosen files, as HTML.  Every text of a file is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...ratios import CPR, RatioSchedule
from ...ratios.plots import COLOURS
from .drawing import curves_svg, steps_svg, surface_svg
from .shelf import Entry
from .words import count, plain, purpose, safe

#: Curves over each other: as many as there are colours.
MOST_CURVES = len(COLOURS)
#: Ratios shown in a table, and what is too far from 1 to be drawn.
MOST_VALUES, MOST_RATIO = 60, 100.0
#: Where the sliders end, unless a fitted range goes further.
STEPS, CFG = (1, 30), (0.0, 15.0)
MOST_CFG, MOST_STEPS = 1000.0, 1000


@dataclass(frozen=True)
class Curve:
    """A line of the plot.

    ``warnings`` say what a prediction is not; ``outside`` whether it is for another setting than
    the sliders ask for.
    """

    entry: Entry
    schedule: RatioSchedule
    warnings: tuple[str, ...] = ()
    outside: bool = False


def leading_cpr(entries: Sequence[Entry]) -> Entry | None:
    """The first CPR that can be moved through, whose range and heat map are shown."""
    return next((e for e in entries if isinstance(e.found, CPR) and not _undrawable(e)), None)


def curve(entry: Entry, steps: int, cfg: float) -> Curve | str:
    """The ratios of a file, those of a CPR at the sliders' setting; or why there are none."""
    found = entry.found
    if found is None or (why := _undrawable(entry)):
        return entry.broken if found is None else why
    if isinstance(found, RatioSchedule):
        return Curve(entry, found)
    try:
        with np.errstate(all="ignore"):
            predicted = found.predict(steps, cfg)
    except ValueError as error:
        return str(error)
    if _far(predicted.ratios):
        return f"predicted ratios beyond ±{MOST_RATIO:g} are not drawn"
    return Curve(entry, predicted, predicted.notes, not found.covers(steps, cfg))


def board(entries: Sequence[Entry], steps: int, cfg: float) -> str:
    """The plot, the heat map of a CPR, what to be wary of, and the values."""
    found = [(entry, curve(entry, steps, cfg)) for entry in entries]
    drawn = [line for _, line in found if isinstance(line, Curve)]
    left = [(entry, why) for entry, why in found if isinstance(why, str)]
    shown = drawn[:MOST_CURVES]
    parts = [_pictures(shown, leading_cpr(entries), steps, cfg)] if shown else []
    parts += [_warning(line) for line in shown if line.warnings]
    if len(drawn) > len(shown):
        parts.append(note(f"{len(shown)} of the {len(drawn)} chosen files are drawn."))
    parts += [
        note(f"{plain(why, 300).rstrip('.')}.", f"{entry.title} cannot be shown: ")
        for entry, why in left[:MOST_CURVES]
    ]
    parts += [_values(shown)] if shown else []
    return "".join(parts)


def empty(place: str) -> str:
    """What to do while the library has nothing."""
    return (
        '<div class="dc-empty"><h3>No calibrations yet</h3>'
        "<p>A calibration is made once for a checkpoint, from ten seeds, in a few minutes.</p><ul>"
        "<li><b>ComfyUI</b>: run <i>Calibrate Ratios</i>, then <i>Save Ratios</i>.</li>"
        "<li><b>WebUI</b>: <i>Calibrate</i> in the tab DC-Solver.</li>"
        "<li><b>To try it out</b>, on a small embedded model: "
        "<code>python3 dev.py calibrate first.safetensors</code> in the folder of this pack, then "
        "<i>Import</i> the file.</li>"
        "<li>Or <i>Import</i> what somebody shared, the authors' files too.</li></ul>"
        f"<p>They are kept in <code>{safe(place)}</code>.</p></div>"
    )


def slider_ends(cpr: CPR | None) -> tuple[int, float]:
    """The highest step count and scale that can be set."""
    if cpr is None:
        return STEPS[1], CFG[1]
    return max(STEPS[1], cpr.steps_range[1]), max(CFG[1], float(np.ceil(cpr.cfg_range[1])))


def inside(cpr: CPR, steps: int, cfg: float) -> tuple[int, float]:
    """The nearest setting in the fitted range that sliders can stand at."""
    low, high = cpr.cfg_range
    near = min(max(cfg, low), high)
    rounded = round(near, 1)
    return (
        min(max(steps, cpr.steps_range[0]), cpr.steps_range[1]),
        rounded if low <= rounded <= high else near,
    )


def fitted(entry: Entry) -> str:
    """Beside the sliders: the range in which a CPR knows something."""
    assert isinstance(entry.found, CPR)
    return f'<p class="dc-fitted">fitted: {safe(purpose(entry.found).removeprefix("CPR "))}</p>'


def _undrawable(entry: Entry) -> str:
    """Why a readable file has no picture, or nothing."""
    found = entry.found
    if isinstance(found, RatioSchedule):
        return f"ratios beyond ±{MOST_RATIO:g} are not drawn" if _far(found.ratios) else ""
    if isinstance(found, CPR):
        low, high = found.cfg_range
        most = found.steps_range[1]
        if not 0.0 <= low <= high <= MOST_CFG or not 1 <= found.steps_range[0] <= most:
            return f"a fitted range beyond CFG 0 to {MOST_CFG:g} is not drawn"
        try:
            with np.errstate(all="ignore"):
                ends = [found.predict(n, w) for n in found.steps_range for w in found.cfg_range]
        except ValueError as error:
            return str(error)
        if any(_far(end.ratios) for end in ends):
            return f"predicted ratios beyond ±{MOST_RATIO:g} are not drawn"
    return ""


def _far(ratios: Sequence[float]) -> bool:
    return any(abs(ratio) > MOST_RATIO for ratio in ratios)


def _pictures(drawn: Sequence[Curve], leading: Entry | None, steps: int, cfg: float) -> str:
    """The plot and, beside it, the heat map of the leading CPR."""
    cpr = leading.found if leading is not None else None
    limits = cpr.ratio_range or () if isinstance(cpr, CPR) else ()
    learned = [line.schedule for line in drawn if line.schedule.learned is not None]
    picture = curves_svg(
        [line.schedule for line in drawn],
        "Compensation ratios",
        limits=() if _far(limits) else limits,
        dashed=[k for k, line in enumerate(drawn) if line.outside],
        wide=cpr is None and not learned,
    )
    pictures = f'<figure class="dc-curves">{picture}</figure>'
    if learned:
        steps_drawn = steps_svg([line.schedule for line in drawn], "Learned steps")
        pictures += f'<figure class="dc-steps">{steps_drawn}</figure>'
    if leading is not None and isinstance(cpr, CPR):
        several = sum(isinstance(line.entry.found, CPR) for line in drawn) > 1
        pictures += _heat_map(cpr, steps, cfg, leading.title if several else "")
    return f'<div class="dc-pictures">{pictures}</div>'


def _heat_map(cpr: CPR, steps: int, cfg: float, named: str) -> str:
    drawn = surface_svg(cpr, "Strongest ratio of each setting", (steps, cfg))
    told = [safe(named)] if named else []
    told += ["○ calibrated"] if any(s.active for s in cpr.fitted) else []
    told += ["\N{MULTIPLICATION SIGN} kept at 1"] if any(not s.active for s in cpr.fitted) else []
    caption = " · ".join([*told, "◆ the sliders"])
    return f'<figure class="dc-heat">{drawn}<figcaption>{caption}</figcaption></figure>'


def _warning(line: Curve) -> str:
    head = f"{line.entry.title} (dashed): " if line.outside else f"{line.entry.title}: "
    return note(f"{'; '.join(line.warnings)}.", head)


def note(text: str, head: str = "", good: bool = False) -> str:
    """A remark: what to be wary of, or what has been done."""
    kind = "dc-note dc-good" if good else "dc-note"
    return f'<p class="{kind}" role="status"><b>{safe(head)}</b>{safe(text)}</p>'


def _values(drawn: Sequence[Curve]) -> str:
    """The values, a row a curve; the swatch in front is the curve's colour."""
    longest = max(curve.schedule.steps for curve in drawn)
    columns = min(longest, MOST_VALUES)
    head = "".join(f"<th>{k + 1}</th>" for k in range(columns))
    rows = []
    for k, curve in enumerate(drawn):
        cells = "".join(
            f"<td{_tint(i, curve.schedule)}>{ratio:.3f}</td>"
            for i, ratio in enumerate(curve.schedule.ratios[:columns])
        )
        cells += "<td></td>" * (columns - min(curve.schedule.steps, columns))
        at = purpose(curve.schedule)
        rows.append(
            f'<tr><th scope="row" title="{safe(curve.entry.name)}">'
            f'<i style="background:{COLOURS[k]}"></i>{safe(curve.entry.title)}</th>'
            f"<td>{safe(at)}</td>{cells}</tr>"
        )
    left = longest - columns
    more = note(f"The table ends at step {columns}; {count(left, 'step')} more.") if left else ""
    return (
        '<div class="dc-scroll"><table class="dc-values"><thead><tr><th>ratios</th><th></th>'
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{more}"
    )


def _tint(index: int, schedule: RatioSchedule) -> str:
    """Ratios that compensation cannot act on stand back."""
    return ' class="dc-fixed"' if index < schedule.dc_order else ""
