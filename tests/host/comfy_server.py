"""A real ComfyUI, started headless on the loopback and driven over its API."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class PromptError(RuntimeError):
    """A graph that ComfyUI refused or that failed; ``messages`` are its own."""

    def __init__(self, messages: Any) -> None:
        super().__init__(json.dumps(messages)[:4000])
        self.messages = messages


class ComfyServer:
    """ComfyUI with this checkout, the test nodes and the emoji models, in a folder of its own."""

    def __init__(self, comfy: Path, python: Path, folder: Path, *flags: str) -> None:
        """``flags`` are more of ComfyUI's own, such as ``--lowvram``."""
        self._comfy = comfy
        self._python = python
        self._flags = flags
        self.folder = folder
        self.log = folder / "comfyui.log"
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

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
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        command = [
            str(self._python), str(self._comfy / "main.py"), "--cpu", "--listen", "127.0.0.1",
            "--port", str(self._port), "--base-directory", str(self.folder),
            "--disable-api-nodes", "--database-url", f"sqlite:///{self.folder / 'comfy.db'}",
            "--verbose", "INFO", "--preview-method", "auto", *self._flags,
        ]  # fmt: skip
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=self._comfy, env=env
            )
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"ComfyUI ended at start:\n{self.log.read_text()[-4000:]}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        self.stop()
        raise RuntimeError(f"ComfyUI did not answer:\n{self.log.read_text()[-4000:]}")

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, content: Any) -> Any:
        body = json.dumps(content).encode()
        request = urllib.request.Request(
            f"{self.url}{path}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                text = answer.read()
                return json.loads(text) if text else None
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
