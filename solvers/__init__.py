"""Few-step solvers of the diffusion ODE: torch and mathematics, no host and no files."""

from .adaptive import RunReport, Tolerance
from .langevin import Langevin
from .learned import LearnedSteps
from .parameterisation import PREDICTIONS, denoiser
from .registry import SOLVERS, compensating, get_solver
from .sampling import SearchedRatios, sample
from .schedules import FlowSchedule, Schedule, VPSchedule, discrete_time
from .solver import Solver
from .timesteps import SPACINGS, make_sigmas

__all__ = [
    "PREDICTIONS",
    "SOLVERS",
    "SPACINGS",
    "FlowSchedule",
    "Langevin",
    "LearnedSteps",
    "RunReport",
    "Schedule",
    "SearchedRatios",
    "Solver",
    "Tolerance",
    "VPSchedule",
    "compensating",
    "denoiser",
    "discrete_time",
    "get_solver",
    "make_sigmas",
    "sample",
]
