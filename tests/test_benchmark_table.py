"""The benchmark's table: its figures, its files, its rivals, and the authors' search."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dc_solver.demo import emoji
from dc_solver.ratios.greedy import greedy_search
from dc_solver.ratios.points import Chunk, PointModel, Tally
from dc_solver.ratios.search import closed_form
from dc_solver.solvers.compensation import interpolation_weights
from dc_solver.solvers.grid import make_grid
from dc_solver.solvers.plan import make_plan
from dc_solver.solvers.run import advanced
from dc_solver.solvers.step import Settings, Step
from problems import Gaussian, schedule_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from table import authors, runner, sampling
from table.axes import Seeds
from table.bench import Bench
from table.cells import Cell, Cells, Pair, choose_rival
from table.demands import demands
from table.entries import STOCK, Calibration, Outcome
from table.figures import Summary, against, figures, share_within
from table.memory import Peak, measure_memory, read_memory
from table.modes import MODES, Mode
from table.report import write_report
from table.runner import Selection, measure
from table.store import Key, Result, Results, rounded
from table.task import Subject

# --- figures -------------------------------------------------------------------------------------


def test_figures_of_known_errors() -> None:
    errors = np.array([1.0, 2.0, 4.0, 8.0])
    found = figures(errors)
    assert found.geometric_mean == pytest.approx(2.0**1.5)
    assert found.mean == pytest.approx(3.75) and found.median == pytest.approx(3.0)
    assert found.percentile_90 == pytest.approx(8.0 - 0.3 * 4.0)


def test_figures_against_a_yardstick() -> None:
    base = np.array([1.0, 1.0, 10.0, 10.0])
    found = against(np.array([0.5, 2.0, 10.0, 2.5]), base)
    assert found.geometric_mean == pytest.approx((0.5 * 2.0 * 1.0 * 0.25) ** 0.25)
    assert found.mean == pytest.approx(15.0 / 22.0)
    assert found.median == pytest.approx(0.75)
    assert found.worse == 0.25, "an equal error is not worse"


def test_a_summary_is_geometric_over_cells() -> None:
    cells = [against(np.full(3, value), np.ones(3)) for value in (0.5, 1.0, 2.0)]
    found = Summary.of(cells)
    assert found is not None and found.cells == 3
    assert found.geometric_mean == pytest.approx(1.0) == found.mean == found.median
    assert found.worst == pytest.approx(2.0) and found.percentile_95 == pytest.approx(1.9)
    assert found.worse == pytest.approx(1.0 / 3.0)
    assert Summary.of([]) is None
    assert share_within([0.9, 1.03, 1.04, 2.0], 1.03) == 0.5


# --- rivals --------------------------------------------------------------------------------------


def result(errors: float, calls: int = 5, rival: float | None = None, **rest: Any) -> Result:
    """Two held-out images of this error, and as much on the rival's seeds where it is plain."""
    own = np.full(2, errors, np.float32)
    chosen = own[:0] if rival is None else np.full(3, rival, np.float32)
    return Result(own, chosen, calls, rest.pop("version", "1"), **rest)


def test_a_pair_with_more_calls_than_steps_is_no_rival() -> None:
    pairs = {
        Pair("ddim", "simple"): result(0.1, 5, 0.3),
        Pair("unipc_2", "beta"): result(0.5, 5, 0.2),
        Pair("unipc_2", "ddim_uniform"): result(0.01, 6, 0.01),
        Pair("ipndm", "simple"): result(0.01, 5, math.inf),
        Pair("paper", "simple"): result(0.001, 5),
    }
    assert choose_rival(pairs, 5) == Pair("unipc_2", "beta")
    assert choose_rival(pairs, 6) == Pair("unipc_2", "ddim_uniform")
    assert choose_rival({Pair("paper", "simple"): result(0.1)}, 5) is None


def cells_of(pairs: dict[Pair, Result], steps: int = 5) -> Cells:
    return Cells({Cell("emoji_eps", 3.0, steps): pairs}, {}, {"a": "weights x, 2 seeds"}, 0)


def test_demands_are_met_or_not_or_not_measured() -> None:
    pairs = {
        Pair("unipc_2", "simple"): result(1.0, rival=1.0),
        Pair("unipc_2", "beta"): result(2.0, rival=2.0),
        Pair("paper", "simple"): result(0.8, cost=80.0),
        Pair("authors", "simple"): result(0.8, cost=445.0),
    }
    found = {demand.text: demand for demand in demands(cells_of(pairs), {"paper": Peak(1.2, 2.0)})}
    kept = {text: demand.met for text, demand in found.items() if demand.met is not None}
    assert kept == {
        "paper: error at most 1.02 of authors in 95% of the cells": True,
        "paper: at most a fifth of the calls of authors, in every cell": True,
        "paper: at most 90 calls a point at 5 steps": True,
        "paper: error against *same* at most 0.88": True,
        "paper: error at most 1.03 of *same* in 95% of the cells": True,
        "paper: peak memory at most 1.1 of plain sampling of the same points": False,
    }
    pairs[Pair("paper", "beta")] = result(2.2, cost=95.0)
    found = {demand.text: demand for demand in demands(cells_of(pairs), {})}
    assert found["paper: at most 90 calls a point at 5 steps"].met is False
    assert found["paper: error at most 1.03 of *same* in 95% of the cells"].met is False
    mean = found["paper: error against *same* at most 0.88"]
    assert mean.figure == "0.938 over 2 of 144 cells" and mean.met is False and not mean.whole


# --- files ---------------------------------------------------------------------------------------


def test_a_file_keeps_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "emoji_eps_cfg3.npz"
    first = result(0.123456789, rival=7.0, version="2", cost=12.5, notes={"ratios": [1.0, 1.1]})
    Results(path, "one").put(Key(5, "ddim", "simple"), first)
    Results(path, "one").put(Key(5, "paper", "beta"), result(math.inf))
    again = Results(path).rows
    assert list(again) == [Key(5, "ddim", "simple"), Key(5, "paper", "beta")]
    kept = again[Key(5, "ddim", "simple")]
    np.testing.assert_allclose(kept.errors, 0.123456789, rtol=1.3e-4)
    assert kept.rival.tolist() == [7.0] * 3 and kept.plain
    assert (kept.calls, kept.version, kept.cost) == (5, "2", 12.5)
    assert kept.notes == {"ratios": [1.0, 1.1]}
    assert np.isinf(again[Key(5, "paper", "beta")].errors).all()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_file_of_another_setting_is_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "emoji_eps_cfg3.npz"
    Results(path, "64 seeds").put(Key(5, "ddim", "simple"), result(0.1))
    with pytest.raises(ValueError, match="64 seeds"):
        Results(path, "8 seeds")


def test_two_processes_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "emoji_eps_cfg3.npz"
    one, other = Results(path, "same"), Results(path, "same")
    one.put(Key(5, "ddim", "simple"), result(0.1))
    other.put(Key(6, "ddim", "simple"), result(0.2))
    assert len(Results(path).rows) == 2


def test_rounding_is_to_one_in_eight_thousand() -> None:
    values = np.geomspace(1e-12, 1e12, 999)
    kept = rounded(values)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(kept, values, rtol=2.0**-13)


# --- running -------------------------------------------------------------------------------------


@dataclass
class Fake:
    """An entry that counts its runs, and may be interrupted."""

    name: str
    runs: list[tuple[int, str]]
    version: str = "1"
    schedulers: tuple[str, ...] = ("simple", "beta")
    interrupt: bool = False

    def applies(self, cfg: float, steps: int) -> bool:
        return steps < 7

    def work(self, *_: Any) -> float:
        return 1.0

    def run(self, bench: Bench, steps: int, scheduler: str) -> Outcome:
        if self.interrupt and scheduler == "beta":
            raise KeyboardInterrupt
        self.runs.append((steps, scheduler))
        return Outcome(torch.full((3, *emoji.LATENT), 2.0), steps)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Selection:
    """One cell of three images, whose truth is 0."""

    def no_truth(model: Any, cfg: float, data: emoji.Points, steps: int) -> torch.Tensor:
        return torch.zeros_like(data.noise)

    monkeypatch.setattr(sampling, "truth", no_truth)
    return Selection(
        tmp_path, ("emoji_eps",), (3.0,), (5, 7), ("fake",), seeds=Seeds(2, 1), fast=False
    )


def use(monkeypatch: pytest.MonkeyPatch, entry: Fake) -> None:
    monkeypatch.setattr(runner, "entries", lambda: {"fake": entry})


def test_what_is_measured_is_not_measured_again(
    small: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[tuple[int, str]] = []
    entry = Fake("fake", runs)

    def again(**changes: Any) -> list[tuple[int, str]]:
        runs.clear()
        # A new selection, since each looks its entries up once.
        assert measure(replace(small, **changes), lambda _: None, quiet=True) == []
        return list(runs)

    use(monkeypatch, entry)
    assert again() == [(5, "simple"), (5, "beta")], "and none of the cells that it is not for"
    assert again() == []
    assert again(steps=(5, 6)) == [(6, "simple"), (6, "beta")]
    assert again(again=("fake",), schedules=("beta",)) == [(5, "beta")]
    entry.version = "2"
    assert again() == [(5, "simple"), (5, "beta")]
    kept = Results(small.folder / "emoji_eps_cfg3.npz").rows[Key(5, "fake", "simple")]
    assert kept.errors.tolist() == [4.0, 4.0] and kept.rival.tolist() == [4.0]


def test_an_interrupt_loses_one_line(small: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[int, str]] = []
    use(monkeypatch, Fake("fake", runs, interrupt=True))
    with pytest.raises(KeyboardInterrupt):
        measure(small, lambda _: None, quiet=True)
    use(monkeypatch, Fake("fake", runs))
    measure(replace(small), lambda _: None, quiet=True)
    assert runs == [(5, "simple"), (5, "beta")]


def test_without_a_host_its_samplers_are_left_out_and_that_is_said(
    small: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    heard: list[str] = []
    assert measure(replace(small, names=("comfyui_euler",)), heard.append, quiet=True) == []
    assert "COMFYUI_PATH" in heard[0] and heard[1] == "nothing is left to measure"


def mode_of(function: Callable[..., Any]) -> Calibration:
    return Calibration(
        Mode("fake", function, "1", ("simple",), lambda _: 1.0, lambda cfg, steps: True)
    )


def test_a_mode_that_hides_its_calls_is_refused() -> None:
    bench = Bench(Subject("emoji_eps", fast=False), 3.0, Seeds(1, 1))

    def hiding(task: Any, calls: float = 0.0, steps: int | None = None) -> Any:
        sigma = torch.full((len(task.start),), float(task.sigmas[0]))
        task.denoiser()(task.start, sigma, **task.extra_args(slice(None)))
        grid = None if steps is None else sampling.grid(task.model, "simple", steps)
        return lambda data: task.sample(data, grid), calls

    with pytest.raises(ValueError, match=r"the 0 calls a point that it reports, counted 1\.6"):
        mode_of(hiding).run(bench, 3, "simple")
    with pytest.raises(ValueError, match="expected 3 model calls an image, got 4"):
        mode_of(lambda task: hiding(task, 2.0, 4)).run(bench, 3, "simple")
    outcome = mode_of(lambda task: hiding(task, 2.0)).run(bench, 3, "simple")
    assert (outcome.calls, outcome.cost, len(outcome.latents)) == (3, 2.0, 1)


@pytest.mark.skipif(
    (one := torch.ones(1)).untyped_storage() is not one.untyped_storage(),
    reason="this torch tells of no storage when it is freed",
)
def test_the_peak_of_a_calibration_is_that_of_its_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call of half the points takes half of the memory; what is kept beside it is told too."""

    def half(task: Any) -> Any:
        sigma = torch.full((8,), float(task.sigmas[0]))
        kept = [torch.zeros(2**20)]
        task.denoiser()(task.start[:8], sigma, **task.extra_args(slice(8)))
        return lambda data: task.sample(data), float(len(kept))

    monkeypatch.setattr("table.memory.MODES", {"paper": mode_of(half).mode})
    monkeypatch.setattr("table.memory._SEARCHES", ("paper",))
    measure_memory(tmp_path, "emoji_eps")
    peak = read_memory(tmp_path)["paper"]
    assert 0.45 < peak.device < 0.55 and peak.all > peak.device + 0.2


def test_the_report_tells_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none"):
        write_report(tmp_path)
    for cfg in (1.5, 3.0):
        file = Results(tmp_path / f"emoji_eps_cfg{cfg:g}.npz", "weights x, 2 held-out seeds")
        file.put(Key(5, "unipc_2", "simple"), result(1.0, rival=1.0))
        file.put(Key(5, "unipc_2", "ddim_uniform"), result(0.5, 6, rival=0.5))
        file.put(Key(5, "ipndm", "beta"), result(0.9, rival=0.8))
        own = MODES["paper"].version
        file.put(Key(5, "paper", "simple"), result(0.72, cost=80.0, version=own))
        file.put(Key(5, "ddim", "simple"), result(9.0, rival=9.0, version="0"))
        moved = np.full(8, 1e-5, np.float32)  # of more images than are held out
        file.put(Key(400, "truth", ""), Result(moved, moved[:0], 400, "1"))
    written = write_report(tmp_path)
    assert [path.name for path in written] == ["table.md", "cells.md", "table.png"]
    table, details = (path.read_text() for path in written[:2])
    assert "| 3 | ipndm on beta: 1.11, - |" in table
    assert "| unipc_2 | 1.11 |  |  |  | 0.56 (+1) |" in table
    assert "| paper | 5 to 10 steps | 2 | **0.720** |" in table
    assert "| paper | 5 to 10 steps | 2 | **0.800** |" in table
    assert "2 lines are of earlier versions" in table and "moves by 1.1e-05" in table
    assert "| paper | simple | 7.20e-01 |" in details and "CFG 1.5, 5 steps" in details


# --- the authors' search -------------------------------------------------------------------------

GRID = [12.0, 6.0, 3.0, 1.4, 0.6, 0.0]


def plan_of(grid: list[float]) -> list[Step]:
    settings = Settings(solver="dc_solver", order=2, dc_order=2)
    return make_plan(make_grid(grid, schedule_of("vp")), schedule_of("vp"), settings)


def authors_task() -> tuple[authors.Model, torch.Tensor, list[torch.Tensor]]:
    problem = Gaussian("vp")
    generator = torch.Generator().manual_seed(0)
    x = GRID[0] * torch.randn(10, 24, generator=generator, dtype=torch.float64)
    truth = [x, *(problem.exact(x, GRID[0], sigma) for sigma in GRID[1:])]

    def model(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return torch.as_tensor(problem(x, torch.full((len(x),), sigma, dtype=x.dtype)))

    return model, x, truth


def test_the_authors_search_finds_the_optimum_of_the_last_step() -> None:
    """Which calls no model, so that the optimum is known; their weight decay pulls towards 0."""
    model, x, truth = authors_task()
    plan = plan_of(GRID)
    ratios, forward, backward = authors.search(model, x, truth, plan)
    assert len(ratios) == 5 and ratios[:2] == (1.0, 1.0)
    assert forward == 5 + 2 * authors.ITERATIONS and backward == 2 * authors.ITERATIONS
    now = final_state(model, x, plan, ratios)

    def residual(ratio: float) -> torch.Tensor:
        weights = interpolation_weights(plan[-1].nodes, ratio)
        newest = torch.stack([w * o for w, o in zip(weights, now.outputs)]).sum(dim=0)
        return advanced(plan[-1], now.state, now.denoised, [newest]) - truth[-1]

    best, search = closed_form(2, residual)
    found = float(residual(ratios[-1]).square().mean())
    assert ratios[-1] == pytest.approx(best, abs=0.1) and abs(best - 1.0) > 0.1
    assert found < 0.01 * search.losses[0]


def final_state(
    model: authors.Model, x: torch.Tensor, plan: list[Step], ratios: tuple[float, ...]
) -> Any:
    """What the last step starts from."""
    now = authors._Now(x, None, [])
    for i, step in enumerate(plan[:-1]):
        if now.denoised is None:
            now = authors._called(model, step, now)
        after = plan[i + 1] if step.correct is not None else None
        now = authors._stepped(model, step, after, now, torch.tensor(ratios[i]))
    return now


def test_the_authors_search_agrees_with_one_without_gradients() -> None:
    model, x, truth = authors_task()
    plan = plan_of(GRID)
    ratios, *_ = authors.search(model, x, truth, plan)
    points = PointModel(
        Gaussian("vp"), extra_args=None, device=torch.device("cpu"), dtype=x.dtype,
        points=range(10), chunk=Chunk(10), tally=Tally(None, None, 0),
    )  # fmt: skip
    grid = make_grid(GRID, schedule_of("vp"))
    found = greedy_search(points, x, truth, grid, plan, "mean")
    assert ratios == pytest.approx(found.ratios, abs=0.15)


@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize(("scheduler", "steps"), [("simple", 5), ("beta", 20)])
def test_the_authors_reference_passes_through_the_students_times(
    kind: str, scheduler: str, steps: int
) -> None:
    model = emoji.load(kind)
    sigmas = sampling.grid(model, scheduler, steps).double().tolist()
    fine, places = authors.reference_grid(sigmas, model.sigmas.tolist())
    assert [fine[place] for place in places] == sigmas
    assert 190 <= len(fine) - 1 <= 215
    assert all(a > b for a, b in zip(fine, fine[1:]))


def test_gradients_reach_the_ratio_through_the_model() -> None:
    denoiser = emoji.load("eps").denoiser(3.0)
    data = emoji.points([1])
    x = (4.0 * data.noise).requires_grad_(True)
    out = authors.differentiable(denoiser)(x, torch.full((1,), 4.0), condition=data.conditions)
    out.square().mean().backward()
    assert x.grad is not None and float(x.grad.abs().max()) > 0.0
    assert not denoiser(x, torch.full((1,), 4.0), condition=data.conditions).requires_grad


def test_every_stock_schedule_is_in_the_table() -> None:
    from dc_solver.demo.grids import SCHEDULERS

    assert tuple(SCHEDULERS) == STOCK
