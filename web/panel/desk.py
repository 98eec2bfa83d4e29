"""What the panel does when its parts are used, without Gradio.

Each method takes the values of the page and returns the changes to it, by the name of a part, and
the files as they were seen, which an action holds on to: what has changed since is left alone.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...ratios import CPR
from .cards import reports
from .shelf import MOST_FILES, Entry, Refused, Shelf
from .views import (
    MOST_CFG,
    MOST_STEPS,
    board,
    empty,
    fitted,
    inside,
    leading_cpr,
    note,
    slider_ends,
)
from .words import count, safe

Changes = dict[str, dict[str, Any]]
_NAMED_BEFORE_DELETING = 12


@dataclass(frozen=True)
class Seen:
    """The chosen files with their stamps, and the CPR that the sliders were last set for.

    ``asked`` are the files that an open form is about: they alone are renamed or deleted, whatever
    is chosen while it is open.
    """

    files: tuple[tuple[str, tuple[int, int]], ...] = ()
    cpr: str = ""
    asked: tuple[tuple[str, tuple[int, int]], ...] = ()

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.files]


Answer = tuple[Changes, Seen]


def _told(method: Callable[..., Answer]) -> Callable[..., Answer]:
    """What is refused is said on the page, where nothing else changes."""

    @functools.wraps(method)
    def answer(self: Desk, seen: Seen, *values: Any) -> Answer:
        try:
            return method(self, seen, *values)
        except Refused as refused:
            return {"said": {"value": note(str(refused))}}, seen

    return answer


class Desk:
    """The panel's work on one library, for any number of pages."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def open(self, seen: Seen, words: str, steps: Any, cfg: Any) -> Answer:
        """A page that was just opened: the newest file is chosen."""
        entries = self._shelf.entries()
        first = next((e.name for e in entries if e.found is not None), None)
        chosen = [first or entries[0].name] if entries and not seen.files else seen.names
        return self._page(entries, chosen, seen, words, steps, cfg)

    def refresh(self, seen: Seen, chosen: Any, words: str, steps: Any, cfg: Any) -> Answer:
        """The library as it is now."""
        return self._page(self._shelf.entries(), _names(chosen), seen, words, steps, cfg)

    def filter(self, chosen: Any, words: str) -> Changes:
        """The list alone; what is chosen in it stays, whatever has been clicked meanwhile."""
        changes = _list(self._shelf.entries(), _names(chosen), words)
        del changes["files"]["value"]
        return changes

    def choose(self, seen: Seen, chosen: Any, steps: Any, cfg: Any) -> Answer:
        """Everything but the list, for the chosen files."""
        return self._shown(self._shelf.entries(), _names(chosen), seen, steps, cfg)

    def move(self, chosen: Any, steps: Any, cfg: Any) -> str:
        """The plot and the table while a slider moves."""
        entries = _chosen(self._shelf.entries(), _names(chosen))
        return board(entries, *_setting(steps, cfg))

    def ask_files(self, seen: Seen) -> Answer:
        """Open the form for files to import."""
        return _form("adding"), seen

    @_told
    def ask_name(self, seen: Seen) -> Answer:
        """Open the form for a new name."""
        if len(seen.files) != 1:
            raise Refused("Choose the one file to rename first.")
        stem = Path(seen.names[0]).name.removesuffix(".safetensors")
        return {**_form("naming"), "name": {"value": stem}}, replace(seen, asked=seen.files)

    @_told
    def rename(self, seen: Seen, new: Any, words: str, steps: Any, cfg: Any) -> Answer:
        """Give the file that :meth:`ask_name` asked about another name."""
        if len(seen.asked) != 1:
            raise Refused("Choose the one file to rename first.")
        name = self._shelf.rename(*seen.asked[0], str(new or ""))
        told = f"{seen.asked[0][0]} is now {name}."
        return self._page(self._shelf.entries(), [name], seen, words, steps, cfg, told)

    @_told
    def ask_delete(self, seen: Seen) -> Answer:
        """Say what would be deleted, before anything is."""
        if not seen.files:
            raise Refused("Choose the files to delete first.")
        listed = "".join(f"<li>{safe(name)}</li>" for name in seen.names[:_NAMED_BEFORE_DELETING])
        left = len(seen.files) - _NAMED_BEFORE_DELETING
        more = f"<li>and {left} more</li>" if left > 0 else ""
        asked = (
            f'<div class="dc-doomed"><b>Delete {count(len(seen.files), "file")}?</b> '
            f"This cannot be undone.<ul>{listed}{more}</ul></div>"
        )
        return {**_form("deleting"), "doomed": {"value": asked}}, replace(seen, asked=seen.files)

    @_told
    def delete(self, seen: Seen, words: str, steps: Any, cfg: Any) -> Answer:
        """Delete what :meth:`ask_delete` named."""
        if not seen.asked:
            raise Refused("Choose the files to delete first.")
        gone = self._shelf.delete(seen.asked)
        told = f"{gone[0]} was deleted." if len(gone) == 1 else f"{len(gone)} files were deleted."
        return self._page(self._shelf.entries(), [], seen, words, steps, cfg, told)

    def close(self, seen: Seen) -> Answer:
        """Put the forms away."""
        return _form(), replace(seen, asked=())

    def bring_in(
        self, seen: Seen, files: Sequence[tuple[Path, str]], cfg: Any, steps: Any, at: Any
    ) -> Answer:
        """Import files and choose them; of those that cannot be, the page says why."""
        scale = _number(str(cfg or "").replace(",", "."), 0.0, MOST_CFG)
        names, refusals = [], []
        for path, called in files:
            try:
                if str(cfg or "").strip() and scale is None:
                    raise Refused(f"CFG: expected a number from 0 to {MOST_CFG:g}, got {cfg!r}.")
                names.append(self._shelf.bring_in(path, called, scale))
            except Refused as refused:
                refusals.append(str(refused))
        told = f"Imported {', '.join(names)}." if names else ""
        chosen = names or seen.names
        changes, seen = self._page(self._shelf.entries(), chosen, seen, "", steps, at, told)
        changes["words"] = {"value": ""}
        changes["said"]["value"] += "".join(note(refusal) for refusal in refusals)
        return changes, seen

    def _page(
        self, entries: list[Entry], chosen: list[str], seen: Seen, words: str, steps: Any,
        cfg: Any, told: str = "",
    ) -> Answer:  # fmt: skip
        """The whole page."""
        chosen = [entry.name for entry in _chosen(entries, chosen)]
        changes, seen = self._shown(entries, chosen, seen, steps, cfg)
        said = note(told, good=True) if told else ""
        return {**_list(entries, chosen, words), **changes, "said": {"value": said}}, seen

    def _shown(
        self, entries: list[Entry], names: list[str], seen: Seen, steps: Any, cfg: Any
    ) -> Answer:
        chosen = _chosen(entries, names)
        gone = [name for name in names if name not in {entry.name for entry in chosen}]
        said = note(f"{', '.join(gone)}: no longer there. Press Refresh.") if gone else ""
        setting = _setting(steps, cfg)
        leading = leading_cpr(chosen)
        changes: Changes = {
            **_form(),
            "said": {"value": said},
            "sliders": {"visible": leading is not None},
        }
        if leading is not None and isinstance(leading.found, CPR):
            if leading.name != seen.cpr:
                setting = inside(leading.found, *setting)
            most_steps, most_cfg = slider_ends(leading.found)
            changes["steps"] = {"value": setting[0], "maximum": most_steps}
            changes["cfg"] = {"value": setting[1], "maximum": most_cfg}
            changes["fitted"] = {"value": fitted(leading)}
        if not entries:
            shown = empty(self._shelf.place)
        elif not chosen:
            shown = '<p class="dc-hint">Choose one or more files on the left.</p>'
        else:
            shown = board(chosen, *setting)
        changes["board"] = {"value": shown}
        changes["report"] = {"value": reports(chosen)}
        name = seen.cpr if leading is None else leading.name
        return changes, Seen(tuple((e.name, e.stamp) for e in chosen), name)


def _form(shown: str = "") -> Changes:
    """One of the forms open, or none, and nothing said."""
    forms: Changes = {name: {"visible": name == shown} for name in ("adding", "naming", "deleting")}
    return {**forms, "said": {"value": ""}}


def _list(entries: list[Entry], chosen: list[str], words: str) -> Changes:
    """The files that have all of the words in their labels, and the chosen ones."""
    wanted = str(words or "").casefold().split()
    matching = [e for e in entries if all(word in e.label.casefold() for word in wanted)]
    kept = {entry.name for entry in matching} | set(chosen)
    choices = [(entry.label, entry.name) for entry in entries if entry.name in kept]
    told = count(len(entries), "file") if entries else ""
    if wanted:
        told = f"{len(matching):,} of {told}" if entries else ""
    broken = sum(entry.found is None for entry in entries)
    told += f" · {broken} broken" if broken else ""
    told += " · more are left out" if len(entries) >= MOST_FILES else ""
    return {
        "files": {"choices": choices, "value": chosen},
        "counted": {"value": f'<p class="dc-count">{safe(told)}</p>'},
    }


def _chosen(entries: list[Entry], names: list[str]) -> list[Entry]:
    """The entries of these names, in the order in which they were chosen."""
    known = {entry.name: entry for entry in entries}
    return [known[name] for name in dict.fromkeys(names) if name in known]


def _names(chosen: Any) -> list[str]:
    return [name for name in chosen if isinstance(name, str)] if isinstance(chosen, list) else []


def _setting(steps: Any, cfg: Any) -> tuple[int, float]:
    """What the sliders say, whatever a page sends."""
    return round(_number(steps, 1, MOST_STEPS) or 1), _number(cfg, 0.0, MOST_CFG) or 0.0


def _number(value: Any, low: float, high: float) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and low <= number <= high else None
