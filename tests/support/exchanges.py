"""Exchanges for an access log to tell of, and as much of an event loop as it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pronghorn.observe.access import FastAccessLog
from pronghorn.observe.logs import ConsoleHandler

NOW = 1_800_000_000.123


@dataclass
class Exchange:
    scope: dict[str, Any]
    status: int = 200
    bytes_in: int = 0
    bytes_out: int = 13
    started: float = 100.0
    request_id: str = ""
    first_byte: float = 0.0
    response_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def exchange(target: bytes = b"/a?b", *, headers: Any = (), **changes: Any) -> Exchange:
    raw_path, _, query = target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "query_string": query,
        "http_version": "1.1",
        "client": ("127.0.0.1", 5000),
        "headers": list(headers),
    }
    names = ("status", "bytes_in", "bytes_out", "first_byte", "response_headers", "request_id")
    known = {name: changes.pop(name) for name in names if name in changes}
    return Exchange(scope | changes, **known)


@dataclass
class Loop:
    """As much of an event loop as an access log needs, turned by hand."""

    soon: list[Callable[[], None]] = field(default_factory=list)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        calls, self.soon = self.soon, []
        for call in calls:
            call()


def fast(fmt: str = "text", *, colors: bool = False) -> tuple[FastAccessLog, Any]:
    loop: Any = Loop()
    handler = ConsoleHandler("stdout", fmt, colors)
    return FastAccessLog(loop, handler, clock=lambda: 100.00042, wall=lambda: NOW), loop
