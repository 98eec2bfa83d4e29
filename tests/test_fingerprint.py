"""The fingerprint: the same for every copy of a checkpoint, another for another training."""

from __future__ import annotations

import pytest
import torch
from dc_solver.demo import emoji
from dc_solver.ratios.fingerprint import fingerprint, sample_hash

WEIGHTS = {name: w.detach() for name, w in emoji.load("eps").network.named_parameters()}


def cast(*dtypes: torch.dtype) -> dict[str, torch.Tensor]:
    found = WEIGHTS
    for dtype in dtypes:
        found = {name: w.to(dtype) for name, w in found.items()}
    return found


@pytest.mark.parametrize(
    "dtypes",
    [
        (torch.float16,), (torch.bfloat16,), (torch.float16, torch.float32), (torch.float64,),
        (torch.bfloat16, torch.float32), (torch.float8_e4m3fn,), (torch.float8_e5m2,),
        (torch.float16, torch.float8_e4m3fn, torch.float16),
    ],
    ids=str,
)  # fmt: skip
def test_copies_in_any_precision_share_it(dtypes: tuple[torch.dtype, ...]) -> None:
    assert fingerprint(cast(*dtypes)) == fingerprint(WEIGHTS)


def test_it_does_not_depend_on_order_or_memory_layout() -> None:
    turned = {name: w.mT.contiguous().mT if w.ndim == 2 else w for name, w in WEIGHTS.items()}
    assert any(not w.is_contiguous() for w in turned.values())
    assert fingerprint(dict(reversed(turned.items()))) == fingerprint(WEIGHTS)


def test_another_model_and_a_little_more_training_change_it() -> None:
    flow = dict(emoji.load("flow").network.named_parameters())
    generator = torch.Generator().manual_seed(0)
    trained = {
        name: w + 1e-3 * w.std() * torch.randn(w.shape, generator=generator) if w.ndim > 1 else w
        for name, w in WEIGHTS.items()
    }
    renamed = {f"other.{name}": w for name, w in WEIGHTS.items()}
    prints = {fingerprint(ws) for ws in (WEIGHTS, flow, trained, renamed)}
    assert len(prints) == 4 and None not in prints


def test_packed_weights_are_passed_over() -> None:
    packed = {name: w.view(torch.uint8) for name, w in WEIGHTS.items() if w.ndim > 1}
    vectors = {name: w for name, w in WEIGHTS.items() if w.ndim == 1}
    assert fingerprint({**packed, **vectors}) is None
    name = next(name for name, w in WEIGHTS.items() if w.ndim > 1)
    some = fingerprint({**packed, name: WEIGHTS[name]})
    assert some is not None and some != fingerprint(WEIGHTS)


def test_few_values_are_read_whatever_the_size() -> None:
    read = []

    class Watched(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = super().__torch_function__(func, types, args, kwargs or {})
            if func is torch.Tensor.to:
                read.append(result.numel())
            return result

    big = {f"w{k:02d}": torch.ones(64, 4096).as_subclass(Watched) for k in range(40)}
    fingerprint(big)
    assert sum(read) == 16 * 4096


def test_patches_have_a_hash_of_strengths_and_values() -> None:
    a, b = torch.randn(4, 4), torch.randn(4, 4)
    assert sample_hash(["k", 1.0, a]) == sample_hash(["k", 1.0, a.half().float()])
    assert len({sample_hash(p) for p in (["k", 1.0, a], ["k", 0.5, a], ["k", 1.0, b])}) == 3
