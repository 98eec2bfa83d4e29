"""Files from others: refused by name or of use, in bounded time and memory, and nothing else.

``tests/reliability/fuzz_files.py`` does the same for as long as one likes, guided by coverage.
"""

from __future__ import annotations

import pickle
import random
import struct
import tracemalloc
from pathlib import Path

import hostile
import pytest
from dc_solver.ratios.files import MOST_BYTES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("ending", hostile.SEEDS)
def test_good_files_serve_every_use(tmp_path: Path, ending: str) -> None:
    for content in hostile.SEEDS[ending]:
        assert hostile.outcome(content, ending, tmp_path / f"a{ending}") == "read"


@quick
@given(st.sampled_from(sorted(hostile.SEEDS)), st.randoms(use_true_random=False))
def test_bent_files_are_refused_or_of_use(tmp_path: Path, ending: str, dice: random.Random) -> None:
    content = hostile.bent(dice.choice(hostile.SEEDS[ending]), dice)
    assert hostile.outcome(content, ending, tmp_path / f"a{ending}") in ("refused", "read")


def test_two_thousand_bent_files_of_both_kinds(tmp_path: Path) -> None:
    dice = random.Random(7)
    outcomes = set()
    for _ in range(2000):
        content = hostile.bent(dice.choice(hostile.SEEDS[".safetensors"]), dice)
        outcomes.add(hostile.outcome(content, ".safetensors", tmp_path / "a.safetensors"))
    assert outcomes == {"refused", "read"}


HUGE = {
    "a header of 4 GB": struct.pack("<Q", 2**32) + b"{}",
    "a header of all bytes there are": struct.pack("<Q", 2**64 - 1) + b"{}" * 1000,
    "deep lists": struct.pack("<Q", 2**20) + b"[" * 2**20,
    "deep objects": struct.pack("<Q", 5 * 2**18) + b'{"a":' * 2**18,
    "one long number": struct.pack("<Q", 2**20) + b"9" * 2**20,
    "a tensor of 4 GB": (head := b'{"a":{"dtype":"F64","shape":[536870912],"data_offsets":[0,'
                         b'4294967296]},"__metadata__":{"dc_solver":"{}"}}')
    and struct.pack("<Q", len(head)) + head,
    "more than the limit": b"\0" * (MOST_BYTES + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_what_claims_to_be_huge_costs_little(tmp_path: Path, name: str) -> None:
    tracemalloc.start()
    try:
        assert hostile.read(HUGE[name], ".safetensors", tmp_path / "a") is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 2**20


def test_the_watch_over_the_reader_is_not_blind(tmp_path: Path) -> None:
    pickled = pickle.dumps(Path("a"))
    with pytest.raises(hostile.Trespass), hostile.watched():
        (tmp_path / "a").write_text("b")
    assert not (tmp_path / "a").exists()
    with pytest.raises(hostile.Trespass), hostile.watched():
        pickle.loads(pickled)
