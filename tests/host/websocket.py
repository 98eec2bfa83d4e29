"""The little of a WebSocket that the tests need: connect, and read whole messages."""

from __future__ import annotations

import base64
import os
import socket
import struct
from urllib.parse import urlsplit


class WebSocket:
    """A connection to ``url`` (http), read only."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self._stream = self._socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        self._socket.sendall(request.encode())
        status = self._stream.readline()
        if b" 101 " not in status:
            raise ConnectionError(status.decode())
        while self._stream.readline().strip():
            pass

    def read(self) -> str | bytes:
        """The next message: text, or bytes.  Raises TimeoutError, ConnectionError."""
        content, kind = b"", 0
        while True:
            first, length = self._take(2)
            length &= 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self._take(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self._take(8))
            data, code = self._take(length), first & 0x0F
            if code == 8:
                raise ConnectionError("closed by the server")
            if code > 8:
                continue
            kind = code or kind
            content += data
            if first & 0x80:
                return content.decode() if kind == 1 else content

    def _take(self, count: int) -> bytes:
        data = self._stream.read(count)
        if data is None or len(data) < count:
            raise ConnectionError("closed by the server")
        return data

    def close(self) -> None:
        self._stream.close()
        self._socket.close()
