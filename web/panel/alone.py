"""The panel by itself: ``python -m dc_solver panel``."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .guard import USER, Guard

ADDRESS, PORT = "127.0.0.1", 7871
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
#: The whole window, and nothing of Gradio's own below the panel.
_CSS = (
    "footer { display: none !important; } "
    ".gradio-container, .gradio-container :is(main, .app, .main) "
    "{ max-width: 1720px !important; width: 100%; margin: 0 auto; } "
    ".gradio-container :is(main, .app) { padding: 12px 16px !important; } "
    "#dc_alone h1 { margin: 0; font-size: 16px; font-weight: 650; color: var(--body-text-color); }"
)
_MOST_BYTES = 32 * 1024 * 1024


def build(folder: Callable[[], Path]) -> Any:
    """A gr.Blocks with the panel over the library in ``folder()``."""
    import gradio as gr

    from .layout import draw
    from .versions import blocks

    with blocks("DC-Solver") as panel:
        gr.HTML(f"<style>{_CSS}</style><h1>DC-Solver calibrations</h1>", elem_id="dc_alone")
        draw(folder)
    return panel


def application(
    folder: Callable[[], Path], address: str = ADDRESS, password: str | None = None
) -> Guard:
    """The ASGI app that :func:`run` serves.

    Raises ValueError for an address that others can reach where there is no password.
    """
    check(address, password)
    from fastapi import FastAPI

    from .versions import mount

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    served = mount(app, build(folder), _MOST_BYTES)
    hosts = _LOOPBACK if is_loopback(address) else None
    return Guard(served, password=password, hosts=hosts, most_bytes=_MOST_BYTES)


def run(
    folder: Callable[[], Path],
    address: str = ADDRESS,
    port: int = PORT,
    password: str | None = None,
    open_browser: bool = True,
) -> None:
    """Serve the panel until it is interrupted.

    Raises ValueError for an address that others can reach where there is no password, OSError where
    the port is taken.
    """
    check(address, password)
    import uvicorn

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listening = socket.create_server((address, port), family=family)
    except OSError as error:
        raise OSError(f"cannot listen on {address}, port {port}: {error.strerror}") from error
    with listening:
        config = uvicorn.Config(
            application(folder, address, password), log_level="warning",
            timeout_graceful_shutdown=1,  # an open page never ends its connection
        )  # fmt: skip
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{listening.getsockname()[1]}"
        print(f"DC-Solver panel of {folder()}: {url}", flush=True)
        if password is not None:
            print(f"user name: {USER}", flush=True)
        print("Ctrl+C ends it.", flush=True)
        if open_browser:
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):  # raised again once all is closed
            uvicorn.Server(config).run(sockets=[listening])


def check(address: str, password: str | None) -> None:
    """Raises ValueError where anybody on the network could use the panel."""
    if password == "":
        raise ValueError("password: expected one, got an empty text.")
    if password is None and not is_loopback(address):
        raise ValueError(
            f"listening on {address} lets others in, so it needs a password: put one into a file "
            "for --password-file, or into the environment as DC_SOLVER_PASSWORD."
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def read_password(file: str | None) -> str | None:
    """The first line of the file, else ``DC_SOLVER_PASSWORD``, else None.

    Raises OSError where the file cannot be read, ValueError where it starts with an empty line.
    """
    if file is None:
        return os.environ.get("DC_SOLVER_PASSWORD") or None
    with Path(file).open(encoding="utf-8") as lines:
        password = lines.readline(4096).strip()
    if not password:
        raise ValueError(f"{file}: expected a password in the first line, got none.")
    return password


def default_folder(pack: Path) -> Path:
    """The library of the host that the pack lies in, else ``dc_ratios`` where one stands."""
    models = pack.parent.parent / "models"
    if pack.parent.name == "custom_nodes":
        return models / "dc_ratios"
    if pack.parent.name == "extensions":
        return models / "DC-Ratios"
    return Path("dc_ratios")
