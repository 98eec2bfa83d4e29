"""A host's server as a process of its own on the loopback, with its log in a file."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class HostProcess:
    """Started with ``launch``, asked with ``get`` and ``post``, which speak JSON."""

    def __init__(self, name: str, log: Path) -> None:
        self._name = name
        self.log = log
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the host with what the tests need."""
        raise NotImplementedError

    @contextmanager
    def running(self) -> Iterator[None]:
        """Started, and stopped at the end whatever happens."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def free_port(self) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        return self.port

    def launch(self, command: Sequence[str], folder: Path, ready: str, seconds: float) -> None:
        """Run a command until it answers at ``ready``.  Raises RuntimeError where it does not."""
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=env
            )
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._name} ended at start:\n{self.log.read_text()[-4000:]}")
            try:
                self.get(ready)
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        self.stop()
        raise RuntimeError(f"{self._name} did not answer:\n{self.log.read_text()[-4000:]}")

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
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            return json.load(answer)

    def post(self, path: str, content: Any, seconds: float = 60.0) -> Any:
        """Raises HTTPError where the host refuses."""
        body = json.dumps(content).encode()
        request = urllib.request.Request(
            f"{self.url}{path}", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            text = answer.read()
            return json.loads(text) if text else None
