"""What ``save`` writes and replaces: ratio files alone, whole or not at all."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dc_solver.ratios import CPR, Identity, RatioFileError, RatioSchedule, Report, load, save
from dc_solver.ratios.files import save_new, save_once
from ratio_files import REGRESSION, SCHEDULE
from safetensors.numpy import save as tensors_to_bytes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_save_makes_the_folder_and_returns_the_path(tmp_path: Path) -> None:
    path = save(SCHEDULE, str(tmp_path / "a" / "b" / "c.safetensors"))
    assert path == tmp_path / "a" / "b" / "c.safetensors"
    assert load(path) == SCHEDULE
    assert names(path.parent) == ["c.safetensors"]


def test_the_same_object_gives_the_same_bytes(tmp_path: Path) -> None:
    one, two = (save(REGRESSION, tmp_path / name) for name in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()


def test_an_earlier_calibration_is_replaced(tmp_path: Path) -> None:
    path = save(SCHEDULE, tmp_path / "a.safetensors")
    save(REGRESSION, path)
    assert load(path) == REGRESSION
    assert names(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("content", [b"\0", b"a picture", tensors_to_bytes({"a": np.ones(9)})])
def test_a_foreign_file_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(RatioFileError, match="will not replace a file that is not a readable"):
        save(SCHEDULE, path)
    assert path.read_bytes() == content
    assert names(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("obj", [{"ratios": [1.0]}, [1.0, 1.0], None, "ratios"])
def test_another_object_is_not_written(tmp_path: Path, obj: Any) -> None:
    with pytest.raises(TypeError, match="save: expected a RatioSchedule or a CPR, got"):
        save(obj, tmp_path / "new" / "a.safetensors")
    assert names(tmp_path) == []


def test_numbers_of_other_makes_are_saved_as_ours(tmp_path: Path) -> None:
    found = RatioSchedule((np.float32(1.5),), cfg=np.float32(3.0))
    assert load(save(found, tmp_path / "a.safetensors")) == found


def test_what_json_has_no_word_for_is_refused_as_a_file(tmp_path: Path) -> None:
    odd = RatioSchedule((1.0,), notes=(object(),))  # type: ignore[arg-type]
    with pytest.raises(RatioFileError, match=r"^a\.safetensors: cannot be saved \(.*JSON"):
        save(odd, tmp_path / "a.safetensors")
    assert names(tmp_path) == []


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failing_disk_leaves_things_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, existing: bool
) -> None:
    path = tmp_path / "a.safetensors"
    if existing:
        save(SCHEDULE, path)
    before = path.read_bytes() if existing else b""

    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path if broken == "replace" else os, broken, refuse)
        with pytest.raises(OSError, match="No space left"):
            save(REGRESSION, path)
    assert names(tmp_path) == (["a.safetensors"] if existing else [])
    assert not existing or path.read_bytes() == before


def test_what_is_saved_can_be_loaded_or_is_not_saved(tmp_path: Path) -> None:
    """Objects at and past the limits of the format: never a file that load refuses."""
    objects = [
        RatioSchedule(ratios=(1.0,) * 1001),
        RatioSchedule(ratios=(1.0,), notes=("x" * 5000,)),
        RatioSchedule(ratios=(1.0,), identity=Identity(seeds=(-1,))),
        RatioSchedule(ratios=(1.0,), report=Report(losses=(float("inf"),))),
        RatioSchedule(ratios=(1.0,), report=Report(verdict="great")),
        CPR((0.0,) * 36, steps_range=(0, 10), cfg_range=(1.0, 7.0)),
        CPR((0.0,) * 36, steps_range=(5, 5000), cfg_range=(1.0, 7.0)),
    ]
    for number, obj in enumerate(objects):
        path = tmp_path / f"{number}.safetensors"
        try:
            save(obj, path)
        except ValueError:
            assert not path.exists()
        else:
            assert load(path) == obj


@pytest.mark.parametrize("obj", [SCHEDULE, REGRESSION])
def test_what_was_saved_before_is_found_whatever_its_reference_cost(
    tmp_path: Path, obj: Any
) -> None:
    def again(found: Any) -> Any:
        if isinstance(found, CPR):
            return replace(found, fitted=tuple(map(again, found.fitted)))
        report = found.report or Report()
        return replace(found, report=replace(report, reference_calls=7, reused_reference=True))

    def better(found: Any) -> Any:
        if isinstance(found, CPR):
            return replace(found, coefficients=(2.0, *found.coefficients[1:]))
        return replace(found, report=replace(found.report or Report(), check_points=9))

    path = tmp_path / "a.safetensors"
    path.write_bytes(b"of somebody else")
    second, there = save_once(again(obj), path)
    assert second.name == "a_02.safetensors" and not there
    assert save_once(obj, path) == (second, True) and load(second) == again(obj)
    third, _ = save_once(better(obj), path)
    assert third == tmp_path / "a_03.safetensors"
    os.utime(second, (1.0, 1.0))
    assert save_once(obj, path) == (second, True)
    assert second.stat().st_mtime >= third.stat().st_mtime, "what was saved last comes first"
    assert save_new(obj, path).name == "a_04.safetensors"
