"""Bytes that are no ratio file: garbage, flips, cuts and other formats are refused."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from dc_solver.ratios import CPR, RatioFileError, RatioSchedule, load
from dc_solver.ratios.files import MOST_BYTES
from dc_solver.ratios.records import to_record
from hypothesis import given
from hypothesis import strategies as st
from ratio_files import LEARNED, REGRESSION, SCHEDULE, put, quick, rebuilt
from safetensors.numpy import save as tensors_to_bytes


@quick
@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_is_raised(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "garbage.safetensors"
    path.write_bytes(content)
    with pytest.raises(RatioFileError, match=r"garbage\.safetensors"):
        load(path)


GOOD = {
    name: tensors_to_bytes(arrays, metadata={"dc_solver": json.dumps(record)})
    for name, (record, arrays) in (
        ("ratios", to_record(SCHEDULE)),
        ("learned", to_record(LEARNED)),
        ("cpr", to_record(REGRESSION)),
    )
}


@quick
@given(
    st.sampled_from(sorted(GOOD)),
    st.floats(0.0, 1.0, exclude_max=True),
    st.integers(1, 255),
)
def test_a_flipped_byte_is_read_or_refused(
    tmp_path: Path, kind: str, place: float, flip: int
) -> None:
    """No byte leads to any other error, nor to an object that is not whole."""
    content = bytearray(GOOD[kind])
    content[int(place * len(content))] ^= flip
    path = tmp_path / "flipped.safetensors"
    path.write_bytes(content)
    try:
        back = load(path)
    except RatioFileError as error:
        assert "flipped.safetensors" in str(error)
    else:
        assert isinstance(back, (RatioSchedule, CPR))


def framed(header: str, data: bytes = b"") -> bytes:
    raw = header.encode()
    return struct.pack("<Q", len(raw)) + raw + data


def double_key_header() -> bytes:
    good = rebuilt(SCHEDULE)
    (length,) = struct.unpack("<Q", good[:8])
    header = good[8 : 8 + length].decode().rstrip()
    return framed('{"__metadata__":{"dc_solver":"{}"},' + header[1:], good[8 + length :])


BAD_BYTES = {
    "empty": (b"", "fewer than 8 bytes"),
    "short": (b"1234567", "fewer than 8 bytes"),
    "text": (b"this is a text file, long enough to be one", "claim of"),
    "oversized claim": (struct.pack("<Q", 2**63) + b"{}", f"claim of {2**63} bytes"),
    "claim past the end": (struct.pack("<Q", 100) + b"{}", "claim of 100 bytes"),
    "not JSON": (framed("{x}"), "header: expected JSON"),
    "not an object": (framed("[]"), "header: expected a JSON object"),
    "deep": (framed("[" * 100_000), "header: expected JSON"),
    "no metadata": (tensors_to_bytes({"a": np.ones(2)}), "those of another kind"),
    "other metadata": (
        rebuilt(SCHEDULE, metadata={"format": "pt"}),
        "those of another kind",
    ),
    "more metadata": (
        rebuilt(SCHEDULE, metadata={"dc_solver": "{}", "other": "x"}),
        "those of another kind",
    ),
    "metadata not JSON": (rebuilt(SCHEDULE, metadata={"dc_solver": "{"}), "metadata: expected"),
    "metadata a list": (rebuilt(SCHEDULE, metadata={"dc_solver": "[]"}), "metadata: expected"),
    "NaN in the metadata": (
        rebuilt(SCHEDULE, put("cfg", value=float("nan"))),
        "metadata: NaN is no number",
    ),
    "infinity in the metadata": (
        rebuilt(SCHEDULE, put("cfg", value=float("-inf"))),
        "metadata: -Infinity is no number",
    ),
    "overflow in the metadata": (
        rebuilt(
            SCHEDULE,
            put("cfg", value=-77.5),
            dump=lambda r: json.dumps(r).replace("-77.5", "1e999"),
        ),
        "cfg: expected a finite number",
    ),
    "a key twice in the metadata": (
        rebuilt(SCHEDULE, dump=lambda r: json.dumps(r).replace("{", '{"cfg": 1.0, ', 1)),
        "metadata: a key stands twice",
    ),
    "a key twice in the header": (double_key_header(), "header: a key stands twice"),
    "truncated": (rebuilt(SCHEDULE)[:-8], "expected a safetensors file"),
    "trailing bytes": (rebuilt(SCHEDULE) + b"\0" * 8, "expected a safetensors file"),
    "too large": (rebuilt(SCHEDULE) + b"\0" * MOST_BYTES, f"at most {MOST_BYTES} bytes"),
    "pickle": (pickle.dumps(SCHEDULE.ratios), "expected a safetensors"),
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_what_is_no_ratio_file_is_refused(tmp_path: Path, name: str) -> None:
    content, message = BAD_BYTES[name]
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(RatioFileError, match=message):
        load(path)
    assert path.read_bytes() == content


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = rebuilt(REGRESSION)
    path = tmp_path / "cut.safetensors"
    for length in [*range(0, 24), *range(24, len(content), 37)]:
        path.write_bytes(content[:length])
        with pytest.raises(RatioFileError):
            load(path)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.safetensors")
