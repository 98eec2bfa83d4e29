"""Files are whole or not there: whatever the disk, other processes and a kill do."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from dc_solver.ratios import RatioSchedule, library, load, save
from dc_solver.ratios.files import RatioFileError, save_new
from dc_solver.ratios.writing import move

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")

OLD, NEW = RatioSchedule(ratios=(1.0, 1.1)), RatioSchedule(ratios=(1.0,) * 200)


@pytest.fixture
def linkless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk on which files cannot have two names, such as exFAT."""

    def refuse(*args: Any, **options: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        yield


@pytest.fixture(params=["links", "no links"])
def disk(request: pytest.FixtureRequest) -> str:
    """Both kinds of disk, one after the other."""
    if request.param == "no links":
        request.getfixturevalue("linkless")
    return str(request.param)


def forked(work: Callable[[], None]) -> int:
    """Run it in a process of its own, which ends with it; its number."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child


def in_child(work: Callable[[], None]) -> int:
    """Run it in a forked process; the signal that ended it, 0 where none did."""
    _, status = os.waitpid(forked(work), 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def killed_at(line: int, work: Callable[[], None]) -> Callable[[], None]:
    """The work, killed before this line of those that write."""

    def traced() -> None:
        left = line

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if event == "line":
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        def enter(frame: FrameType, event: str, _: Any) -> Any:
            return trace if frame.f_code.co_filename.endswith("writing.py") else None

        sys.settrace(enter)
        work()

    return traced


def each_kill(tmp_path: Path, work: Callable[[Path], Any]) -> Iterator[tuple[Path, bool]]:
    """The folder of a file OLD after ``work`` on it was killed before its first line, its second,
    and so on; and whether it came to its end, which is the last."""
    for line in range(1, 1000):
        path = save(OLD, tmp_path / str(line) / "a.safetensors")
        whole = in_child(killed_at(line, partial(work, path))) == 0
        yield path.parent, whole
        if whole:
            assert line > 10
            return
    raise AssertionError("it never ended")


def readable(folder: Path) -> dict[str, Any]:
    """What the visible files of a folder hold; each must be readable."""
    return {p.name: load(p) for p in sorted(folder.iterdir()) if not p.name.startswith(".")}


def test_a_kill_at_any_line_of_a_save_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    seen = []
    for folder, _ in each_kill(tmp_path, lambda path: save(NEW, path)):
        there = readable(folder)
        assert there in ({"a.safetensors": OLD}, {"a.safetensors": NEW})
        seen.append(there["a.safetensors"])
    assert seen[0] == OLD and seen[-1] == NEW
    assert seen == sorted(seen, key=lambda found: found.steps)


def test_a_kill_at_any_line_of_a_new_save_leaves_what_there_was(tmp_path: Path) -> None:
    for folder, whole in each_kill(tmp_path, lambda path: save_new(NEW, path)):
        there = readable(folder)
        assert there.pop("a.safetensors") == OLD
        assert there in ({}, {"a_02.safetensors": NEW})
        assert there or not whole


def test_a_kill_where_there_are_no_links_costs_no_file(tmp_path: Path, linkless: None) -> None:
    """The name that was being taken may be left empty, as a file that says so when it is read."""
    for folder, whole in each_kill(tmp_path, lambda path: save_new(NEW, path)):
        assert load(folder / "a.safetensors") == OLD
        beside = list(folder.glob("a_*"))
        assert all(p.stat().st_size == 0 or load(p) == NEW for p in beside)
        assert not whole or [load(p) for p in beside] == [NEW]


def test_processes_that_save_at_once_overwrite_nothing(tmp_path: Path, disk: str) -> None:
    processes, files = 4, 25

    def work(process: int) -> None:
        for k in range(files):
            one = RatioSchedule(ratios=(1.0, 1.0 + process, 1.0 + k))
            save_new(one, tmp_path / "same.safetensors")

    children = [forked(partial(work, process)) for process in range(processes)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * processes
    there = readable(tmp_path)
    assert len(there) == processes * files
    assert {found.ratios[1:] for found in there.values()} == {
        (1.0 + process, 1.0 + k) for process in range(processes) for k in range(files)
    }


def test_a_reader_beside_a_writer_sees_the_old_or_the_new(tmp_path: Path) -> None:
    path = save(OLD, tmp_path / "a.safetensors")

    def work() -> None:
        for k in itertools.count():
            save(NEW if k % 2 else OLD, path)

    writer, deadline = forked(work), time.monotonic() + 60.0
    seen: list[Any] = []
    try:
        while len(seen) < 300 or (len(set(map(repr, seen))) < 2 and time.monotonic() < deadline):
            seen.append(load(path))
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert all(found in (OLD, NEW) for found in seen)
    assert OLD in seen and NEW in seen


def test_a_disk_that_is_full_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = save(OLD, tmp_path / "a.safetensors")
    resource = pytest.importorskip("resource")

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        for attempt in (save, save_new):
            with pytest.raises(OSError, match="too large"):
                attempt(NEW, path)

    assert in_child(work) == 0
    assert list(tmp_path.iterdir()) == [path] and load(path) == OLD


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="needs another user")
def test_a_folder_that_may_not_be_written_is_told() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = save(OLD, folder / "a.safetensors")

        def work() -> None:
            os.setuid(65534)
            assert load(path) == OLD
            for attempt in (save, save_new):
                with pytest.raises(PermissionError):
                    attempt(NEW, path)

        assert in_child(work) == 0
        assert list(folder.iterdir()) == [path] and load(path) == OLD


def test_what_a_kill_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    left, fresh = tmp_path / ".writing-old.tmp", tmp_path / ".writing-new.tmp"
    for path in (left, fresh):
        path.write_bytes(b"half a file")
    hours_ago = time.time() - 7200
    os.utime(left, (hours_ago, hours_ago))
    save(OLD, tmp_path / "a.safetensors")
    assert not left.exists() and fresh.exists()


def test_a_name_that_is_taken_is_not_taken_over(tmp_path: Path, disk: str) -> None:
    old, new = save(OLD, tmp_path / "a.safetensors"), save(NEW, tmp_path / "b.safetensors")
    with pytest.raises(FileExistsError):
        move(old, new)
    assert (load(old), load(new)) == (OLD, NEW)
    move(old, tmp_path / "c.safetensors")
    assert readable(tmp_path) == {"b.safetensors": NEW, "c.safetensors": OLD}


def test_a_taken_name_gets_a_number_whatever_has_it(tmp_path: Path) -> None:
    target = tmp_path / "one.safetensors"
    target.mkdir()
    (tmp_path / "one_02.safetensors").symlink_to(tmp_path / "nowhere")
    assert save_new(OLD, target).name == "one_03.safetensors"
    assert save_new(NEW, target).name == "one_04.safetensors"
    with pytest.raises(RatioFileError, match="cannot be saved"):
        save_new(RatioSchedule(ratios=(1.0,), notes=("x" * 5000,)), target)


def test_kills_at_random_moments(tmp_path: Path) -> None:
    """A process that saves without end, killed: ``DC_SOLVER_KILLS`` times, 20 by default."""
    path = save(OLD, tmp_path / "a.safetensors")
    dice = random.Random(0)

    def work() -> None:
        while True:
            save(NEW, path)
            save_new(OLD, path)
            save(OLD, path)

    for _ in range(int(os.environ.get("DC_SOLVER_KILLS", "20"))):
        writer = forked(work)
        time.sleep(dice.uniform(0.0, 0.03))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert all(found in (OLD, NEW) for found in readable(tmp_path).values())
        for beside in tmp_path.glob("a_*"):
            beside.unlink()


def test_on_a_disk_that_does_not_tell_cases_apart_nothing_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: a name is taken there if it is taken in other letters."""
    link, lexists = os.link, os.path.lexists

    def taken(path: Any) -> bool:
        name = Path(path).name.casefold()
        return any(entry.name.casefold() == name for entry in Path(path).parent.iterdir())

    def insensitive(old: Any, new: Any, **options: Any) -> None:
        if taken(new):
            raise FileExistsError(17, "File exists")
        link(old, new, **options)

    old = save(OLD, tmp_path / "Model.safetensors")
    monkeypatch.setattr(os, "link", insensitive)
    for blind in (False, True):  # the second time only the link finds out
        monkeypatch.setattr(os.path, "lexists", lexists if blind else taken)
        assert save_new(NEW, tmp_path / "model.safetensors") != tmp_path / "model.safetensors"
    assert readable(tmp_path) == {
        "Model.safetensors": OLD, "model_02.safetensors": NEW, "model_03.safetensors": NEW
    }  # fmt: skip
    assert load(old) == OLD


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a file written by somebody in place is broken now and read once it is whole."""
    path = save(OLD, tmp_path / "a.safetensors")
    whole = save(NEW, tmp_path / "b.safetensors").read_bytes()
    shelf = library.Library()
    real = library.load

    def slow(source: Path) -> Any:
        found = real(source)
        path.write_bytes(whole[: len(whole) // 2])  # while the first is still being looked at
        return found

    with monkeypatch.context() as patch:
        patch.setattr(library, "load", slow)
        assert shelf.load(path) == OLD
    with pytest.raises(RatioFileError, match=r"a\.safetensors: expected"):
        shelf.load(path)
    path.write_bytes(whole)
    assert shelf.load(path) == NEW


def test_a_broken_file_is_listed_with_its_reason_and_left_alone(tmp_path: Path) -> None:
    save(OLD, tmp_path / "good.safetensors")
    for name, content in (("empty", b""), ("picture", b"\x89PNG"), ("torn", b"\xff" * 100)):
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found, broken = library.Library().entries([(p.name, p) for p in tmp_path.iterdir()])
    assert [name for name, _ in found] == ["good.safetensors"]
    assert sorted(broken) == ["empty.safetensors", "picture.safetensors", "torn.safetensors"]
    assert all("expected" in why for why in broken.values())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupt_while_a_file_is_renamed_costs_no_file(
    tmp_path: Path, disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the new name is taken, and right after."""
    holder, name = (os, "link") if disk == "links" else (Path, "replace")
    real = getattr(holder, name)
    for after in (False, True):
        old = save(OLD, tmp_path / f"{after}.safetensors")

        def interrupted(*args: Any, after: bool = after, **options: Any) -> None:
            if after:
                real(*args, **options)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(holder, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                move(old, tmp_path / f"{after}_new.safetensors")
        assert OLD in readable(tmp_path).values()
        for path in tmp_path.iterdir():
            path.unlink()


def test_a_file_that_cannot_leave_its_name_keeps_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a virus scanner holds it; a new file is there all the same."""
    old, unlink = save(OLD, tmp_path / "a.safetensors"), Path.unlink

    def held(path: Path, **options: Any) -> None:
        if path == old or path.suffix == ".tmp":
            raise PermissionError(13, "held")
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", held)
        with pytest.raises(PermissionError):
            move(old, tmp_path / "b.safetensors")
        assert save_new(NEW, tmp_path / "c.safetensors").name == "c.safetensors"
    assert readable(tmp_path) == {"a.safetensors": OLD, "c.safetensors": NEW}


def test_an_empty_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.touch()
    assert load(save(OLD, path)) == OLD
