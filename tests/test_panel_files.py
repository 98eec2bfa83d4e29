"""What the panel does to files: renames, deletes after asking, imports; and to no others."""

from __future__ import annotations

import html
import os
from pathlib import Path

import numpy as np
import pytest
from dc_solver import ratios
from dc_solver.ratios import CPR, RatioSchedule
from dc_solver.web.panel.desk import Desk, Seen
from dc_solver.web.panel.shelf import Refused, Shelf
from panel_library import FOUND, KEPT, stamp, state


def test_a_file_is_renamed_in_its_folder(library: Shelf, folder: Path) -> None:
    before = (folder / "found.safetensors").read_bytes()
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors"], 7, 4.0)
    changes, seen = panel.ask_name(seen)
    assert changes["naming"]["visible"] and changes["name"]["value"] == "found"
    changes, seen = panel.rename(seen, "моя модель 5", "", 7, 4.0)
    assert changes["files"]["value"] == ["моя модель 5.safetensors"]
    assert (folder / "моя модель 5.safetensors").read_bytes() == before
    assert not (folder / "found.safetensors").exists() and not changes["naming"]["visible"]


@pytest.mark.parametrize("name", [
    "../x", "/tmp/x", "a/b", "a\\b", "..", "", " ", "nul", "C:x", ".hidden", "a\0b", "x" * 300,
])  # fmt: skip
def test_a_bad_name_changes_nothing(library: Shelf, folder: Path, name: str) -> None:
    before, around = state(folder), sorted(folder.parent.parent.rglob("*"))
    with pytest.raises(Refused, match="name: expected"):
        library.rename("found.safetensors", stamp(folder / "found.safetensors"), name)
    assert state(folder) == before and sorted(folder.parent.parent.rglob("*")) == around


def test_a_rename_never_replaces(
    library: Shelf, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link.safetensors").symlink_to(folder / "nowhere")
    before = state(folder)

    def no_links(*arguments: object, **options: object) -> None:
        raise OSError("this disk has no links")

    for taken in ("kept", "broken", "link"):
        for link in (os.link, no_links):
            monkeypatch.setattr(os, "link", link)
            with pytest.raises(Refused, match="already; nothing was renamed"):
                library.rename("found.safetensors", stamp(folder / "found.safetensors"), taken)
    assert state(folder) == before
    assert library.rename(
        "found.safetensors", stamp(folder / "found.safetensors"), "free"
    ) == "free.safetensors"  # fmt: skip
    assert not (folder / "found.safetensors").exists()


def test_deleting_asks_first_and_then_deletes_what_it_named(library: Shelf, folder: Path) -> None:
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors", "broken.safetensors"], 7, 4.0)
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "Choose the files to delete first" in changes["said"]["value"]
    assert len(state(folder)) == 4
    changes, seen = panel.ask_delete(seen)
    assert "Delete 2 files?" in changes["doomed"]["value"]
    assert "found.safetensors" in changes["doomed"]["value"]
    changes, after = panel.delete(seen, "", 7, 4.0)
    assert sorted(state(folder)) == ["cpr.safetensors", "kept.safetensors"]
    assert "2 files were deleted" in changes["said"]["value"] and after == Seen()


def test_a_choice_made_after_the_question_is_not_deleted(library: Shelf, folder: Path) -> None:
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors"], 7, 4.0)
    _, seen = panel.ask_delete(seen)
    _, seen = panel.choose(seen, ["found.safetensors", "cpr.safetensors"], 7, 4.0)
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "Choose the files" in changes["said"]["value"] and len(state(folder)) == 4
    _, seen = panel.ask_delete(seen)
    _, seen = panel.close(seen)
    panel.delete(seen, "", 7, 4.0)
    assert len(state(folder)) == 4


def test_only_what_the_question_named_is_deleted(library: Shelf, folder: Path) -> None:
    asked = (("found.safetensors", stamp(folder / "found.safetensors")),)
    more = (*asked, ("cpr.safetensors", stamp(folder / "cpr.safetensors")))
    Desk(library).delete(Seen(more, asked=asked), "", 7, 4.0)
    assert sorted(state(folder)) == [
        "broken.safetensors", "cpr.safetensors", "kept.safetensors"
    ]  # fmt: skip


def test_what_changed_or_went_since_it_was_shown_is_left_alone(
    library: Shelf, folder: Path
) -> None:
    panel = Desk(library)
    _, seen = panel.choose(Seen(), ["found.safetensors", "kept.safetensors"], 7, 4.0)
    _, seen = panel.ask_delete(seen)
    ratios.save(KEPT, folder / "kept.safetensors")
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "kept.safetensors has changed since it was shown" in changes["said"]["value"]
    assert len(state(folder)) == 4
    (folder / "kept.safetensors").unlink()
    changes, _ = panel.delete(seen, "", 7, 4.0)
    assert "kept.safetensors is gone" in changes["said"]["value"] and len(state(folder)) == 3
    changes, _ = panel.choose(seen, ["kept.safetensors"], 7, 4.0)
    assert "kept.safetensors: no longer there" in changes["said"]["value"]


def test_a_link_is_removed_and_what_it_points_to_stays(folder: Path, tmp_path: Path) -> None:
    outside = ratios.save(FOUND, tmp_path / "elsewhere" / "theirs.safetensors")
    folder.mkdir(parents=True)
    (folder / "link.safetensors").symlink_to(outside)
    (folder / "folder.safetensors").mkdir()
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.safetensors")
    library = Shelf(lambda: folder)
    assert [entry.name for entry in library.entries()] == ["link.safetensors"]
    seen = stamp(outside)
    assert library.rename("link.safetensors", seen, "mine") == "mine.safetensors"
    assert (folder / "mine.safetensors").is_symlink() and outside.exists()
    library.delete([("mine.safetensors", seen)])
    assert outside.exists() and not (folder / "mine.safetensors").is_symlink()


def test_the_authors_files_and_shared_ones_are_imported(folder: Path, tmp_path: Path) -> None:
    coefficients = np.zeros((4, 3, 3))
    coefficients[0, 2, 2] = 1.25
    np.save(tmp_path / "theirs.npy", coefficients)
    (tmp_path / "list.json").write_text("[1.0, 1.0, 1.1]")
    ratios.save(FOUND, tmp_path / "shared.safetensors")
    files = [(tmp_path / name, name) for name in ("theirs.npy", "list.json", "shared.safetensors")]
    changes, _ = Desk(Shelf(lambda: folder)).bring_in(Seen(), files, "7,5", 7, 4.0)
    assert changes["files"]["value"] == [
        "theirs.safetensors",
        "list.safetensors",
        "shared.safetensors",
    ]
    cpr = ratios.load(folder / "theirs.safetensors")
    assert isinstance(cpr, CPR) and cpr.predict(5, 3.0).ratios[2:] == (1.25,) * 3
    listed = ratios.load(folder / "list.safetensors")
    assert isinstance(listed, RatioSchedule) and listed.cfg == 7.5
    assert ratios.load(folder / "shared.safetensors") == FOUND
    Desk(Shelf(lambda: folder)).bring_in(Seen(), files[2:], "", 7, 4.0)
    assert len(state(folder)) == 4 and (folder / "shared_02.safetensors").exists()


@pytest.mark.parametrize(("called", "content", "why"), [
    ("x.pt", b"", "expected .npy, .json"),
    ("x.npy", b"\x80\x04\x95", "expected a numpy array file"),
    ("x.json", b'{"a": 1}', "expected a list of 1 to 1000 ratios"),
    ("x.json", b"[" * 100_000, "x.json was not imported"),
    ("x.safetensors", b"junk", "expected a safetensors file"),
    ("x.safetensors", b"\0" * (4 * 1024 * 1024 + 1), "larger than 4 MB"),
    ("nul.json", b"[1.0]", "name: expected"),
    ("..json", b"[1.0]", "expected"),
])  # fmt: skip
def test_what_is_no_calibration_is_not_imported(
    folder: Path, tmp_path: Path, called: str, content: bytes, why: str
) -> None:
    upload = tmp_path / f"upload{Path(called).suffix}"
    upload.write_bytes(content)
    changes, _ = Desk(Shelf(lambda: folder)).bring_in(Seen(), [(upload, called)], "", 7, 4.0)
    assert why in html.unescape(changes["said"]["value"])
    assert not folder.exists() or not list(folder.iterdir())


def test_an_import_that_fails_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*arguments: object, **options: object) -> None:
        raise FileExistsError("somebody was faster, again and again")

    (tmp_path / "list.json").write_text("[1.0]")
    monkeypatch.setattr(os, "link", taken)
    with pytest.raises(Refused, match=r"list\.safetensors: 10000 files have this"):
        Shelf(lambda: folder).bring_in(tmp_path / "list.json", "list.json")
    assert list(folder.iterdir()) == []


def test_a_pickle_is_not_opened(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([Path], dtype=object), allow_pickle=True)
    with pytest.raises(Refused, match="not imported"):
        Shelf(lambda: folder).bring_in(tmp_path / "x.npy", "x.npy")


def test_the_name_of_an_upload_stays_in_the_folder(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "up.json").write_text("[1.0, 1.0, 1.1]")
    for called in ("../../out.json", "..\\..\\out.json", "/etc/out.json"):
        name = Shelf(lambda: folder).bring_in(tmp_path / "up.json", called)
        assert (folder / name).is_file()
    assert sorted(state(folder)) == [
        "out.safetensors", "out_02.safetensors", "out_03.safetensors"
    ]  # fmt: skip
    assert not list(tmp_path.rglob("out*.json"))


def test_files_below_the_folder_are_renamed_where_they_are(folder: Path) -> None:
    ratios.save(FOUND, folder / "shared" / "a.safetensors")
    library = Shelf(lambda: folder)
    assert library.entries()[0].name == "shared/a.safetensors"
    name = library.rename("shared/a.safetensors", stamp(folder / "shared" / "a.safetensors"), "b")
    assert name == "shared/b.safetensors" and (folder / "shared" / "b.safetensors").is_file()
