"""Gunicorn's access log, fed by us: its logger makes the line, whatever class it is of and whatever the format asks for.

A Gunicorn logger is called as `access(response, request, environ, duration)`, with objects of Gunicorn's own server, and takes the
atoms of a format from them: `%(h)s`, `%({user-agent}i)s` and so on. Here are stand-ins that have what it looks at. Everything that a
client sent is escaped, as in our own access lines; Gunicorn escapes nothing but quotes.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, Protocol

from pronghorn.observe.escape import escape, escape_bytes
from pronghorn.observe.facts import Exchange, Facts
from pronghorn.observe.request_id import CURRENT, NO_REQUEST

_STATUSES: Final = {int(status): f"{int(status)} {status.phrase}" for status in HTTPStatus}
# CGI/1.1 (RFC 3875, section 4.1) has these two without the prefix.
_UNPREFIXED: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")


class GunicornLogger(Protocol):
    """What is asked of `gunicorn.glogging.Logger` or of whatever takes its place."""

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: timedelta) -> object: ...

    def exception(self, msg: str, *args: Any) -> object: ...


@dataclass(frozen=True, slots=True)
class Response:
    """`status` with its phrase, or "0" if there was no response; `sent` are bytes of body."""

    status: str
    sent: int
    headers: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Request:
    """As much of a request as a log looks at."""

    method: str
    uri: str
    path: str
    query: str
    headers: list[tuple[str, str]]


class GunicornAccessLog:
    """An observer that hands every response to a Gunicorn logger."""

    def __init__(self, log: GunicornLogger, clock: Callable[[], float] = time.perf_counter) -> None:
        self._log = log
        self._clock = clock

    def response_complete(self, exchange: Exchange) -> None:
        """Never raises: an application may have spoilt its scope, and a logger may be anybody's."""
        token = CURRENT.set(exchange.request_id or NO_REQUEST)  # we may be outside of the request's context
        try:
            facts = Facts.of(exchange, self._clock())
            headers = _texts(exchange.scope.get("headers", ()))
            self._log.access(
                Response(
                    _STATUSES.get(facts.status, str(facts.status)),
                    facts.bytes_out,
                    _answered(_texts(getattr(exchange, "response_headers", ())), facts.request_id),
                ),
                Request(facts.method, facts.full_path, facts.path, facts.query, headers),
                environ(facts, exchange.scope, headers),
                timedelta(milliseconds=facts.duration_ms),
            )
        except Exception:  # noqa: BLE001  # see above
            self._log.exception("Error logging a request")
        finally:
            CURRENT.reset(token)

    def flush(self) -> None:
        """Do nothing: Gunicorn's handlers write at once."""


def environ(facts: Facts, scope: Mapping[str, Any], headers: list[tuple[str, str]]) -> dict[str, Any]:
    """The request's variables as a WSGI application would see them: `%({remote_addr}e)s` and the rest; and `%({request_id}e)s`."""
    found: dict[str, Any] = {
        "REQUEST_METHOD": facts.method,
        "RAW_URI": facts.full_path,
        "PATH_INFO": facts.path,
        "QUERY_STRING": facts.query,
        "SERVER_PROTOCOL": f"HTTP/{facts.version}",
        "wsgi.url_scheme": escape(str(scope.get("scheme", ""))),
        "REQUEST_ID": facts.request_id or NO_REQUEST,
    }
    for role, address in (("REMOTE", scope.get("client")), ("SERVER", scope.get("server"))):
        if address:  # none: a Unix socket, and nobody who says who the client is
            host, port = address
            found["REMOTE_ADDR" if role == "REMOTE" else "SERVER_NAME"] = escape(str(host))
            found[f"{role}_PORT"] = "" if port is None else str(port)
    for name, value in headers:
        variable = name.upper().replace("-", "_")
        if variable not in _UNPREFIXED:
            variable = f"HTTP_{variable}"
        found[variable] = f"{found[variable]},{value}" if variable in found else value
    if "HTTP_AUTHORIZATION" in found:
        found["HTTP_AUTHORIZATION"] = _named_only(found["HTTP_AUTHORIZATION"])
    return found


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(escape_bytes(name), escape_bytes(value)) for name, value in headers]


def _answered(headers: list[tuple[str, str]], request_id: str) -> list[tuple[str, str]]:
    """The fields of a response with the id that the server has put there, unless the application has."""
    if not request_id or any(name.lower() == "x-request-id" for name, _ in headers):
        return headers
    return [*headers, ("x-request-id", request_id)]


def _named_only(credentials: str) -> str:
    """Basic credentials without their password, and with a name that is fit to be printed: Gunicorn decodes it for `%(u)s`."""
    scheme, _, encoded = credentials.partition(" ")
    if scheme.lower() != "basic":
        return credentials
    try:
        name = base64.b64decode(encoded.strip()).partition(b":")[0]
    except (binascii.Error, ValueError):
        return scheme
    return f"Basic {base64.b64encode(escape_bytes(name).encode() + b':').decode()}"
