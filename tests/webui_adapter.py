"""The WebUI adapter at work on stand-ins of the host: asked, run, and run again as written."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
import webui_host as host
from dc_solver.solvers import VPSchedule, discrete_time, sample

ROOT = Path(__file__).resolve().parent.parent
FIVE = (1.0, 1.0, 1.12, 0.91, 1.05)
SIGMAS = torch.tensor([14.6, 6.0, 3.0, 1.5, 0.6, 0.0])


def adapter(name: str) -> Any:
    return importlib.import_module(f"dc_solver.scripts.webui.{name}")


def library(tmp_path: Path) -> Path:
    folder = tmp_path / "DC-Ratios"
    folder.mkdir(exist_ok=True)
    return folder


def run(model: Any, p: host.Processing, sigmas: torch.Tensor = SIGMAS, **arguments: Any) -> Any:
    """Sample as the host does; the denoiser and the result."""
    denoiser = host.Denoiser(model.wrap, p)
    given_args = {"cond": "prompt", "cond_scale": p.cfg_scale, **arguments}
    x = 14.6 * torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    return denoiser, adapter("sampler").sample_dc_solver(denoiser, x, sigmas, given_args)


def by_library(sigmas: torch.Tensor = SIGMAS, **options: Any) -> torch.Tensor:
    x = 14.6 * torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
    schedule = VPSchedule(discrete_time(host.vp_table().tolist()))
    return sample(
        lambda x, s: x / (1 + s.view(-1, 1) ** 2), x, sigmas, schedule=schedule, **options
    )


def asking(**fields: Any) -> tuple[Any, host.Processing]:
    """A processing object of which the accordion asks this."""
    p = host.Processing()
    fields = {"choice": "Automatic", **fields}
    adapter("asked").ask(p, adapter("asked").asked_in(**fields))
    return p, fields


def again(p: host.Processing, **changes: Any) -> torch.Tensor:
    """The image that the pasted infotext makes."""
    second: Any = host.Processing(**changes)
    adapter("asked").ask(second, pasted_back(p))
    return run(host.a1111_model(), second)[1]


def pasted_back(p: Any) -> Any:
    """What the accordion asks for after the infotext was pasted into it."""
    asked, infotext = adapter("asked"), adapter("infotext")
    notes = {key: str(value) for key, value in p.extra_generation_params.items()}
    fields = [infotext.pasted(key)(notes) for key in (infotext.RATIOS, *infotext.FIELDS.values())]
    return asked.asked_in(infotext.pasted_choice(notes), *fields)


def load_script(pack: Path = ROOT) -> Any:
    """As the host loads it: by path, under a name that is no module's."""
    path = pack / "scripts" / "dc_solver.py"
    spec = importlib.util.spec_from_file_location("dc_solver.py", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
