"""A ComfyUI process that samples the benchmark's points with its own samplers."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from .axes import Seeds
from .task import Subject

WORKER = Path(__file__).with_name("comfy_worker.py")


class HostError(RuntimeError):
    """What ComfyUI could not do, in its own words."""


@dataclass(frozen=True)
class Install:
    """A ComfyUI folder and the Python that runs it."""

    path: Path
    python: Path

    @classmethod
    def from_environment(cls) -> Install | None:
        """Where COMFYUI_PATH and COMFYUI_PYTHON point; None where they are not set."""
        path, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
        return cls(Path(path), Path(python)) if path and python else None


class Host:
    """One model in a ComfyUI; a context manager, which ends the process."""

    def __init__(self, install: Install, subject: Subject, seeds: Seeds, threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="dc_solver_table_")
        folder = Path(self._folder.name)
        self._log = folder / "comfyui.log"
        self._file = folder / "latents.safetensors"
        model, points = subject.eager, subject.points(seeds.all)
        weights, data = folder / "model.safetensors", folder / "points.safetensors"
        state = {name: value.contiguous() for name, value in model.network.state_dict().items()}
        save_file(state, weights)
        save_file(
            {"noise": points.noise, "conditions": points.conditions, "sigmas": model.sigmas}, data
        )
        command = [str(install.python), str(WORKER), str(install.path), str(threads)]
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        pipe = subprocess.PIPE
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=log, env=env, text=True
            )
        self._ask(weights=str(weights), kind=model.kind, points=str(data), fast=subject.fast)

    def sample(
        self, sampler: str, scheduler: str, steps: int, cfg: float
    ) -> tuple[torch.Tensor, int]:
        """The final latents of all points, and the model calls an image took.

        Raises HostError where ComfyUI cannot.
        """
        answer = self._ask(
            sampler=sampler, scheduler=scheduler, steps=steps, cfg=cfg, file=str(self._file)
        )
        return load_file(self._file)["latents"], int(answer["calls"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise HostError(f"ComfyUI ended:\n{self._log.read_text(errors='replace')[-4000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HostError(f"ComfyUI: {answer['error']}")
        return answer

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._folder.cleanup()
