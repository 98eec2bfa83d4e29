"""Fuzzes the readers of files with libFuzzer, guided by the coverage of the pack's own code.

    python tests/reliability/fuzz_files.py [--inputs 100000] [--seed 1]

Takes atheris (``pip install atheris``).  Each input is a good file that was bent
(:mod:`hostile`), or one that reached new code, bent again; it must be refused by name, or read and
then serve every use that the pack makes of it.  Prints what became of the inputs; a crash leaves
the input that made it, base64 in the output, and ends with status 1.
"""

from __future__ import annotations

import argparse
import base64
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

#: The share of the inputs that each kind of file gets.
SHARES = {".safetensors": 0.8, ".json": 0.1, ".npy": 0.1}


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the readers of files.")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ending", choices=SHARES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ending is not None:
        fuzz(options.ending, options.inputs, options.seed, options.folder)
    for ending, share in SHARES.items():
        inputs = max(1, round(options.inputs * share))
        with tempfile.TemporaryDirectory(prefix="fuzz_files_") as folder:
            command = [sys.executable, "-W", "ignore", __file__, "--ending", ending]
            command += ["--inputs", str(inputs), "--seed", str(options.seed), "--folder", folder]
            done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(done.stderr)
            return 1
    return 0


def fuzz(ending: str, inputs: int, seed: int, folder: Path) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["dc_solver"], enable_loader_override=False):
        import bootstrap  # noqa: F401
        import hostile

    path = folder / f"file{ending}"
    corpus = folder / "corpus"
    corpus.mkdir()
    for k, content in enumerate(hostile.SEEDS[ending]):
        (corpus / str(k)).write_bytes(content)
    counts: Counter[str] = Counter()
    slowest, before = 0.0, _peak()

    def one(content: bytes) -> None:
        nonlocal slowest
        began = time.perf_counter()
        try:
            counts[hostile.outcome(content, ending, path)] += 1
        except BaseException:
            print(f"{ending}: {base64.b64encode(content).decode()}", file=sys.stderr)
            raise
        slowest = max(slowest, time.perf_counter() - began)
        if counts.total() == inputs:
            print(
                f"{ending}: {inputs} inputs, {counts['refused']} refused, {counts['read']} read "
                f"and used; slowest {slowest:.2f} s, "
                f"{(_peak() - before) / 1024:.0f} MB more memory",
                flush=True,
            )

    def mutate(content: bytes, most: int, seed: int) -> bytes:
        """Of a good file as often as of one that reached new code, which is mostly refused."""
        dice = random.Random(seed)
        held = content if dice.random() < 0.5 else dice.choice(hostile.SEEDS[ending])
        return hostile.bent(held, dice)[:most]

    flags = [f"-runs={inputs}", f"-seed={seed}", "-max_len=262144", "-timeout=20",
             "-rss_limit_mb=3000", f"-artifact_prefix={folder}/", str(corpus)]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags], one, custom_mutator=mutate)
    atheris.Fuzz()


def _peak() -> float:
    """The most memory that this process has had, in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
