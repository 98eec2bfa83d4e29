"""Compensation ratios: calibration, prediction, and the files they live in."""

from .calibrate import calibrate, calibrate_grid
from .cpr import CPR, fit_cpr
from .files import RatioFileError, load, save
from .matching import carry_over
from .official import import_official
from .references import References
from .schedule import (
    CPR_QUALITIES,
    QUALITIES,
    Identity,
    RatioSchedule,
    Report,
    settings_of,
    solver_settings_of,
)
from .task import Finals
from .warp import Warp

__all__ = [
    "CPR",
    "CPR_QUALITIES",
    "QUALITIES",
    "Finals",
    "Identity",
    "RatioFileError",
    "RatioSchedule",
    "References",
    "Report",
    "Warp",
    "calibrate",
    "calibrate_grid",
    "carry_over",
    "fit_cpr",
    "import_official",
    "load",
    "save",
    "settings_of",
    "solver_settings_of",
]
