"""Three objects that ratio files hold, and the bytes of files of them whose content was edited."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from dc_solver.ratios import CPR, Identity, RatioSchedule, Report
from dc_solver.ratios.records import to_record
from dc_solver.solvers import LearnedSteps
from hypothesis import HealthCheck, settings
from safetensors.numpy import save as tensors_to_bytes

SCHEDULE = RatioSchedule(
    ratios=(1.0, 1.0, 1.25, 0.8),
    sigmas=(14.0, 5.0, 2.0, 0.5, 0.0),
    cfg=4.5,
    identity=Identity(fingerprint="abc", latent_shape=(4, 8, 8), seeds=(1, 2)),
    report=Report(losses=(0.1, 0.2, 0.3, 0.4), points=5, verdict="better"),
    notes=("a note",),
)
LEARNED = replace(
    SCHEDULE,
    quality="full",
    learned=LearnedSteps(
        (14.0, 6.0, 2.5, 0.7, 0.0),
        (14.0, 5.8, 2.4, 0.71),
        ((0.0,) * 4, (0.25, -0.25, 0.0, 0.0), (0.1, 0.2, -0.3, 0.0), (0.0, 0.5, 0.5, -1.0)),
    ),
)
REGRESSION = CPR(
    coefficients=tuple(0.1 * k for k in range(36)),
    steps_range=(4, 10),
    cfg_range=(1.0, 8.0),
    ratio_range=(0.5, 2.0),
    fitted=(SCHEDULE,),
)
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rebuilt(
    obj: RatioSchedule | CPR,
    edit: Callable[[dict[str, Any], dict[str, np.ndarray]], Any] = lambda record, arrays: None,
    metadata: dict[str, str] | None = None,
    dump: Callable[[Any], str] = json.dumps,
) -> bytes:
    """The bytes of a file whose content was edited."""
    record, arrays = to_record(obj)
    record = json.loads(json.dumps(record))
    edit(record, arrays)
    return tensors_to_bytes(arrays, metadata=metadata or {"dc_solver": dump(record)})


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any], Any], None]:
    def edit(record: Any, arrays: Any) -> None:
        for key in keys[:-1]:
            record = record[key]
        record[keys[-1]] = value

    return edit
