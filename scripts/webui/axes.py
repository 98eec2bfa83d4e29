"""Axes for the WebUI's X/Y/Z plot: the ratios, the solver, its order and K."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modules import script_callbacks, scripts

from ...solvers import SOLVERS
from .accordion import choices
from .asked import AUTOMATIC, OFF, TYPED, ask_on_axis

_PREFIX = "[DC-Solver]"


def register() -> None:
    script_callbacks.on_before_ui(_add)


def _add() -> None:
    """Add the axes to the host's script, once in its life."""
    plot = next(
        (d.module for d in scripts.scripts_data if d.script_class.__module__ == "xyz_grid.py"), None
    )
    if plot is None or any(option.label.startswith(_PREFIX) for option in plot.axis_options):
        return
    files = lambda: [name for name in choices() if name != TYPED]  # noqa: E731
    plot.axis_options.extend([
        plot.AxisOption(f"{_PREFIX} Ratios", str, _ratios, choices=files, confirm=_confirm),
        plot.AxisOption(f"{_PREFIX} Solver", str, _field("solver"), choices=lambda: list(SOLVERS),
                        confirm=_confirm_solvers),
        plot.AxisOption(f"{_PREFIX} Order", int, _field("order"),
                        choices=lambda: ["1", "2", "3", "4"]),
        plot.AxisOption(f"{_PREFIX} K", int, _field("dc_order"), choices=lambda: ["1", "2", "3"]),
    ])  # fmt: skip


def _field(name: str) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, _: Any) -> None:
        ask_on_axis(p, name, value)

    return apply


def _confirm(p: Any, values: list[str]) -> None:
    """Raises RuntimeError, as the host's own axes do, for a name that is none."""
    for value in values:
        if value not in choices() or value == TYPED:
            raise RuntimeError(f"DC-Solver ratios: expected one of the library, got {value!r}")


def _confirm_solvers(p: Any, values: list[str]) -> None:
    """Raises RuntimeError, as the host's own axes do, for a name that is none."""
    for value in values:
        if value not in SOLVERS:
            raise RuntimeError(f"DC-Solver solver: expected one of {', '.join(SOLVERS)}, "
                               f"got {value!r}")  # fmt: skip


def _ratios(p: Any, value: str, _: Any) -> None:
    ask_on_axis(p, "passes", ())
    ask_on_axis(p, "off", value == OFF)
    ask_on_axis(p, "file", None if value in (OFF, AUTOMATIC) else value)
