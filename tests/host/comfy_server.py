"""A real ComfyUI, started headless on the loopback and driven over its API."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from host_process import HostProcess

ROOT = Path(__file__).resolve().parents[2]


def install() -> tuple[Path, Path]:
    """The folder and the Python of the ComfyUI that the environment names; skips without."""
    path, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if not path or not python:
        pytest.skip("needs a ComfyUI: set COMFYUI_PATH to its folder and COMFYUI_PYTHON to its "
                    "Python")  # fmt: skip
    return Path(path), Path(python)


class PromptError(RuntimeError):
    """A graph that ComfyUI refused or that failed; ``messages`` are its own."""

    def __init__(self, messages: Any) -> None:
        super().__init__(json.dumps(messages)[:4000])
        self.messages = messages


class ComfyServer(HostProcess):
    """ComfyUI with this checkout, the test nodes and the emoji models, in a folder of its own."""

    def __init__(self, comfy: Path, python: Path, folder: Path, *flags: str) -> None:
        """``flags`` are more of ComfyUI's own, such as ``--lowvram``."""
        super().__init__("ComfyUI", folder / "comfyui.log")
        self._comfy = comfy
        self._python = python
        self._flags = flags
        self.folder = folder

    def start(self) -> None:
        nodes = self.folder / "custom_nodes"
        models = self.folder / "models" / "diffusion_models"
        for path in (nodes, models, self.inputs, self.folder / "user"):
            path.mkdir(parents=True, exist_ok=True)
        # A name that is no Python identifier: ComfyUI must not care.
        (nodes / "dc-solver.pack").symlink_to(ROOT, target_is_directory=True)
        (nodes / "testing").symlink_to(ROOT / "tests/host/comfy_test_nodes", True)
        for weights in (ROOT / "demo/data").glob("emoji_*.safetensors"):
            (models / weights.name).symlink_to(weights)
        codec = ROOT / "demo/data/emoji_codec.safetensors"
        (self.inputs / codec.name).symlink_to(codec)
        command = [
            str(self._python), str(self._comfy / "main.py"), "--cpu", "--listen", "127.0.0.1",
            "--port", str(self.free_port()), "--base-directory", str(self.folder),
            "--disable-api-nodes", "--database-url", f"sqlite:///{self.folder / 'comfy.db'}",
            "--verbose", "INFO", "--preview-method", "auto", *self._flags,
        ]  # fmt: skip
        self.launch(command, self._comfy, "/system_stats", 180)

    def post(self, path: str, content: Any, seconds: float = 60.0) -> Any:
        """Raises PromptError where ComfyUI refuses."""
        try:
            return super().post(path, content, seconds)
        except urllib.error.HTTPError as error:
            raise PromptError(json.loads(error.read() or b"null")) from error

    def queue(self, graph: dict[str, Any]) -> str:
        """Start a graph.  Raises PromptError where ComfyUI refuses it or any node of it."""
        answer = self.post("/prompt", {"prompt": graph})
        if answer["node_errors"]:
            self.post("/queue", {"clear": True})
            self.post("/interrupt", {})
            raise PromptError(answer["node_errors"])
        return str(answer["prompt_id"])

    def wait(self, prompt: str, seconds: float = 600.0) -> dict[str, Any]:
        """The history entry of a prompt once it has ended.  Raises PromptError where it failed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt}")
            if prompt in history:
                entry: dict[str, Any] = history[prompt]
                if entry["status"]["status_str"] != "success":
                    raise PromptError(entry["status"]["messages"])
                return entry
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt} did not end:\n{self.log.read_text()[-4000:]}")

    def run(self, graph: dict[str, Any]) -> dict[str, Any]:
        """Run a graph; what each output node showed, by node id."""
        outputs: dict[str, Any] = self.wait(self.queue(graph))["outputs"]
        return outputs

    def output_file(self, entry: dict[str, str]) -> Path:
        return self.folder / entry["type"] / entry["subfolder"] / entry["filename"]

    @property
    def inputs(self) -> Path:
        """The host's input folder."""
        return self.folder / "input"

    @property
    def library(self) -> Path:
        return self.folder / "models" / "dc_ratios"

    def clear_library(self) -> None:
        shutil.rmtree(self.library, ignore_errors=True)
