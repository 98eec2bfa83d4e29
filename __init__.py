"""DC-Solver: few-step sampling with dynamic compensation, for ComfyUI and the WebUI family.

Loaded by ComfyUI this package registers its nodes and the sampler ``dc_solver``.  Imported anywhere
else it is a plain library: :mod:`dc_solver.solvers` and :mod:`dc_solver.ratios`.
"""

import importlib
import sys
from types import ModuleType

__version__ = "0.5.0"


def __getattr__(name: str) -> ModuleType:
    """Import the library's parts when they are first asked for."""
    if name in ("solvers", "ratios", "demo"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ComfyUI has loaded its samplers by the time it loads packs; nothing else has them.
if "comfy.samplers" in sys.modules:
    from .nodes.calibrate import DCSolverCalibrate
    from .nodes.calibrate_grid import DCSolverCalibrateGrid
    from .nodes.ksampler import DCSolverKSampler
    from .nodes.load_ratios import DCSolverLoadRatios
    from .nodes.plot_ratios import DCSolverPlotRatios
    from .nodes.predict_ratios import DCSolverPredictRatios
    from .nodes.prompts import DCSolverPrompts
    from .nodes.registration import register_sampler
    from .nodes.routes import register_routes
    from .nodes.sampler import DCSolverSampler
    from .nodes.save_ratios import DCSolverSaveRatios
    from .nodes.scheduler import DCSolverScheduler

    register_sampler()
    register_routes()

    NODE_CLASS_MAPPINGS = {
        "DCSolverSampler": DCSolverSampler,
        "DCSolverKSampler": DCSolverKSampler,
        "DCSolverCalibrate": DCSolverCalibrate,
        "DCSolverCalibrateGrid": DCSolverCalibrateGrid,
        "DCSolverPrompts": DCSolverPrompts,
        "DCSolverPredictRatios": DCSolverPredictRatios,
        "DCSolverLoadRatios": DCSolverLoadRatios,
        "DCSolverSaveRatios": DCSolverSaveRatios,
        "DCSolverPlotRatios": DCSolverPlotRatios,
        "DCSolverScheduler": DCSolverScheduler,
    }
    NODE_DISPLAY_NAME_MAPPINGS = {
        "DCSolverSampler": "DC-Solver Sampler",
        "DCSolverKSampler": "KSampler (DC-Solver)",
        "DCSolverCalibrate": "Calibrate Ratios (DC-Solver)",
        "DCSolverCalibrateGrid": "Calibrate Ratios Grid (DC-Solver)",
        "DCSolverPrompts": "Calibration Prompts (DC-Solver)",
        "DCSolverPredictRatios": "Predict Ratios (DC-Solver CPR)",
        "DCSolverLoadRatios": "Load Ratios (DC-Solver)",
        "DCSolverSaveRatios": "Save Ratios (DC-Solver)",
        "DCSolverPlotRatios": "Plot Ratios (DC-Solver)",
        "DCSolverScheduler": "Scheduler (DC-Solver)",
    }
    WEB_DIRECTORY = "./web/comfy"
