"""Health, from both sides: the endpoint that the server answers itself, and the probe that asks it.

The endpoint says whether this process takes new work, nothing about the application's own dependencies: a
database that is down is no reason to restart every server in front of it. The probe needs no curl in the image
and follows no proxy settings.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pronghorn.observe.access import AccessLog
from pronghorn.observe.escape import one_line
from pronghorn.observe.facts import Exchange
from pronghorn.types import ASGIApplication, Receive, Scope, Send

# What a wildcard address listens on cannot be connected to everywhere; its loopback can.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}


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


def probe(
    *, host: str, port: int, uds: str | None, path: str, timeout: float, tls: bool = False
) -> tuple[bool, str]:
    """Ask a server for its health: whether it answered 200, and one line that says so or why not.

    ``uds`` goes before ``host`` and ``port``; a wildcard host is asked on its loopback. ``timeout`` is in seconds, for
    the connection and for each read. A certificate is not verified: the probe talks to its own machine, and the
    certificate names another.
    """
    connection: http.client.HTTPConnection
    if uds is not None:
        connection = _UnixConnection(uds, timeout, tls)
        where = f"unix socket {uds}"
    else:
        name = _LOOPBACK.get(host, host)
        if tls:
            connection = http.client.HTTPSConnection(name, port, timeout=timeout, context=_unverified())
        else:
            connection = http.client.HTTPConnection(name, port, timeout=timeout)
        where = f"{'https' if tls else 'http'}://{f'[{name}]' if ':' in name else name}:{port}"
    try:
        connection.request(
            "GET", path, headers={"User-Agent": "pronghorn-healthcheck", "Connection": "close"}
        )
        response = connection.getresponse()
        body = response.read(80).decode("utf-8", "replace").strip()
    except TimeoutError:
        return False, one_line(f"unhealthy: {where} did not answer within {timeout:g} s")
    except (OSError, http.client.HTTPException, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        return False, one_line(f"unhealthy: {where}: {reason}")
    finally:
        connection.close()
    healthy = response.status == 200
    answer = f"{response.status} {body}".rstrip()
    return healthy, one_line(f"{'healthy' if healthy else 'unhealthy'}: {where} answered {answer} to {path}")


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float, tls: bool) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._tls = tls

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
        if self._tls:
            self.sock = _unverified().wrap_socket(self.sock, server_hostname="localhost")


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
