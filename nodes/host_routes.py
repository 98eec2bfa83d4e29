"""ComfyUI's web server, as far as the front end needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from . import host

#: Takes the query of a request; a status and what to answer as JSON.
Answer = Callable[[Mapping[str, str]], tuple[int, dict[str, Any]]]
#: Where the server holds what answers at each path.  It takes no routes once it runs, so a pack
#: that is loaded again, or a second copy of it, changes what its route asks.
_ANSWERS = "dc_solver_answers"


def add_get(path: str, answer: Answer) -> None:
    """Answer GET requests at ``path``, where there is a server; whoever comes last answers."""
    server = host.prompt_server()
    if server is None:
        return
    answers = vars(server).setdefault(_ANSWERS, {})
    is_there = path in answers
    answers[path] = answer
    if is_there:
        return

    async def handle(request: web.Request) -> web.Response:
        try:
            status, content = answers[path](request.query)
        except Exception:
            host.log.exception("DC-Solver: %s failed", path)
            status, content = 500, {"error": "this failed; ComfyUI's log says why"}
        return web.json_response(content, status=status, headers={"Cache-Control": "no-store"})

    server.routes.get(path)(handle)
