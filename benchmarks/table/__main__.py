"""``python benchmarks/table``: see :mod:`table.command`."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import load_pack  # noqa: E402, F401

from table.command import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main())
