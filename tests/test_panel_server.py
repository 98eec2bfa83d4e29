"""Whom the panel's server lets in, and that it answers; the latter where Gradio is installed."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dc_solver import __main__ as command
from dc_solver import ratios
from dc_solver.ratios import RatioSchedule
from dc_solver.web.panel import alone
from dc_solver.web.panel.guard import Guard

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "with: a colon, ä"
CURVE = RatioSchedule((1.0, 1.0, 1.1, 0.9, 1.3), cfg=3.0)


def basic(text: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


# the guard


def asked(guard: Guard, kind: str = "http", path: str = "/", **headers: str) -> Any:
    """The status that a request gets; for a websocket the type of the answer."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing of a refused request is read")

    given = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    asyncio.run(guard({"type": kind, "path": path, "headers": given}, receive, send))
    return sent[0].get("status", sent[0]["type"])


async def inner(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})


LOCAL = Guard(inner, password=None, hosts=("127.0.0.1", "localhost", "[::1]"), most_bytes=1000)
LOCKED = Guard(inner, password=PASSWORD, hosts=None, most_bytes=1000)


@pytest.mark.parametrize(("headers", "status"), [
    ({"host": "127.0.0.1:7871"}, 200),
    ({"host": "LOCALHOST:7871"}, 200),
    ({"host": "[::1]:7871"}, 200),
    ({"host": "evil.example:7871"}, 403),
    ({"host": "127.0.0.1.evil.example"}, 403),
    ({}, 403),
    ({"host": "127.0.0.1:7871", "origin": "http://127.0.0.1:7871"}, 200),
    ({"host": "127.0.0.1:7871", "origin": "http://127.0.0.1:8188"}, 403),
    ({"host": "127.0.0.1:7871", "origin": "https://evil.example"}, 403),
    ({"host": "127.0.0.1:7871", "origin": "null"}, 403),
    ({"host": "127.0.0.1:7871", "content_length": "1000"}, 200),
    ({"host": "127.0.0.1:7871", "content_length": "1001"}, 413),
    ({"host": "127.0.0.1:7871", "content_length": "-1"}, 411),
    ({"host": "127.0.0.1:7871", "transfer_encoding": "chunked"}, 411),
])  # fmt: skip
def test_only_this_page_on_this_machine_is_answered(headers: dict[str, str], status: int) -> None:
    assert asked(LOCAL, **headers) == status
    expected = "websocket.accept" if status == 200 else "websocket.close"
    assert asked(LOCAL, "websocket", **headers) == expected


@pytest.mark.parametrize("path", [
    "/file=/etc/passwd", "/file/etc/passwd", "//file=x", "/gradio_api/file=x", "/proxy=http://x",
    "/gradio_api//proxy=http://x", "/stream/x",
])  # fmt: skip
def test_the_ways_to_files_and_other_servers_are_closed(path: str) -> None:
    assert asked(LOCAL, path=path, host="127.0.0.1") == 404


@pytest.mark.parametrize(("given", "status"), [
    (f"artist:{PASSWORD}", 200), (f"artist:{PASSWORD} ", 401), ("artist:", 401), ("", 401),
    (PASSWORD, 401), (f"other:{PASSWORD}", 401), (None, 401),
])  # fmt: skip
def test_a_password_is_asked_of_everything(
    given: str | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dc_solver.web.panel.guard._WRONG_PASSWORD_SECONDS", 0.0)
    headers = {} if given is None else {"authorization": basic(given)["Authorization"]}
    assert asked(LOCKED, **headers) == status
    expected = "websocket.accept" if status == 200 else "websocket.close"
    assert asked(LOCKED, "websocket", **headers) == expected


@pytest.mark.parametrize("header", ["Basic", "Basic ???", "Bearer eA==", "basic \xff", "\xff"])
def test_a_malformed_password_is_none(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dc_solver.web.panel.guard._WRONG_PASSWORD_SECONDS", 0.0)
    assert asked(LOCKED, authorization=header) == 401


# the command


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "1"])
def test_an_address_that_others_reach_needs_a_password(address: str) -> None:
    with pytest.raises(ValueError, match="needs a password"):
        alone.check(address, None)
    with pytest.raises(ValueError, match="needs a password"):
        alone.run(Path, address, 0, None, False)
    alone.check(address, PASSWORD)


def test_the_loopback_needs_none_and_an_empty_one_is_no_password() -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        alone.check(address, None)
    with pytest.raises(ValueError, match="expected one, got an empty text"):
        alone.check("0.0.0.0", "")


def test_the_command_refuses_and_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DC_SOLVER_PASSWORD", raising=False)
    assert command.main(["panel", "--listen", "0.0.0.0", "--no-browser"]) == 1
    assert "--password-file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["panel", "--password", "secret"])


def test_the_command_says_how_to_get_gradio() -> None:
    script = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests")!r})
import conftest
sys.modules["gradio"] = sys.modules["uvicorn"] = None
from dc_solver.__main__ import main
raise SystemExit(main(["panel", "--no-browser", "--port", "0"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "-m pip install gradio" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_password_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DC_SOLVER_PASSWORD", raising=False)
    assert alone.read_password(None) is None
    monkeypatch.setenv("DC_SOLVER_PASSWORD", "of the environment")
    assert alone.read_password(None) == "of the environment"
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\nsecond line\n", encoding="utf-8")
    assert alone.read_password(str(file)) == PASSWORD
    file.write_text("\nsecond line\n")
    with pytest.raises(ValueError, match="first line"):
        alone.read_password(str(file))


def test_the_library_is_that_of_the_host_around_the_pack() -> None:
    comfy, webui = Path("/a/ComfyUI"), Path("/a/webui")
    found = alone.default_folder(comfy / "custom_nodes" / "dc_solver")
    assert found == comfy / "models" / "dc_ratios"
    found = alone.default_folder(webui / "extensions" / "dc_solver")
    assert found == webui / "models" / "DC-Ratios"
    assert alone.default_folder(Path("/src/dc_solver")) == Path("dc_ratios")


def test_a_taken_port_is_told() -> None:
    pytest.importorskip("uvicorn", reason="needs gradio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1, port {port}"):
            alone.run(Path, port=port, open_browser=False)


# the server


class Server:
    """The panel over a library, in a thread."""

    def __init__(self, port: int, folder: Path, app: Guard) -> None:
        self.port = port
        self.folder = folder
        self.app = app

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        body = None if content is None else json.dumps(content)
        kind = {} if content is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, {**kind, **headers})
            answer = connection.getresponse()
            told = "" if "event-stream" in (answer.getheader("Content-Type") or "") else (
                answer.read().decode("utf-8", "replace"))  # fmt: skip
            return answer.status, told
        finally:
            connection.close()

    def routes(self) -> list[tuple[str, str]]:
        """Methods and paths of all that Gradio serves."""
        found, parts = [], [("", self.app._app)]
        for prefix, part in parts:
            for route in getattr(part, "routes", ()):
                included = getattr(route, "original_router", None)  # of newer FastAPIs
                if included is not None:
                    parts.append((route.include_context.prefix, included))
                elif not hasattr(route, "methods"):
                    parts.append((prefix, route.app))
                for method in getattr(route, "methods", None) or ():
                    found.append((method, re.sub("[{}]", "", prefix + route.path)))
        return sorted(set(found))


@contextmanager
def serving(folder: Path, password: str | None = None) -> Iterator[Server]:
    pytest.importorskip("gradio", reason="needs gradio: pip install gradio")
    import uvicorn

    address = "127.0.0.1" if password is None else "0.0.0.0"
    app = alone.application(lambda: folder, address, password)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        yield Server(listening.getsockname()[1], folder, app)
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    ratios.save(CURVE, folder / "five steps.safetensors")
    return folder


@pytest.fixture(scope="module")
def panel(library: Path) -> Iterator[Server]:
    with serving(library) as server:
        yield server


@pytest.fixture(scope="module")
def locked(library: Path) -> Iterator[Server]:
    with serving(library, PASSWORD) as server:
        yield server


def test_the_page_and_its_first_answer(panel: Server) -> None:
    status, page = panel.ask("GET", "/")
    assert status == 200 and "DC-Solver" in page
    status, told = panel.ask("GET", "/config")
    config = json.loads(told)
    load = next(
        k
        for k, dependency in enumerate(config["dependencies"])
        if dependency.get("trigger") == "load" or [t[1] for t in dependency["targets"]] == ["load"]
    )
    prefix = config.get("api_prefix", "")
    content = {"fn_index": load, "data": [None, "", 7, 4.0], "session_hash": "test"}
    status, told = panel.ask("POST", f"{prefix}/run/predict", content)
    assert status == 200 and "five steps" in told and "1.300" in told and "<svg" in told
    assert config.get("analytics_enabled", False) is False


def test_the_page_names_nothing_of_elsewhere_to_load(panel: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", panel.port, timeout=20)
    connection.request("GET", "/")
    policy = connection.getresponse().getheader("Content-Security-Policy") or ""
    connection.close()
    assert "default-src 'self'" in policy and "http:" not in policy and "*" not in policy
    _, config = panel.ask("GET", "/config")
    assert "fonts.googleapis" not in config
    assert "googleapis" not in panel.ask("GET", "/theme.css")[1]


def test_foreign_pages_and_names_are_turned_away(panel: Server) -> None:
    assert panel.ask("GET", "/", Host="evil.example")[0] == 403
    assert panel.ask("POST", "/gradio_api/run/predict", {}, Origin="http://evil.example")[0] == 403


def test_no_get_changes_anything(panel: Server, library: Path) -> None:
    before = {path: path.read_bytes() for path in library.iterdir()}
    asked = [path for method, path in panel.routes() if method == "GET"]
    assert len(asked) > 5
    for path in asked:
        panel.ask("GET", path)
    assert {path: path.read_bytes() for path in library.iterdir()} == before


def test_no_file_of_the_machine_is_served(panel: Server, library: Path) -> None:
    path = library / "five steps.safetensors"
    for route in ("/file=", "/gradio_api/file=", "/file/", "/gradio_api/file/"):
        for wanted in (str(path).replace(" ", "%20"), "/etc/passwd", str(ROOT / "README.md")):
            assert panel.ask("GET", f"{route}{wanted}")[0] in (403, 404)


def test_every_endpoint_asks_for_the_password(
    locked: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dc_solver.web.panel.guard._WRONG_PASSWORD_SECONDS", 0.0)
    routes = [*locked.routes(), ("GET", "/no/such/path"), ("POST", "/login")]
    assert len(routes) > 20
    for method, path in routes:
        content = {} if method == "POST" else None
        assert locked.ask(method, path, content)[0] == 401
        assert locked.ask(method, path, **basic("artist:x"))[0] == 401
    status, page = locked.ask("GET", "/", **basic(f"artist:{PASSWORD}"))
    assert status == 200 and "DC-Solver" in page
