"""A real Forge, started headless on the loopback with a small checkpoint of random weights."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from host_process import HostProcess
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = "small_sd15.safetensors"
FLAGS = [
    "--skip-prepare-environment", "--skip-torch-cuda-test", "--skip-python-version-check",
    "--skip-version-check", "--skip-install", "--always-cpu", "--all-in-fp32",
    "--no-download-sd-model", "--ui-debug-mode", "--api",
]  # fmt: skip


def install() -> tuple[Path, Path]:
    """The folder and the Python of the Forge that the environment names; skips without."""
    path, python = os.environ.get("FORGE_PATH"), os.environ.get("FORGE_PYTHON")
    if not path or not python:
        pytest.skip("needs a Forge: set FORGE_PATH to its folder and FORGE_PYTHON to its Python")
    return Path(path), Path(python)


@dataclass(frozen=True)
class Sampled:
    """An image request's answer and every model call that it made."""

    infotext: str
    images: list[str]
    x: list[torch.Tensor]
    sigmas: list[float]
    denoised: list[torch.Tensor]
    latents: torch.Tensor | None
    grid: list[float]


class ForgeServer(HostProcess):
    def __init__(self, forge: Path, python: Path, folder: Path) -> None:
        super().__init__("Forge", folder / "forge.log")
        self._forge = forge
        self._python = python
        self.folder = folder
        self._records = folder / "records"
        self.checkpoint = folder / "models" / "Stable-diffusion" / CHECKPOINT

    def start(self) -> None:
        extensions = self.folder / "extensions"
        for path in (extensions, self.checkpoint.parent, self._records):
            path.mkdir(parents=True, exist_ok=True)
        (extensions / "dc-solver").symlink_to(ROOT, target_is_directory=True)
        (extensions / "recorder").symlink_to(ROOT / "tests/host/forge_test_extension", True)
        # The host asks git for its own and its extensions' versions.
        (self._forge / "repositories" / "stable-diffusion-webui-assets").mkdir(
            parents=True, exist_ok=True
        )
        subprocess.run(
            [str(self._python), str(ROOT / "tests/host/forge_checkpoint.py"), str(self._forge),
             str(self.checkpoint)],
            check=True, capture_output=True,
        )  # fmt: skip
        os.environ["DC_SOLVER_TEST_RECORDS"] = str(self._records)
        command = [
            str(self._python), "launch.py", *FLAGS, "--port", str(self.free_port()),
            "--data-dir", str(self.folder),
        ]  # fmt: skip
        self.launch(command, self._forge, "/tests/started", 300)

    @property
    def library(self) -> Path:
        return self.folder / "models" / "DC-Ratios"

    def txt2img(self, **options: Any) -> Sampled:
        return self._sample("/sdapi/v1/txt2img", options)

    def img2img(self, **options: Any) -> Sampled:
        return self._sample("/sdapi/v1/img2img", options)

    def images_made(self) -> int:
        return len(list(self._records.glob("*.json")))

    def last_calls(self) -> int:
        """How many model calls the last image took."""
        last = max(self._records.glob("*.json"), key=lambda path: int(path.stem))
        return int(json.loads(last.read_text())["calls"])

    def post_image(self, path: str, **options: Any) -> Any:
        """The host's answer to a request for a small image with our sampler."""
        asked = {"prompt": "a fox", "steps": 5, "width": 64, "height": 64, "cfg_scale": 7.0,
                 "seed": 3, "sampler_name": "DC-Solver", "scheduler": "Simple",
                 **options}  # fmt: skip
        return self.post(path, asked, 300)

    def _sample(self, path: str, options: dict[str, Any]) -> Sampled:
        known = self.images_made()
        answer = self.post_image(path, **options)
        told = json.loads((self._records / f"{known}.json").read_text())
        tensors = load_file(self._records / f"{known}.safetensors")
        count = told["calls"]
        return Sampled(
            infotext=json.loads(answer["info"])["infotexts"][0],
            images=answer["images"],
            x=[tensors[f"{k}.x"] for k in range(count)],
            sigmas=told["sigmas"],
            denoised=[tensors[f"{k}.denoised"] for k in range(count)],
            latents=tensors.get("latents"),
            grid=told["grid"],
        )
