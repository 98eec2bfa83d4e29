"""Files from others: how they are bent, and all that is done with one that can be read."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dc_solver.ratios import CPR, Identity, RatioSchedule, Report, import_official, settings_of
from dc_solver.ratios.chosen import fitted, record, told
from dc_solver.ratios.files import RatioFileError, parse
from dc_solver.ratios.lookup import Choice, Run, choose
from dc_solver.ratios.records import RecordError, to_record
from dc_solver.ratios.text import describe
from dc_solver.ratios.warp import Warp, warped
from dc_solver.solvers import FlowSchedule, LearnedSteps, sample
from dc_solver.solvers.grid import falls_strictly
from safetensors.numpy import save as tensors_to_bytes

FLOW = FlowSchedule()
_MANY = 40


def grid_of(name: str, steps: int) -> tuple[float, ...] | None:
    """The schedule ``simple`` of a flow model."""
    if name != "simple" or not 1 <= steps <= 1000:
        return None
    return tuple(1.0 - k / steps for k in range(steps + 1))


def _samples() -> dict[str, RatioSchedule | CPR]:
    def one(steps: int, cfg: float, **changes: Any) -> RatioSchedule:
        report = Report(
            losses=(0.1,) * steps, losses_plain=(0.2,) * steps, search_calls=11,
            reference_calls=280, check_calls=15, points=10, check_points=3,
            errors=(0.1, 0.2, 0.3), errors_plain=(0.2, 0.2, 0.4), errors_dpmpp_2m=(0.3,) * 3,
            found=(1.0,) * steps, verdict="better", search_gain=0.8, check_work=33,
        )  # fmt: skip
        values = {
            "ratios": (1.0, 1.0, *(1.0 + 0.02 * cfg * k for k in range(1, steps - 1))),
            "sigmas": grid_of("simple", steps), "cfg": cfg, "report": report, "notes": ("a note",),
            "identity": Identity(fingerprint="m", prediction="flow", scheduler="simple",
                                 latent_shape=(4, 8, 8), seeds=(1, 2, 3)),
        }  # fmt: skip
        return RatioSchedule(**{**values, **changes})

    learned = LearnedSteps(
        (1.0, 0.7, 0.4, 0.1, 0.0), (1.0, 0.69, 0.41, 0.1),
        ((0.0,) * 4, (0.25, -0.25, 0.0, 0.0), (0.1, 0.2, -0.3, 0.0), (0.0, 0.5, 0.5, -1.0)),
    )  # fmt: skip
    cells = tuple(one(steps, cfg) for steps in (5, 8) for cfg in (3.0, 7.0))

    def moved(found: RatioSchedule) -> RatioSchedule:
        own = warped(found.sigmas or (), FLOW, Warp(1.2, 0.9))
        assert own is not None
        return replace(found, learned=LearnedSteps(own), warp=Warp(1.2, 0.9), quality="schedule")

    of_steps = tuple(map(moved, cells))
    return {
        "ratios": one(5, 3.0),
        "learned": one(4, 3.0, learned=learned, quality="full"),
        "cpr": CPR(
            coefficients=(*(0.1 * (-1) ** k for k in range(35)), 1.0),
            steps_range=(5, 8), cfg_range=(3.0, 7.0), ratio_range=(0.5, 2.0),
            identity=cells[0].identity, fitted=cells,
        ),
        "warps": CPR(
            coefficients=(0.0,) * 35 + (1.0,), steps_range=(5, 8), cfg_range=(3.0, 7.0),
            identity=cells[0].identity, fitted=of_steps, warp=(0.1, 0.0, 0.2, -0.1, 0.1, 0.0),
        ),
    }  # fmt: skip


def _npy(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


SAMPLES = _samples()
#: Good files of each ending.
SEEDS: dict[str, list[bytes]] = {
    ".safetensors": [
        tensors_to_bytes(arrays, metadata={"dc_solver": json.dumps(record_)})
        for record_, arrays in map(to_record, SAMPLES.values())
    ],
    ".json": [b"[1.0, 1.0, 0.9, 1.1, 1.2]", b"[1]"],
    ".npy": [_npy(np.linspace(-1, 1, 36).reshape(4, 3, 3)), _npy(np.ones(36, np.float32))],
}


#: What a field may be that nobody would write.
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 1000, 1001, 2**31, 2**63, 2**64, 10**400, 0.0, -0.0, 1e-300,
    5e-324, 1e300, 1.7976931348623157e308, -1e308, math.nan, math.inf, "", "m", "simple", "\0",
    "..",
    "../../x", "\ud800", "x" * 5000, "<script>", "{}", [], [None], [1, 2], [0.0] * 11000, {},
    {"a": 1},
    "better", "not better", "unchecked", "calibrated", "predicted", "prior", "imported", "full",
    "schedule", "tournament", "paper", "unipc", "ddim", "dpm_12", "deis", "bh1", "lambda", "final",
)  # fmt: skip
_SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (4,), (5,), (6,), (36,), (2, 2), (1001,))


def bent(content: bytes, dice: random.Random) -> bytes:
    """A file with some fields, tensors or bytes changed: half of the times a little, so that it may
    still be read and what uses it is reached."""
    gently = dice.random() < 0.5
    if not gently and dice.random() < 0.6:
        return _bent_bytes(content, dice)
    try:
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        body = json.loads(header["__metadata__"]["dc_solver"])
        data = content[8 + length :]
        arrays = {
            name: np.frombuffer(data[slice(*info["data_offsets"])], np.float64)
            .reshape(info["shape"])
            .copy()
            for name, info in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, struct.error, RecursionError, AttributeError):
        return _bent_bytes(content, dice)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        if dice.random() < 0.35:
            _bend_array(arrays, dice, gently)
        else:
            _bend(body, dice, gently)
    try:
        text = json.dumps(body)
        made = tensors_to_bytes(arrays, metadata={"dc_solver": text})
    except (UnicodeError, ValueError):
        return _bent_bytes(content, dice)
    return made if gently or dice.random() < 0.9 else _bent_bytes(made, dice)


def _bend(body: Any, dice: random.Random, gently: bool) -> None:
    """One field, somewhere in the object, becomes something else; gently, of its own kind."""
    holder = body
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            return
        key = dice.choice(keys)
        inner = holder[key]
        if isinstance(inner, (dict, list)) and inner and dice.random() < 0.85:
            holder = inner
            continue
        break
    act = dice.random()
    if gently:
        holder[key] = _alike(inner, dice)
    elif act < 0.1:
        del holder[key]
    elif act < 0.15 and isinstance(holder, dict):
        holder[dice.choice(("new", "quality", "warp", "learned", "corrector"))] = copy.deepcopy(
            dice.choice(NASTY)
        )
    elif act < 0.3 and isinstance(inner, list):
        inner.append(copy.deepcopy(inner[-1] if inner else 0))
    elif act < 0.5 and isinstance(inner, (int, float)) and abs(inner) < 1e200:
        holder[key] = inner * dice.choice((-1, 0, 2, 0.5, 1e30, 1e-30))
    else:
        holder[key] = copy.deepcopy(dice.choice(NASTY))


def _alike(value: Any, dice: random.Random) -> Any:
    """Another value that a field of this kind may well have."""
    if isinstance(value, bool) or value is None:
        return dice.choice((value, True, False, None))
    if isinstance(value, int):
        return max(0, value + dice.choice((-1, 1, 2)))
    if isinstance(value, float):
        return value * dice.choice((0.5, 0.9, 0.999, 1.001, 1.1, 2.0)) + dice.choice((0.0, 1e-9))
    if isinstance(value, str):
        return dice.choice((value, *(text for text in NASTY if isinstance(text, str))))
    return value


def _bend_array(arrays: dict[str, np.ndarray], dice: random.Random, gently: bool) -> None:
    name = dice.choice(sorted(arrays)) if arrays else "ratios"
    act = dice.random()
    if gently and name in arrays and arrays[name].size:
        flat = arrays[name].reshape(-1)
        flat[dice.randrange(flat.size)] *= dice.choice((0.0, 0.5, 0.99, 1.01, 1.5, -1.0, 100.0))
    elif act < 0.1:
        arrays.pop(name, None)
    elif act < 0.25:
        arrays[name] = np.full(dice.choice(_SHAPES), dice.choice((0.0, 1.0, math.nan, 1e308)))
    elif act < 0.35:
        new = dice.choice(("warp", "learned.sigmas", "learned.inputs", "fitted.0.sigmas", "x"))
        arrays[new] = np.linspace(1.0, 0.0, dice.choice((4, 5, 6, 36)))
    elif act < 0.45 and name in arrays:
        with np.errstate(invalid="ignore", over="ignore"):
            arrays[name] = arrays[name].astype(dice.choice((np.float32, np.int64, np.uint8)))
    elif name in arrays and arrays[name].size and arrays[name].dtype == np.float64:
        flat = arrays[name].reshape(-1)
        numbers = [n for n in NASTY if isinstance(n, float)]
        flat[dice.randrange(flat.size)] = dice.choice((*numbers, 1.0, 0.5, -1.0, 1e6))


def _bent_bytes(content: bytes, dice: random.Random) -> bytes:
    held = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(len(held) + 1)
        act = dice.random()
        if act < 0.3 and held:
            held[at % len(held)] ^= 1 << dice.randrange(8)
        elif act < 0.5:
            del held[at : at + dice.choice((1, 8, 100, 10_000))]
        elif act < 0.7:
            held[at:at] = held[: dice.choice((1, 8, 100))]
        elif act < 0.8:
            held[:8] = struct.pack("<Q", dice.choice((0, 1, 2**32, 2**63, 2**64 - 1, len(held))))
        elif act < 0.9:
            held[at:at] = dice.choice(
                (b"[" * 5000, b'{"a":' * 5000, b"1" * 6000, b"\xff\xfe", b"\0")
            )
        else:
            held[at : at + 8] = struct.pack("<d", dice.choice((math.nan, math.inf, 1e308, 5e-324)))
    return bytes(held)


class Trespass(AssertionError):
    """Something was written, started or loaded while a file was read."""


_FORBIDDEN = ("subprocess.", "socket.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
              "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
              "os.truncate", "os.chmod", "pickle.", "shutil.", "ctypes.")  # fmt: skip
_watching = False


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event.startswith(_FORBIDDEN):
        raise Trespass(f"{event} {args!r}")
    if event == "open" and len(args) > 2:
        mode, flags = args[1], args[2]
        writing = isinstance(mode, str) and set(mode) & set("wax+")
        if writing or (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            raise Trespass(f"{event} {args!r}")


@contextmanager
def watched() -> Iterator[None]:
    """Whatever is read in here may write nothing, start nothing and load no pickle."""
    global _watching
    if not _watch_added:
        sys.addaudithook(_watch)
        _watch_added.append(True)
    _watching = True
    try:
        yield
    finally:
        _watching = False


_watch_added: list[bool] = []


def read(content: bytes, ending: str, path: Path) -> RatioSchedule | CPR | None:
    """What the bytes hold, None where they are refused as they should be; other errors pass."""
    if ending == ".safetensors":
        try:
            with watched():
                return parse(content)
        except RecordError as error:
            assert str(error)
            return None
    path.write_bytes(content)
    try:
        with watched():
            return import_official(path)
    except RatioFileError as error:
        assert path.name in str(error)
        return None


def use(found: RatioSchedule | CPR) -> None:
    """All that the pack does with a file in the library, on the way to an image."""
    with watched():
        describe(found)
        again, arrays = to_record(found)
        content = tensors_to_bytes(arrays, metadata={"dc_solver": json.dumps(again)})
        assert parse(content) == found
        for run in runs_for(found):
            choice = choose([("file", found)], run)
            told(choice)
            record(choice)
            if choice.ratios is not None:
                assert len(choice.ratios.ratios) == run.steps
                assert all(map(math.isfinite, choice.ratios.ratios))
                _sample(choice.ratios, run.sigmas)
            one = found if isinstance(found, RatioSchedule) else found.predict(run.steps, 4.0)
            brought = fitted(one, run)
            assert len(brought.ratios) == run.steps
            _sample(brought, run.sigmas)
            told(Choice(brought))
            describe(brought)


def _sample(found: RatioSchedule, sigmas: tuple[float, ...]) -> None:
    """A finite image, or an error that names the step from which on it was none."""
    x = sigmas[0] * torch.linspace(-1.0, 1.0, 8).reshape(1, 1, 2, 4)
    try:
        image = sample(_model, x, sigmas, schedule=FLOW, ratios=found, disable=True)
    except ValueError as error:
        assert "finite" in str(error) and "step" in str(error), error
    else:
        assert bool(image.isfinite().all())


def _model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """What is left of data of variance 1 in a flow at sigma."""
    sigma = sigma.view(-1, 1, 1, 1)
    return x * (1.0 - sigma) / ((1.0 - sigma) ** 2 + sigma**2)


def runs_for(found: RatioSchedule | CPR) -> Iterator[Run]:
    """Runs that the file may be for, and one that it may not."""
    identity = found.identity if found.identity.fingerprint else Identity(fingerprint="m")
    solver = settings_of(found)
    cfgs: list[float] = [3.0]
    grids: list[tuple[float, ...]] = [grid_of("simple", 5) or (), (grid_of("simple", 8) or ())[2:]]
    if isinstance(found, RatioSchedule):
        cfgs += [] if found.cfg is None else [found.cfg]
        own: list[tuple[float, ...] | None] = [found.sigmas, found.sigmas_to_run]
        grids += [g for g in own if g and len(g) <= _MANY and _valid(g)]
    else:
        cfgs += [found.cfg_range[0], found.cfg_range[1]]
    for sigmas in grids:
        for cfg in cfgs:
            yield Run(sigmas, cfg, replace(identity, lora=None), solver, FLOW, grid_of)


def _valid(sigmas: tuple[float, ...]) -> bool:
    return len(sigmas) > 1 and falls_strictly(sigmas) and sigmas[-1] >= 0.0 and sigmas[0] <= 1.0


def outcome(content: bytes, ending: str, path: Path) -> str:
    """``refused`` or ``read``; raises whatever is wrong with the reader."""
    found = read(content, ending, path)
    if found is None:
        return "refused"
    use(found)
    return "read"
