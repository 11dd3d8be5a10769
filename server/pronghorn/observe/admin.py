"""The application behind the admin listener: health, metrics, workers and the status page.

    /livez /readyz   200 ok, or 503 and why; ?verbose is a line for each check, ?exclude=limit leaves one out (may be repeated)
    /metrics         for Prometheus, as text or OpenMetrics by what is accepted
    /workers         each process that serves, as JSON
    /status.json     the last ten minutes, as JSON; the page draws them
    /                the page

It reads count files and nothing else, changes nothing, and answers everything in one piece.

Who can reach the listener may read all of it: reach is the only right that there is. One who cannot, but has somebody's browser load
a page, could have the name of that page's host lead to 127.0.0.1 afterwards (DNS rebinding), and the browser would let the page read
what it is not told is another's. So on the loopback only a host that no DNS can say is answered: an address, or localhost. On every
other address the names by which Prometheus and Kubernetes ask are not known here, and who is in that network can ask by itself.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl

from pronghorn.errors import UserError

from .health import Check, liveness, readiness, serves
from .history import INTERVAL, History

if TYPE_CHECKING:
    from pronghorn.types import Receive, Scope, Send

    from .reading import Reading, WorkerRow

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_HTML: Final = "text/html; charset=utf-8"
#: No page of another origin is to embed this, or to guess what it is; and nobody is to keep what was true a moment ago.
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class About(NamedTuple):
    """What there is to say that no count file says. `pid` and `started` are of the process that all others come from."""

    app: str
    version: str
    python: str
    pid: int
    started: float


class Answer(NamedTuple):
    """A response."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class AdminApp:
    """ASGI. `read` takes in the count files, `expose` makes of them what Prometheus reads, given what it accepts (None: nobody counts).

    `silence` is after how many seconds a worker that says nothing does not count as one that serves.
    """

    #: Seconds between two calls of `sample`.
    interval = INTERVAL

    def __init__(
        self,
        read: Callable[[], Reading],
        expose: Callable[[str], tuple[bytes, str]] | None,
        *,
        about: About,
        silence: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._expose = expose
        self._about = about
        self._silence = silence
        self._clock = clock
        self._history = History()
        self._page: Answer | None = None
        self._routes: dict[str, Callable[[Scope], Answer]] = {
            "/": self._status_page,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/workers": self._workers,
            "/status.json": self._status,
        }

    def sample(self) -> None:
        """Note how things are. To be called every `interval` seconds."""
        reading = self._read()
        serving = sum(serves(row, self._silence) for row in reading.workers)
        self._history.note(reading, serving, self._clock())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # ASGI; there are no bodies
        assert scope["type"] == "http"
        answer = self._answer(scope)
        headers = [
            (b"content-type", answer.content_type.encode("latin-1")),
            (b"content-length", b"%d" % len(answer.body)),
            *_HEADERS,
            *answer.headers,
        ]
        await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    def _answer(self, scope: Scope) -> Answer:
        if not _host_is_believable(scope):
            return _text(
                HTTPStatus.MISDIRECTED_REQUEST,
                "ask for 127.0.0.1 or localhost: on this machine any page could have another name lead here",
            )
        route = self._routes.get(scope["path"])
        if route is None:
            return _text(HTTPStatus.NOT_FOUND, "not found")
        if scope["method"] not in ("GET", "HEAD"):
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed", (b"allow", b"GET, HEAD"))
        return route(scope)

    # Health.

    def _livez(self, scope: Scope) -> Answer:
        return _verdict(scope, liveness(self._read()))

    def _readyz(self, scope: Scope) -> Answer:
        return _verdict(scope, self._readiness(self._read()))

    def _readiness(self, reading: Reading) -> list[Check]:
        return readiness(reading, silence=self._silence)

    # For machines.

    def _metrics(self, scope: Scope) -> Answer:
        if self._expose is None:
            return _text(HTTPStatus.NOT_FOUND, "nothing is counted, --metrics switches it on")
        try:
            body, content_type = self._expose(_header(scope, b"accept"))
        except UserError as exc:
            return _text(HTTPStatus.NOT_IMPLEMENTED, str(exc))
        return Answer(HTTPStatus.OK, content_type, body, ((b"vary", b"accept"),))

    def _workers(self, scope: Scope) -> Answer:  # a route
        reading = self._read()
        checks = self._readiness(reading)
        return _json(
            {
                "version": self._about.version,
                "time": self._clock(),
                "ready": all(check.passed for check in checks),
                **self._family(reading),
            }
        )

    def _family(self, reading: Reading) -> dict[str, Any]:
        return {
            "wanted": len(reading.workers) if reading.supervisor is None else reading.supervisor.wanted,
            "supervisor": _supervisor(reading),
            "workers": self._rows(reading.workers),
        }

    def _rows(self, rows: Iterable[WorkerRow]) -> list[dict[str, Any]]:
        now = self._clock()
        return [
            {
                "pid": row.pid,
                "slot": row.slot,
                "worker": row.worker,
                "state": row.state,
                "age_seconds": max(0.0, now - row.started),
                "requests": row.requests,
                "in_flight": row.in_flight,
                "connections": row.connections,
                "websockets": row.websockets,
                "rss_bytes": row.rss,
                "loop_lag_seconds": row.lag,
                "heartbeat_age_seconds": row.heartbeat_age,
            }
            for row in rows
        ]

    # For people.

    def _status(self, scope: Scope) -> Answer:  # a route
        reading = self._read()
        checks = [*liveness(reading), *self._readiness(reading)]
        now = self._clock()
        about, supervisor = self._about, reading.supervisor
        return _json(
            {
                "interval": self.interval,
                "now": now,
                "app": about.app,
                "version": about.version,
                "python": about.python,
                "pid": about.pid if supervisor is None else supervisor.pid,
                "uptime_seconds": now - (about.started if supervisor is None else supervisor.started),
                "ready": all(check.passed for check in checks),
                "reasons": [check.told for check in checks if not check.passed],
                **self._family(reading),
                "samples": list(self._history.samples),
            }
        )

    def _status_page(self, scope: Scope) -> Answer:  # a route
        if self._page is None:
            text = resources.files(__package__).joinpath("status.html").read_text("utf-8")
            policy = _policy(text).encode("ascii")
            headers = ((b"content-security-policy", policy), (b"referrer-policy", b"no-referrer"))
            self._page = Answer(HTTPStatus.OK, _HTML, text.encode(), headers)
        return self._page


def _supervisor(reading: Reading) -> dict[str, Any] | None:
    found = reading.supervisor
    return None if found is None else {"pid": found.pid, "starts": found.starts, "exits": found.exits}


def _text(status: HTTPStatus, text: str, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(status, _TEXT, f"{text}\n".encode(), headers)


def _json(value: Any) -> Answer:
    return Answer(HTTPStatus.OK, _JSON, json.dumps(value, allow_nan=False).encode() + b"\n")


def _verdict(scope: Scope, checks: list[Check]) -> Answer:
    """All checks together: one word for a machine, or a line for each."""
    asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    excluded = {value for name, value in asked if name == "exclude"}
    counted = [check for check in checks if check.name not in excluded]
    failed = [check for check in counted if not check.passed]
    status = HTTPStatus.SERVICE_UNAVAILABLE if failed else HTTPStatus.OK
    summary = "; ".join(check.told for check in failed) or "ok"
    if not any(name == "verbose" for name, _ in asked):
        return _text(status, summary)
    lines = [
        f"[{' ' if check.name in excluded else '+' if check.passed else '-'}] {check.name}: {check.told}"
        + (" (excluded)" if check.name in excluded else "")
        for check in checks
    ]
    # As with Kubernetes, a name that is none is told and does no harm: the probe may be older or newer than the server.
    unknown = sorted(excluded.difference(check.name for check in checks))
    lines += [f"[ ] {name!a} is no check here, and cannot be excluded" for name in unknown]
    return _text(status, "\n".join([*lines, summary]))


def _host_is_believable(scope: Scope) -> bool:
    """Whether the request can have been meant for this listener: see the module's docstring."""
    server = scope["server"]
    if server is None or server[1] is None or not _is_loopback(server[0]):
        return True  # a Unix socket, which no browser opens; or a network
    host = _header(scope, b"host").lower()
    name = re.sub(r":[0-9]*$", "", host).strip("[]")
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def _header(scope: Scope, wanted: bytes) -> str:
    values = (value.decode("latin-1") for name, value in scope["headers"] if name == wanted)
    return ", ".join(values)


def _policy(page: str) -> str:
    """The content security policy of a page: its own script and style, by their hashes, and requests to where it came from."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)
        return " ".join(f"'sha256-{digest}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
