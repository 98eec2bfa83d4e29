"""A library of very many files: how long it takes to read, to look at again, and to choose from.

python tests/reliability/many_files.py [--files 10000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bootstrap  # noqa: F401
import hostile
from dc_solver.ratios.library import Library, state_of
from dc_solver.ratios.lookup import choose


def timed(what: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = work()
    print(f"{what}: {time.perf_counter() - began:.2f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a library of very many files.")
    parser.add_argument("--files", type=int, default=10_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        for k in range(count):
            seeds = hostile.SEEDS[".safetensors"]
            content = seeds[k % len(seeds)]
            (Path(name) / f"{k}.safetensors").write_bytes(content)
        files = [(path.name, path) for path in Path(name).iterdir()]
        shelf = Library()
        found, broken = timed(f"{count} files read", lambda: shelf.entries(files))
        assert len(found) == count and not broken
        timed("looked at again", lambda: shelf.entries(files))
        timed("whether any has changed", lambda: state_of(files))
        run = next(hostile.runs_for(hostile.SAMPLES["ratios"]))
        timed("one chosen of those, all for this model", lambda: choose(found, run))
        other = replace(run, identity=replace(run.identity, fingerprint="other"))
        timed("the same where none is", lambda: choose(found, other))


if __name__ == "__main__":
    main()
