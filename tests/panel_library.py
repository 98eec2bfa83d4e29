"""What the panel's library holds in its tests, and what they read of its files and views."""

from __future__ import annotations

import re
from pathlib import Path

from dc_solver import ratios
from dc_solver.ratios import Identity, RatioSchedule, Report
from dc_solver.web.panel import shelf
from dc_solver.web.panel.shelf import Shelf

FOUND = RatioSchedule(
    (1.0, 1.0, 1.1, 0.9, 1.3), cfg=3.0,
    identity=Identity(scheduler="simple", model_class="UNet", fingerprint="0123456789abcdef"),
    report=Report(
        losses=(0.1,) * 5, losses_plain=(0.2,) * 5, search_calls=10, reference_calls=64,
        check_calls=15, points=10, check_points=2, errors=(0.5, 0.5), errors_plain=(1.0, 1.0),
        errors_dpmpp_2m=(2.0, 2.0), found=(1.0, 1.0, 1.1, 0.9, 1.3), verdict="better",
    ),
)  # fmt: skip
KEPT = RatioSchedule(
    (1.0,) * 6, cfg=5.0,
    report=Report(errors=(1.2,), errors_plain=(1.0,), errors_dpmpp_2m=(2.0,), points=10,
                  check_points=1, found=(1.0, 1.0, 1.0, 1.2, 1.1, 1.0), verdict="not better"),
)  # fmt: skip


def calibrated(steps: int, cfg: float) -> RatioSchedule:
    later = [1 + 0.03 * cfg * (1.0 if i % 2 else -0.7) * i / steps for i in range(2, steps)]
    return RatioSchedule((1.0, 1.0, *later), cfg=cfg, identity=Identity(scheduler="beta"))


FITTED = ratios.fit_cpr([calibrated(n, w) for n in (5, 7, 10) for w in (2.0, 4.0, 7.0)])


def stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_size


def state(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def chosen(library: Shelf, *names: str) -> list[shelf.Entry]:
    known = {entry.title: entry for entry in library.entries()}
    return [known[name] for name in names]


def table(shown: str) -> list[list[str]]:
    """The cells of the rows of values: name, setting, and a value a step."""
    body = re.search(r'class="dc-values">.*?<tbody>(.*?)</tbody>', shown, re.DOTALL)
    assert body
    rows = re.findall(r"<tr>(.*?)</tr>", body[1])
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row)]
        for row in rows
    ]
