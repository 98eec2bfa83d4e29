"""Run by the host's Python: its own samplers and ours on the same model and sigmas.

Prints, as JSON, the largest difference of the final states over every grid, by the host's name.
"""

import functools
import json
import sys
from pathlib import Path

import torch

COMFY, PACK, TESTS = (Path(argument) for argument in sys.argv[1:4])
sys.argv = sys.argv[:1]
sys.path[:] = [
    str(COMFY),
    str(TESTS),
    str(PACK / "benchmarks"),
    *(p for p in sys.path if Path(p or ".").resolve() != TESTS),
]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing(False)
from comfy.cli_args import args  # noqa: E402

args.cpu = True
import load_pack  # noqa: E402, F401
from comfy.k_diffusion import deis  # noqa: E402
from comfy.k_diffusion import sampling as theirs  # noqa: E402
from dc_solver import solvers  # noqa: E402
from problems import Mixture  # noqa: E402

GRIDS = [
    [14.6, 8.0, 4.5, 2.4, 1.3, 0.7, 0.3, 0.1],
    [14.6, 8.0, 4.5, 2.4, 1.3, 0.7, 0.3, 0.0],
    [10.0, 1.0, 0.0],
    [10.0, 0.0],
]


def deis_time(sigma: float) -> float:
    """The time that the host gives DEIS, of EDM's continuous VP schedule."""
    return float(deis.edm2t(torch.tensor([sigma], dtype=torch.float64))[0][0])


def difference(function, ours: dict, grids=GRIDS, kind: str = "vp") -> float:
    found = 0.0
    for sigmas in grids:
        generator = torch.Generator().manual_seed(0)
        x = sigmas[0] * torch.randn(4, 16, generator=generator, dtype=torch.float64)
        table = torch.tensor(sigmas, dtype=torch.float64)
        expected = function(Mixture(kind), x.clone(), table)
        schedule = solvers.FlowSchedule() if kind == "flow" else solvers.VPSchedule(deis_time)
        got = solvers.sample(
            Mixture(kind), x, table, schedule=schedule, lower_order=False, disable=True, **ours
        )
        found = max(found, float((got - expected).abs().max()))
    return found


def single(step: str) -> float:
    """One step of the host's DPM-Solver class."""
    order = int(step[-6])
    sigmas = [7.0, 5.0, 3.0, 1.2][: order + 1]
    x = sigmas[0] * torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).double()
    solver = theirs.DPMSolver(Mixture())
    s, t = (-torch.tensor(sigma, dtype=torch.float64).log() for sigma in (sigmas[0], sigmas[-1]))
    expected, _ = getattr(solver, step)(x, s, t)
    got = solvers.sample(
        Mixture(), x, sigmas, schedule=solvers.VPSchedule(), solver=f"dpm_{order}",
        lower_order=False, disable=True,
    )  # fmt: skip
    return float((got - expected).abs().max())


def adaptive(order: int) -> float:
    """Both at a tight tolerance: they choose other steps and meet at the solution."""
    x = 14.6 * torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).double()
    expected = theirs.sample_dpm_adaptive(
        Mixture(), x, 0.05, 14.6, order=order, rtol=1e-6, atol=1e-6, disable=True
    )
    got = solvers.sample(
        Mixture(), x, [14.6, 0.05], schedule=solvers.VPSchedule(), disable=True,
        solver="dpm_12" if order == 2 else "dpm_23",
        tolerance=solvers.Tolerance(rtol=1e-6, atol=1e-6, max_calls=100_000),
    )  # fmt: skip
    return float((got - expected).abs().max())


# The host sums the integrals of tAB over 10,000 points, which is good to 1e-4: over more it comes
# nearer.  Its rhoAB takes coefficients of one order more than it uses, and ends in an error where
# the two first differ, so it gets as many steps as go well.
exact_deis = functools.partial(deis.get_deis_coeff_list, N=2_000_000)
theirs.deis.get_deis_coeff_list = exact_deis
run = functools.partial
quiet = {"disable": True}
FLOWS = [[1.0, 0.9, 0.75, 0.6, 0.4, 0.2, 0.0], [0.98, 0.7, 0.4, 0.1]]
found = {
    "sample_euler": difference(run(theirs.sample_euler, **quiet), {"solver": "ddim"}),
    "sample_dpmpp_2m": difference(run(theirs.sample_dpmpp_2m, **quiet), {"solver": "dpmpp_2m"}),
    "dpm_solver_1_step": single("dpm_solver_1_step"),
    "dpm_solver_2_step": single("dpm_solver_2_step"),
    "dpm_solver_3_step": single("dpm_solver_3_step"),
    "sample_dpm_adaptive, order 2": adaptive(2),
    "sample_dpm_adaptive, order 3": adaptive(3),
}
for order in (2, 3, 4):  # of order 1 the host's samplers end in an error; that is Euler
    ipndm = run(theirs.sample_ipndm, max_order=order, **quiet)
    ours = {"solver": "ipndm", "order": order}
    found[f"sample_ipndm, order {order}"] = max(
        difference(ipndm, ours), difference(ipndm, ours, FLOWS, "flow")
    )
for order in (2, 3):
    tab = run(theirs.sample_deis, max_order=order, deis_mode="tab", **quiet)
    ours = {"solver": "deis_tab", "order": order}
    found[f"sample_deis tab, order {order}"] = difference(tab, ours)
    rhoab = run(theirs.sample_deis, max_order=order, deis_mode="rhoab", **quiet)
    ours = {"solver": "deis_rhoab", "order": order}
    short = [[14.6, 6.0, 2.0, 0.6][: order + 1] + [0.0]]
    found[f"sample_deis rhoab, order {order}"] = difference(rhoab, ours, short)
print(json.dumps(found))
