from .calibrate import calibrate, calibrate_grid
from .schedule import Identity, RatioSchedule, Report
