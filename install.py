"""Run by the hosts' installers: says what the pack needs and does not find.  Installs nothing."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, "2.13.0+cpu" as (2, 13, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def missing(requirements: str) -> list[str]:
    """The requirements, lines such as ``numpy>=1.26``, that are not installed."""
    lacking = []
    for line in requirements.splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, _, least = line.partition(">=")
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            lacking.append(f"{line} (not installed)")
            continue
        if least and numbers(found) < numbers(least):
            lacking.append(f"{line} (found {found})")
    return lacking


def main() -> int:
    lacking = missing(REQUIREMENTS.read_text(encoding="utf-8"))
    if not lacking:
        print("DC-Solver: everything the pack needs is installed.")
        return 0
    print("DC-Solver needs: " + ", ".join(lacking))
    print(f'Install with:  "{sys.executable}" -m pip install -r "{REQUIREMENTS}"')
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
