"""What a calibration is told apart by where a pack has patched the guidance."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from dc_solver.ratios.patch_names import name_of, remembers


def rescale(multiplier: float, mode: Any = "all") -> Callable[[Any], Any]:
    """A patch as most packs write it: a closure over the node's widgets."""

    def patch(args: Any) -> Any:
        return args * multiplier if mode == "all" else args

    return patch


def bound(scale: float, mode: str) -> Callable[[Any], Any]:
    """The settings as defaults, as others write it."""

    def patch(args: Any, scale: float = scale, *, mode: str = mode) -> Any:
        return args * scale if mode == "all" else args

    return patch


class Guidance:
    def __init__(self, scale: float, layers: list[int], weights: Any = None) -> None:
        self.scale, self.layers, self.weights = scale, layers, weights

    def __call__(self, args: Any) -> Any:
        return args * self.scale

    def patched(self, args: Any) -> Any:
        return args


def counting(scale: float) -> Callable[[Any], Any]:
    calls = 0

    def patch(args: Any) -> Any:
        nonlocal calls
        calls += 1
        return args * scale

    return patch


@pytest.mark.parametrize(
    ("patch", "name"),
    [
        (rescale(0.7), "rescale all 0.7"),
        (rescale(0.7, "half"), "rescale half 0.7"),
        (partial(rescale, 0.5), "rescale 0.5"),
        (Guidance(3.0, [7, 8]), "Guidance 3 7/8"),
        (partial(Guidance(3.0, [7]), 2), "Guidance 2 3 7"),
        (Guidance(3.0, [7]).patched, "Guidance 3 7"),
        (Guidance(3.0, [7], torch.ones(3)), "Guidance 3 7"),
        (len, "len"),
        (bound(0.7, "half"), "bound 0.7 half"),
        (rescale, "rescale"),
        (rescale(0.7, ["b", "a"]), "rescale b/a 0.7"),
        (rescale(0.7, {"output", "input", "middle"}), "rescale input/middle/output 0.7"),
        (rescale(0.7, frozenset((9, 1, 2))), "rescale 1/2/9 0.7"),
    ],
)
def test_a_patch_is_named_by_where_it_comes_from_and_its_settings(patch: Any, name: str) -> None:
    assert name_of(patch) == name


def test_what_a_patch_remembers_is_not_in_its_name() -> None:
    patch = counting(2.0)
    before = name_of(patch)
    patch(1.0)
    assert name_of(patch) == before == "counting 2"


def test_a_list_that_is_filled_is_memory_and_one_that_is_read_a_setting() -> None:
    seen: list[float] = []
    layers = [7, 8]

    def make(scale: float) -> Callable[[Any], Any]:
        def patch(args: Any) -> Any:
            seen.append(args)
            return args * scale * len(layers)

        return patch

    class Guide:
        def __init__(self) -> None:
            self.layers, self.seen = [7, 8], set[float]()

        def patched(self, args: Any) -> Any:
            self.seen.add(args)
            return args * len(self.layers)

    for patch in (make(2.0), Guide().patched):
        before = name_of(patch)
        patch(1.5)
        assert name_of(patch) == before and "7/8" in before and "1.5" not in before


def test_a_default_that_is_a_list_is_memory() -> None:
    def patch(args: Any, scale: float = 2.0, calls: list[int] = [0]) -> Any:  # noqa: B006
        calls[0] += 1
        return args * scale

    before = name_of(patch)
    patch(1.0)
    assert name_of(patch) == before and before.endswith(" 2")


class Counting:
    """Counts its calls, and knows where its model lies."""

    def __init__(self, scale: float) -> None:
        self.scale, self.calls, self.file = scale, 0, "/models/guide.safetensors"

    def __call__(self, args: Any) -> Any:
        self.calls += 1
        return args * self.scale

    def patched(self, args: Any) -> Any:
        self.calls += 1
        return args


def test_nor_what_an_object_remembers_nor_where_files_lie() -> None:
    guide = Counting(2.0)
    for patch in (guide, guide.patched, partial(guide)):
        assert remembers(patch) == {"calls"}
        before = name_of(patch)
        guide(1.0)
        assert name_of(patch) == before == "Counting 2"
    assert remembers(Guidance(3.0, [7])) == set() and remembers(len) == set()


def test_a_long_setting_is_cut() -> None:
    assert len(name_of(rescale(0.7, "x" * 10_000))) < 1000


def test_a_variable_that_is_not_filled_yet_is_left_out() -> None:
    def outer() -> Callable[[Any], Any]:
        def patch(args: Any) -> Any:
            return args * later

        assert name_of(patch) == "test_a_variable_that_is_not_filled_yet_is_left_out"
        later = 2.0
        return patch

    assert name_of(outer()) == "test_a_variable_that_is_not_filled_yet_is_left_out 2"
