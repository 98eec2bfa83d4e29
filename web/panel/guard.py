"""Stands before the panel's server: who may ask, from where, and how much at a time."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

USER = "artist"
_WRONG_PASSWORD_SECONDS = 0.5
#: Nothing from elsewhere is loaded or called, and no other page may frame this one.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
#: Gradio's ways to files of the machine and to other servers, which the panel has no use for.
_CLOSED = re.compile(r"/+(gradio_api/+)?(file|proxy|stream)\b")
_ADDED = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI app around another.

    A request must name one of ``hosts`` (None: any), so that no foreign name can be pointed here;
    one that a page sends must come from this one; with a password every request must bring it, by
    HTTP Basic; a body may have ``most_bytes``; and nothing leads to files or other servers.
    """

    def __init__(
        self, app: App, *, password: str | None, hosts: Collection[str] | None, most_bytes: int
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._most_bytes = most_bytes
        self._secret = None if password is None else f"{USER}:{password}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is None and not self._knows(headers):
            if b"authorization" in headers:
                await asyncio.sleep(_WRONG_PASSWORD_SECONDS)
            refusal = 401, "a password is needed"
        if refusal is None and _CLOSED.match(scope["path"]):
            refusal = 404, "there is nothing"
        if refusal is not None:
            await _refuse(scope, send, *refusal)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_ADDED]
            await send(message)

        await self._app(scope, receive, guarded)

    def _refusal(self, scope: Message, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._hosts is not None and _name(host) not in self._hosts:
            return 403, "this is another server"
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1").lower().partition("://")[2] != host:
            return 403, "another page asks"
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit():
            return 411, "a length is needed"
        return (413, "too large") if int(length) > self._most_bytes else None

    def _knows(self, headers: dict[bytes, bytes]) -> bool:
        if self._secret is None:
            return True
        kind, _, given = headers.get(b"authorization", b"").partition(b" ")
        try:
            brought = base64.b64decode(given, validate=True)
        except binascii.Error:
            return False
        return kind.lower() == b"basic" and hmac.compare_digest(brought, self._secret)


def _name(host: str) -> str:
    """The host without its port: ``127.0.0.1``, ``[::1]``."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


async def _refuse(scope: Message, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *_ADDED]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="DC-Solver", charset="UTF-8"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{why}\n".encode()})
