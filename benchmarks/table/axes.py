"""What the table runs over unless the command line says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from dc_solver.demo.experiment import HELD_OUT_FROM

MODELS = ("emoji_eps", "emoji_flow", "emoji_v")
CFGS = (1.5, 3.0, 5.0, 7.5)
STEPS = (5, 6, 7, 8, 9, 10, 15, 20)
#: The step counts that the demands speak of.
FEW_STEPS = range(5, 11)
HELD_OUT = 64
RIVAL = 32
#: The rival of a cell is chosen on seeds from here on, which nothing else sees.
RIVAL_FROM = 70_000


@dataclass(frozen=True)
class Seeds:
    """How many images the errors are measured on, and how many choose the rival."""

    held_out: int = HELD_OUT
    rival: int = RIVAL

    @property
    def all(self) -> list[int]:
        """Those held out, and after them those of the rival."""
        held_out = range(HELD_OUT_FROM, HELD_OUT_FROM + self.held_out)
        return [*held_out, *range(RIVAL_FROM, RIVAL_FROM + self.rival)]
