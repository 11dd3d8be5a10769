"""The health endpoint, which the server answers itself; `probe` is who asks it.

It says whether this process takes new work, nothing about the application's own dependencies: a database that is down
is no reason to restart every server in front of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from pronghorn.types import ASGIApplication, Receive, Scope, Send

if TYPE_CHECKING:  # a server without an access log does not import it
    from pronghorn.observe.access import AccessLog
    from pronghorn.observe.facts import Exchange


class HealthEndpoint:
    """An ASGI application that answers one path and hands everything else on, untouched.

    GET and HEAD get ``200 ok``, or ``503 draining`` once ``is_ready`` says False; other methods get 405. The
    path is meant as the client sends it, with or without ``root_path`` before it.
    """

    def __init__(self, app: ASGIApplication, path: str, is_ready: Callable[[], bool]) -> None:
        self._app = app
        self._path = path
        self._is_ready = is_ready

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the coroutine to run: the application's own, with none of ours around it, or the answer's."""
        if scope["type"] == "http" and _is_probe(scope, self._path):
            return self._answer(scope["method"], send)
        return self._app(scope, receive, send)

    async def _answer(self, method: str, send: Send) -> None:
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
        if method not in ("GET", "HEAD"):
            status, body = 405, b"method not allowed"
            headers.append((b"allow", b"GET, HEAD"))
        elif self._is_ready():
            status, body = 200, b"ok"
        else:
            status, body = 503, b"draining"
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


class QuietProbes:
    """An observer that keeps probes which found all well from the access log: one comes every few seconds."""

    def __init__(self, observer: AccessLog, path: str) -> None:
        self._observer = observer
        self._path = path

    def response_complete(self, exchange: Exchange) -> None:
        """Hand on whatever is worth a line."""
        if exchange.status != 200 or not _is_probe(exchange.scope, self._path):
            self._observer.response_complete(exchange)

    def flush(self) -> None:
        """Write what the access log still holds."""
        self._observer.flush()


def _is_probe(scope: Mapping[str, Any], path: str) -> bool:
    found = scope["path"]
    return found.endswith(path) and found in (path, scope.get("root_path", "") + path)
