"""The authors' files: what they write is read, anything else refused and never run."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dc_solver.ratios import CPR, RatioFileError, RatioSchedule, import_official


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npy_header(header: str, data: bytes = b"\0" * 288) -> bytes:
    raw = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data


def test_import_of_a_regression(tmp_path: Path) -> None:
    values = np.linspace(-1.0, 1.0, 36).reshape(4, 3, 3)
    for shaped in (values, values.ravel(), values.astype(np.float32), values.reshape(4, 9)):
        path = tmp_path / "a.npy"
        path.write_bytes(npy(shaped))
        got = import_official(path, fingerprint="abc", steps_range=(4, 12), cfg_range=(2.0, 8.0))
        assert isinstance(got, CPR)
        assert got.coefficients == tuple(shaped.astype(np.float64).ravel().tolist())
        assert (got.steps_range, got.cfg_range) == ((4, 12), (2.0, 8.0))
        assert got.identity.fingerprint == "abc"


def test_import_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.JSON"
    path.write_text("[1, 1.0, 1.25, 0.75]")
    got = import_official(path, cfg=7.5)
    assert isinstance(got, RatioSchedule)
    assert got.ratios == (1.0, 1.0, 1.25, 0.75)
    assert (got.origin, got.cfg, got.sigmas) == ("imported", 7.5, None)
    assert (got.order, got.variant, got.dc_order, got.variable) == (2, "bh2", 2, "t")
    assert (got.lower_order, got.first_corrector) == ("final", False)


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = np.empty(36, dtype=object)
    trap[:] = [Trap(sprung)] * 36
    for content in (npy(trap), pickle.dumps(Trap(sprung))):
        path = tmp_path / "a.npy"
        path.write_bytes(content)
        with pytest.raises(RatioFileError, match=r"a\.npy"):
            import_official(path)
        assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()  # the trap does work


def zipped() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(36))
    return buffer.getvalue()


BAD_OFFICIAL = {
    "empty.npy": b"",
    "text.npy": b"not an array at all",
    "count.npy": npy(np.ones(35)),
    "nan.npy": npy(np.full(36, np.nan)),
    "text_array.npy": npy(np.array(["a"] * 36)),
    "bool.npy": npy(np.ones(36, dtype=bool)),
    "complex.npy": npy(np.ones(36, dtype=complex)),
    "zip.npy": zipped(),
    "cut.npy": npy(np.ones(36))[:-8],
    "claim.npy": npy_header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }"
    ),
    "nested.npy": npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': " + "(" * 3000),
    "huge.npy": npy(np.ones(200_000)),
    "empty.json": b"",
    "object.json": b"{}",
    "none.json": b"[]",
    "text.json": b'["1"]',
    "bool.json": b"[true]",
    "nested.json": b"[[1.0]]",
    "nan.json": b"[NaN]",
    "infinite.json": b"[1e999]",
    "digits.json": b"[1" + b"0" * 400 + b"]",
    "more_digits.json": b"[1" + b"0" * 5000 + b"]",
    "deep.json": b"[" * 100_000,
    "many.json": json.dumps([1.0] * 1001).encode(),
    "bytes.json": b"\xff\xfe\xfd",
    "other.txt": b"[1.0]",
    "noending": b"[1.0]",
}


@pytest.mark.parametrize("name", BAD_OFFICIAL)
def test_what_the_authors_would_not_write_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD_OFFICIAL[name])
    with pytest.raises(RatioFileError, match=name.replace(".", r"\.")):
        import_official(path)
