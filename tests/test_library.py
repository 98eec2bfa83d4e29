"""Names in the library stay inside its folder, and what is in it is read by several threads."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dc_solver.ratios import RatioSchedule, save
from dc_solver.ratios.library import Library, files_below, path_in, usable_name, visible
from hypothesis import given
from hypothesis import strategies as st

BAD = ("", "  ", ".", "..", "../x", "a/b", "a\\b", "/etc/passwd", "C:x", "nul", "NUL.x", "com1",
       "a\0b", "a\nb", ".hidden", "x" * 200, "a*", "a?", "\ud800", "\xa0", ".\u3000.")  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name: expected"):
        path_in(tmp_path, name)


@pytest.mark.parametrize("name", ["my model", "mój-model_2", "模型", "a.b", "sdxl.safetensors"])
def test_good_names_in_any_script(name: str, tmp_path: Path) -> None:
    path = path_in(tmp_path, name)
    assert path.parent == tmp_path and path.name.endswith(".safetensors")
    assert path.name.count(".safetensors") == 1


@given(st.text(alphabet=st.characters() | st.sampled_from(". \xa0\u3000con/"), max_size=200))
def test_what_is_made_of_any_name_is_one(name: str) -> None:
    for text in (name, f"{name}\ud800", f".{name}con"):
        assert path_in(Path("/library"), usable_name(text)).parent == Path("/library")


@given(st.text(max_size=60))
def test_no_name_leaves_the_folder(name: str) -> None:
    folder = Path("/library")
    try:
        path = path_in(folder, name)
    except ValueError:
        return
    assert path.parent == folder and path.resolve().parent == folder.resolve()


def test_what_is_below_a_folder(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "library", tmp_path / "elsewhere"
    names = ("b", "a", "sub/c", ".bin/gone", "sub/.d")
    for path in (*(root / f"{name}.safetensors" for name in names), elsewhere / "e.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (root / "notes.txt").write_bytes(b"")
    (root / "folder.safetensors").mkdir()
    (root / "shared").symlink_to(elsewhere)
    (root / "sub" / "loop").symlink_to(root)
    (elsewhere / "back").symlink_to(root / "sub")
    (root / "nowhere.safetensors").symlink_to(root / "missing")
    (root / "one.safetensors").symlink_to(elsewhere / "e.safetensors")
    found = [path.relative_to(root).as_posix() for path in files_below(root)]
    assert found == [f"{name}.safetensors" for name in
                     ("a", "b", "one", "shared/back/c", "shared/e", "sub/c")]  # fmt: skip
    assert not list(files_below(tmp_path / "missing"))
    assert [name for name in ("a", "a/b", "a\\b") if not visible(name)] == []
    assert [name for name in (".a", ".a/b", "a/.b", "a\\.b") if visible(name)] == []


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("my model", "my model"),
        ("a.safetensors", "a"),
        ("../out", "_out"),
        ("a/b\\c", "a_b_c"),
        ("..", "calibration"),
        ("  ", "calibration"),
        ("con.txt", "_con.txt"),
        ("con." + "a" * 116, "_con." + "a" * 115),
        ("con" + " " * 130 + "b", "_con"),
        ("\u00e9" * 200, "\u00e9" * 60),
    ],
)
def test_any_name_becomes_one_that_a_file_can_have(tmp_path: Path, name: str, file: str) -> None:
    assert usable_name(name) == file
    assert path_in(tmp_path, usable_name(name)).parent == tmp_path


def test_several_threads_read_one_library(tmp_path: Path) -> None:
    """Each lists other files, so that what one has read is gone for the next."""
    names = [f"{k}.safetensors" for k in range(6)]
    for k, name in enumerate(names):
        save(RatioSchedule((1.0, 1.0, 1.0 + k / 10)), tmp_path / name)
    shelf = Library()

    def lists(first: int) -> None:
        for k in range(60):
            some = [(name, tmp_path / name) for name in names[(first + k) % 6 :]]
            found, broken = shelf.entries(some)
            assert {name for name, _ in found} == {name for name, _ in some} and not broken

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lists, range(4)))
    finally:
        sys.setswitchinterval(before)
