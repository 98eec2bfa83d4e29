"""What a calibration gained and what it cost, a card a file.  Every text of a file is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from ...ratios import CPR, RatioSchedule, Report
from ...ratios.files import MOST_BYTES
from ...ratios.text import base_of, compensated, describe_cpr, describe_ratios
from .shelf import Entry
from .words import gain, origin, plain, purpose, safe

MOST_CARDS = 8


def reports(entries: Sequence[Entry]) -> str:
    """A card a readable file: what it gained, what it cost, and the file itself to take away."""
    readable = [entry for entry in entries if entry.found is not None]
    cards = "".join(_card(entry) for entry in readable[:MOST_CARDS])
    return f'<div class="dc-cards">{cards}</div>' if cards else ""


def _card(entry: Entry) -> str:
    found = entry.found
    assert found is not None
    if isinstance(found, CPR):
        told = [line for line in describe_cpr(found).splitlines() if not line.startswith("  ")]
        table = _gains(found)
    else:
        told = [x for x in describe_ratios(found).splitlines() if not x.startswith("ratios: ")]
        table = "" if found.report is None else _errors(found, found.report)
    told_gain = gain(found)
    kind = ' class="dc-gain"' if told_gain[0].isdigit() else ""
    lines = "".join(f"<li>{safe(plain(line, 400))}</li>" for line in told[1:])
    return (
        f'<section class="dc-card"><header><h4>{safe(entry.title)}</h4>{_download(entry)}</header>'
        f"<p{kind}>{safe(told_gain)}</p>"
        f"<p>{safe(purpose(found))} · {safe(origin(found))}</p>{table}<ul>{lines}</ul></section>"
    )


def _gains(cpr: CPR) -> str:
    """The error of each calibration behind a CPR, steps down and CFG across."""
    gains: dict[tuple[int, float], str] = {}
    for s in cpr.fitted:
        told = "unchecked" if s.gain is None else f"{s.gain:.2f}"
        gains[s.steps, s.cfg or 0.0] = told if s.active else "kept 1"
    if all(s.gain is None for s in cpr.fitted):
        return ""
    scales = sorted({scale for _, scale in gains})[:12]
    rows = []
    for steps in sorted({steps for steps, _ in gains})[:24]:
        cells = "".join(f"<td>{gains.get((steps, scale), '')}</td>" for scale in scales)
        rows.append(f'<tr><th scope="row">{steps} steps</th>{cells}</tr>')
    head = "".join(f"<th>CFG {scale:g}</th>" for scale in scales)
    return (
        '<div class="dc-scroll"><table>'
        f"<caption>error, {base_of(cpr)} = 1</caption>"
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _errors(found: RatioSchedule, report: Report) -> str:
    """The errors on held-out seeds side by side, that without ratios as the unit."""
    gain, over_2m = report.gain, report.gain_over_dpmpp_2m
    if gain is None:
        return ""
    kept = compensated(found.solver, found.corrector)
    kept = kept if found.learned is None else "learned steps"
    bars = [(base_of(found), 1.0)]
    kept = kept if found.active else "ratios found, not kept"
    searched = report.search_gain
    bars += [(kept if searched is None else f"{kept}, check seeds", gain)]
    bars += [("DPM-Solver++(2M)", gain / over_2m)] if over_2m else []
    bars += [(f"{kept}, search seeds", searched)] if searched is not None else []
    seeds = " on held-out seeds" if searched is None else ""
    longest = max(error for _, error in bars)
    rows = "".join(
        f"<tr><th scope='row'>{name}</th><td><i style='width:{100 * error / longest:.1f}%'></i>"
        f"</td><td>{error:.2f}</td></tr>"
        for name, error in bars
    )
    return (
        f'<table class="dc-bars"><caption>error{seeds}, {base_of(found)} = 1</caption>'
        f"<tbody>{rows}</tbody></table>"
    )


def _download(entry: Entry) -> str:
    """A link that carries the file itself, so that the server serves no path."""
    try:
        with entry.path.open("rb") as file:
            content = base64.b64encode(file.read(MOST_BYTES)).decode("ascii")
    except OSError:
        return ""
    return (
        f'<a class="dc-download" download="{safe(plain(entry.path.name, 400))}" '
        f'href="data:application/octet-stream;base64,{content}">Download</a>'
    )
