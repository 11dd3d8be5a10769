"""What health is: alive, and ready, judged from the count files; and the endpoint beside the application, of one process.

Alive says whether there is any use in waiting: if not, somebody should start all of it anew. Ready says whether to send requests here
now. Neither says anything about the application's own dependencies: a database that is down is no reason to restart every
server in front of it. docs/health.md has who should ask for which; `admin` answers, and `probe` asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pronghorn.types import ASGIApplication, Receive, Scope, Send

if TYPE_CHECKING:  # a server without an access log does not import it
    from pronghorn.observe.access import AccessLog
    from pronghorn.observe.facts import Exchange
    from pronghorn.observe.reading import Reading, WorkerRow

#: Seconds that a supervisor may say nothing. It says something twice a second; to wait for a process that is slow to fork may take it ten.
_SILENCE: Final = 15.0


class Check(NamedTuple):
    """One thing that was looked at: whether all is well with it, and how it is."""

    name: str
    passed: bool
    told: str


def liveness(reading: Reading) -> list[Check]:
    """What has to be so for the server to get well by itself. Where no supervisor says anything, the answer is the proof.

    That is a process which is the only one, whose event loop this is; or Gunicorn's, which dies with the arbiter.
    """
    supervisor = reading.supervisor
    if supervisor is None:
        return [Check("process", True, "it answers")]
    age = supervisor.heartbeat_age
    if age > _SILENCE:
        return [Check("supervisor", False, f"the supervisor is silent for {age:.0f} s")]
    return [Check("supervisor", True, f"process {supervisor.pid} looks after {supervisor.wanted}")]


def serves(row: WorkerRow, silence: float) -> bool:
    """Whether a worker takes requests: it is ready, and its event loop turns."""
    return row.state == "ready" and row.heartbeat_age <= silence


def readiness(reading: Reading, *, silence: float) -> list[Check]:
    """What has to be so for requests to be sent here. A worker that says nothing for `silence` seconds does not count."""
    supervisor = reading.supervisor
    serving = [row for row in reading.workers if serves(row, silence)]
    if supervisor is None:
        draining = bool(reading.workers) and all(row.state == "leaving" for row in reading.workers)
    else:
        draining = supervisor.state == "leaving"
    # A WebSocket is one of those that are limited, for as long as it is open.
    full = bool(serving) and all(0 < row.limit <= row.in_flight + row.websockets for row in serving)
    return [
        Check("workers", bool(serving), _told_workers(reading.workers, len(serving))),
        Check("drain", not draining, "draining" if draining else "not draining"),
        Check("limit", not full, "every worker is at its limit" if full else "below the limit"),
    ]


def _told_workers(rows: list[WorkerRow], serving: int) -> str:
    if serving:
        return f"{serving} of {len(rows)} serve"
    states = Counter("silent" if row.state == "ready" else row.state for row in rows)
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    return f"no worker serves ({told or 'there is none'})"


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
