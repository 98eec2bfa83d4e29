"""Few-step solvers of the diffusion ODE: torch and mathematics, no host and no files."""

from .loop import SearchedRatios, sample
from .registry import SOLVERS, Solver, get_solver
from .schedules import FlowSchedule, Schedule, VPSchedule, discrete_time

__all__ = [
    "SOLVERS",
    "FlowSchedule",
    "Schedule",
    "SearchedRatios",
    "Solver",
    "VPSchedule",
    "discrete_time",
    "get_solver",
    "sample",
]
