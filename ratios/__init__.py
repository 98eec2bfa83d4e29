"""Compensation ratios: calibration, prediction, and the files they live in."""

from .calibrate import calibrate, calibrate_grid
from .cpr import CPR, fit_cpr
from .files import RatioFileError, load, save
from .official import import_official
from .schedule import (
    QUALITIES,
    Identity,
    RatioSchedule,
    Report,
    settings_of,
    solver_settings_of,
)
from .task import Finals

__all__ = [
    "CPR",
    "QUALITIES",
    "Finals",
    "Identity",
    "RatioFileError",
    "RatioSchedule",
    "Report",
    "calibrate",
    "calibrate_grid",
    "fit_cpr",
    "import_official",
    "load",
    "save",
    "settings_of",
    "solver_settings_of",
]
