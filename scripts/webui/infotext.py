"""The keys that DC-Solver writes into an image's infotext, and how they paste back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...ratios import settings_of, solver_settings_of
from ...ratios.lookup import Choice
from ...ratios.schedule import PRIOR
from ...solvers import Langevin, RunReport, Tolerance, get_solver
from . import library
from .asked import AUTOMATIC, TYPED, Asked, asked_in
from .typed import (
    AT_WILL,
    CORRECTOR,
    LOWER_ORDER,
    parse_typed,
    write_file,
    write_pass,
    write_passes,
)

RATIOS, SOURCE, CALLS = "DC ratios", "DC file", "DC calls"
#: What fills which field of the accordion, in the order in which :func:`asked_in` takes them.
FIELDS = {
    "order": "DC order",
    "k": "DC K",
    "variant": "DC variant",
    "lower_order": "DC lower order",
    "more": "DC more",
    "solver": "DC solver",
    "corrector": "DC corrector",
    "langevin_steps": "DC Langevin steps",
    "langevin_snr": "DC Langevin strength",
    "rtol": "DC rtol",
    "atol": "DC atol",
    "max_calls": "DC max calls",
    "threshold": "DC threshold",
}
_DEFAULTS: dict[str, Any] = dict(zip(FIELDS.values(), (
    2, 2, "bh2", "automatic", "", "dc_solver", "automatic",
    0, Langevin.snr, Tolerance.rtol, Tolerance.atol, Tolerance.max_calls, 0.0,
)))  # fmt: skip


def note_run(p: Any, choice: Choice, asked: Asked) -> None:
    """Write what runs into the infotext, so that pasted back it makes the same image.

    The ratios stand there as numbers: nobody needs the file.  Learned steps do not, but as their
    quality and the name of their file, without which no such image can be made again.  Settings are
    written where they are not the pack's defaults, and beside the ratios of hires fix where they
    are not the image's.
    """
    notes = p.extra_generation_params
    hires = bool(getattr(p, "is_hr_pass", False))
    if not hires:
        forget(p)
    used = solver_settings_of(settings_of(asked if choice.ratios is None else choice.ratios))
    first = _of_solver(used) if not hires or RATIOS not in notes else {}
    written = {**first, **_of_run(asked)}
    notes |= {key: value for key, value in written.items() if value != _DEFAULTS[key]}
    ratios = () if choice.ratios is None or not choice.ratios.active else choice.ratios.ratios
    there, idle = _written(notes).settings, _idle(used, ratios)
    own = {key: value for key, value in used.items() if value != there[key] and key not in idle}
    now = write_pass(ratios, own)
    source = choice.source
    if choice.ratios is not None and choice.ratios.learned is not None:
        now, source = write_file(choice.ratios.quality, choice.source or ""), None
    elif choice.ratios is not None and choice.ratios.origin == PRIOR:
        source = PRIOR
    notes[RATIOS] = write_passes(notes.get(RATIOS, ""), now, hires)
    before = notes.get(SOURCE)
    if hires and source != before:
        notes[SOURCE] = write_passes(before or "", source or AT_WILL, hires)
    elif source is not None:
        notes[SOURCE] = source


def note_report(p: Any, report: RunReport) -> None:
    """Write how many model calls an adaptive run took."""
    notes = p.extra_generation_params
    hires = bool(getattr(p, "is_hr_pass", False))
    notes[CALLS] = write_passes(str(notes.get(CALLS, "")), str(report.calls), hires)


def forget(p: Any) -> None:
    """Take our keys out of an infotext: the cells of an X/Y/Z plot share theirs."""
    for key in (RATIOS, SOURCE, CALLS, *_DEFAULTS):
        p.extra_generation_params.pop(key, None)


def _written(notes: Mapping[str, Any]) -> Asked:
    """What the fields would ask for with these notes in them."""
    return asked_in(TYPED, "", *(notes.get(key, _DEFAULTS[key]) for key in FIELDS.values()))


def _idle(used: Mapping[str, Any], ratios: Sequence[float]) -> set[str]:
    """The settings that do nothing: of ratios without any, those that the solver decides."""
    decided = {"order", "variant"} if get_solver(used["solver"]).order is not None else set()
    return decided | (set() if ratios else {"dc_order", "variable"})


def _of_solver(used: Mapping[str, Any]) -> dict[str, Any]:
    more = [] if used["first_corrector"] else ["no first corrector"]
    if used["variable"] != "t":
        more.append(used["variable"])
    decided = get_solver(used["solver"]).order is not None
    return {
        "DC order": _DEFAULTS["DC order"] if decided else used["order"],
        "DC K": used["dc_order"],
        "DC variant": used["variant"],
        "DC lower order": _name_in(LOWER_ORDER, used["lower_order"]),
        "DC more": ", ".join(more),
        "DC solver": used["solver"],
        "DC corrector": _name_in(CORRECTOR, used["corrector"]),
    }


def _of_run(asked: Asked) -> dict[str, Any]:
    """Of what acts alone: noise where there are Langevin steps, errors where they are asked for."""
    written: dict[str, Any] = {"DC threshold": asked.threshold or 0.0}
    if asked.langevin_steps:
        written["DC Langevin steps"] = asked.langevin_steps
        written["DC Langevin strength"] = asked.langevin_snr
    if get_solver(asked.solver).kind == "adaptive":
        written |= {"DC rtol": asked.rtol, "DC atol": asked.atol, "DC max calls": asked.max_calls}
    return written


def _name_in(names: Mapping[str, Any], value: Any) -> str:
    return next(name for name, known in names.items() if known == value)


def pasted_choice(infotext: Mapping[str, Any]) -> Any:
    """What the dropdown shows for a pasted image; None leaves it as it is.

    That is the file of learned steps where the library has it, and there is no other pass.
    """
    if RATIOS in infotext:
        return _file_in(str(infotext[RATIOS])) or TYPED
    return AUTOMATIC if infotext.get("Sampler") == "DC-Solver" else None


def _file_in(text: str) -> str | None:
    try:
        passes = parse_typed(text)
    except ValueError:
        return None
    file = passes[0].file if len(passes) == 1 and passes[0] is not None else None
    return file if file in library.names() else None


def pasted(key: str) -> Callable[[Mapping[str, Any]], Any]:
    """What another field shows: the image's value, the default where an image has none."""

    def value(infotext: Mapping[str, Any]) -> Any:
        if RATIOS not in infotext:
            return None
        return infotext.get(key, _DEFAULTS.get(key, ""))

    return value
