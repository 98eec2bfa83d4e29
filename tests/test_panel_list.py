"""The panel's list: what each file is for, broken ones, none, and five hundred."""

from __future__ import annotations

from pathlib import Path

from dc_solver import ratios
from dc_solver.web.panel import views
from dc_solver.web.panel.desk import Desk, Seen
from dc_solver.web.panel.shelf import Shelf
from panel_library import FOUND, chosen, table


def test_the_list_says_what_each_file_is_for_the_newest_first(library: Shelf) -> None:
    entries = library.entries()
    assert [entry.title for entry in entries] == ["broken", "cpr", "kept", "found"]
    labels = [entry.label.replace("\N{NO-BREAK SPACE}", " ") for entry in entries]
    assert labels[0].startswith("⚠ broken\nbroken: expected a safetensors")
    assert "CPR 5\N{EN DASH}10 steps · CFG 2\N{EN DASH}7 · unchecked" in labels[1]
    assert "6 steps · CFG 5 · kept at 1 · model unknown · 1 Jan 1970" in labels[2]
    assert "5 steps · CFG 3 · 0.50 of UniPC's error · UNet 01234567 · simple" in labels[3]


def test_a_broken_file_says_why_and_blocks_nothing(library: Shelf) -> None:
    shown = views.board(chosen(library, "broken", "found"), 7, 4.0)
    assert "<b>broken cannot be shown: </b>expected a safetensors" in shown
    assert table(shown)[0][2:] == ["1.000", "1.000", "1.100", "0.900", "1.300"]


def test_no_folder_and_an_empty_one_say_how_to_begin(folder: Path) -> None:
    for _ in range(2):
        changes, seen = Desk(Shelf(lambda: folder)).open(Seen(), "", 7, 4.0)
        assert "No calibrations yet" in changes["board"]["value"]
        assert "models/dc_ratios" in changes["board"]["value"]
        assert changes["files"]["choices"] == [] and seen.files == ()
        folder.mkdir(parents=True, exist_ok=True)


def test_a_page_opens_on_the_newest_readable_file(library: Shelf) -> None:
    changes, seen = Desk(library).open(Seen(), "", 7, 4.0)
    assert changes["files"]["value"] == ["cpr.safetensors"] and seen.cpr == "cpr.safetensors"
    assert changes["sliders"]["visible"] is True
    assert "4 files · 1 broken" in changes["counted"]["value"]


def test_five_hundred_files_are_listed_and_filtered(folder: Path) -> None:
    content = ratios.save(FOUND, folder / "a000.safetensors").read_bytes()
    for k in range(1, 500):
        (folder / f"a{k:03d}.safetensors").write_bytes(content)
    panel = Desk(Shelf(lambda: folder))
    changes, seen = panel.open(Seen(), "", 7, 4.0)
    assert len(changes["files"]["choices"]) == 500
    assert "500 files" in changes["counted"]["value"]
    changes = panel.filter(["a007.safetensors"], "A12 simple")
    names = [name for _, name in changes["files"]["choices"]]
    assert sorted(names) == ["a007.safetensors", *(f"a12{k}.safetensors" for k in range(10))]
    assert "10 of 500 files" in changes["counted"]["value"]
    everything = [name for _, name in panel.filter([], "")["files"]["choices"]]
    changes, seen = panel.choose(seen, everything, 7, 4.0)
    assert len(table(changes["board"]["value"])) == views.MOST_CURVES
    assert "8 of the 500 chosen files are drawn" in changes["board"]["value"]
