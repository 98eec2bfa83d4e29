"""Compensation ratios: calibration, prediction, and the files they live in."""

from .calibrate import REFERENCE_CALLS, Finals, calibrate, calibrate_grid
from .cpr import CPR, fit_cpr
from .files import RatioFileError, load, save
from .official import import_official
from .schedule import Identity, RatioSchedule, Report, settings_of, solver_settings_of

__all__ = [
    "CPR",
    "REFERENCE_CALLS",
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
