"""What an access line tells, read from an exchange that the application may have tampered with.

Every text is escaped here, once, so that no formatter downstream, ours or the user's, can be made to print
what a client sent. The line shows what the client asked for, ``raw_path`` and ``query_string``, and not the ``path``
that mounted applications rewrite.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from pronghorn.observe.escape import escape, escape_bytes


class Exchange(Protocol):
    """A request and its response, as the access log reads them."""

    @property
    def scope(self) -> Mapping[str, Any]:
        """The ASGI http scope."""

    @property
    def status(self) -> int:
        """The status sent, 0 if none was."""

    @property
    def bytes_in(self) -> int:
        """Bytes of request body received."""

    @property
    def bytes_out(self) -> int:
        """Bytes of response body sent."""

    @property
    def started(self) -> float:
        """Seconds on the clock given to `make`."""

    @property
    def request_id(self) -> str:
        """What the request is called, clean as it is; empty where requests have no names."""

    @property
    def first_byte(self) -> float:
        """The same for the first byte of the response; 0.0 if it went together with the last."""


class Facts(NamedTuple):
    """What there is to tell about a response; every text in it escaped."""

    client: str
    method: str
    path: str
    query: str
    version: str
    status: int
    bytes_in: int
    bytes_out: int
    duration_ms: float
    first_byte_ms: float | None
    worker: int
    request_id: str

    @classmethod
    def of(cls, exchange: Exchange, now: float) -> Facts:
        """Read an exchange, whatever its scope has become."""
        scope = exchange.scope
        path = scope.get("raw_path")
        if path is None:
            path = quote(str(scope.get("path", "")), errors="replace")
        return cls(
            client=client_text(scope.get("client")),
            method=_text(scope.get("method", "")),
            path=_text(path),
            query=_text(scope.get("query_string", b"")),
            version=_text(scope.get("http_version", "")),
            status=exchange.status,
            bytes_in=exchange.bytes_in,
            bytes_out=exchange.bytes_out,
            duration_ms=round((now - exchange.started) * 1e3, 3),
            first_byte_ms=round(((exchange.first_byte or now) - exchange.started) * 1e3, 3)
            if exchange.status
            else None,
            worker=os.getpid(),
            request_id=exchange.request_id,
        )

    @property
    def full_path(self) -> str:
        """The request target, with the query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def request_line(self) -> str:
        """The request line as the client wrote it."""
        return f"{self.method} {self.full_path} HTTP/{self.version}"

    def as_json(self) -> dict[str, Any]:
        """Give the fields of a JSON line, from ``message`` on."""
        fields: dict[str, Any] = {
            "message": f'{self.client} - "{self.request_line}" {self.status or "-"}',
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "protocol": f"HTTP/{self.version}",
            "status": self.status or None,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "duration_ms": self.duration_ms,
            "first_byte_ms": self.first_byte_ms,
            "worker": self.worker,
        }
        if self.request_id:
            fields["request_id"] = self.request_id
        return fields

    def as_attributes(self) -> dict[str, Any]:
        """Give the attributes of a record: Uvicorn's names, then ours."""
        fields: dict[str, Any] = {
            "client_addr": self.client,
            "request_line": self.request_line,
            "status_code": self.status,
            "method": self.method,
            "path": self.path,
            "full_path": self.full_path,
            "query": self.query,
            "http_version": self.version,
            "protocol": f"HTTP/{self.version}",
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "duration_ms": self.duration_ms,
            "first_byte_ms": self.first_byte_ms,
            "worker": self.worker,
        }
        if self.request_id:
            fields["request_id"] = self.request_id
        return fields


def client_text(client: Any) -> str:
    """Make ``192.0.2.1:5000``, ``[2001:db8::1]:5000``, the address alone without a port, or ``unix:`` for none."""
    if client is None:
        return "unix:"
    try:
        host, port = client
        host = f"[{host}]" if port and ":" in host else host
        return escape(f"{host}:{port}" if port else f"{host}")
    except (TypeError, ValueError):
        return escape(str(client))


def _text(value: Any) -> str:
    return escape_bytes(value) if isinstance(value, bytes) else escape(str(value))
