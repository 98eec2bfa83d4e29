"""The WebUI's way into the pack: the sampler first, then what may fail without taking it away."""

import importlib
import importlib.util
import sys
from pathlib import Path

from modules import errors, scripts

# The pack's folder has names that other extensions may have too, so it is loaded under one of its
# own and everything in it is imported relatively.
NAME = "sd_webui_dc_solver"
ROOT = Path(__file__).absolute().parent.parent  # not resolved: the host loads a link once more


def part(name):
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        sys.modules[NAME] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[NAME])
        except BaseException:
            del sys.modules[NAME]
            raise
    return importlib.import_module(f"{NAME}.scripts.webui.{name}")


def attempt(what, action):
    try:
        return action()
    except Exception:
        errors.report(f"DC-Solver: {what} cannot be used; the sampler can", exc_info=True)


def other_copy():
    """The folder of another copy of this extension that is loaded already."""
    loaded = sys.modules.get(NAME)
    folder = ROOT if loaded is None else Path(loaded.__file__).parent
    return folder if folder != ROOT and folder.is_dir() else None


other = other_copy()
if other is None:
    part("registration").register_sampler()
    attempt("its schedule types", lambda: part("schedules").register())
    attempt("its settings", lambda: part("settings").register())
    attempt("its tab", lambda: part("tab").register())
    attempt("its axes for X/Y/Z plots", lambda: part("axes").register())
    # The host registers every class in here that is a Script.
    DCSolverScript = attempt("its accordion", lambda: part("accordion").make(scripts.Script))
else:
    errors.report(f"DC-Solver: it is in {other} too; remove one, and start the WebUI anew")
    attempt("this copy", lambda: part("registration").leave_the_path(ROOT))
