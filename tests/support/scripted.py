"""A transport that a test drives by hand, and the small pieces around it.

It keeps what is written and calls the protocol as a loop would: `connection_lost` never from inside `close` but in the
next turn of the loop, the write buffer over its limit reported by `pause_writing`. `tests/unit/test_scripted.py` holds
it against a real socket.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from pronghorn.asgi.http import HttpCycle
from pronghorn.net.deadlines import Deadlines
from pronghorn.net.h1_connection import H1Connection
from pronghorn.net.service import Service
from pronghorn.types import ASGIApplication
from pronghorn.wire.h1_h11 import H11Parser
from pronghorn.wire.h1_httptools import HttptoolsParser
from pronghorn.wire.headers import DefaultHeaders
from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import HttpParser

PARSERS: dict[str, Callable[..., HttpParser]] = {"httptools": HttptoolsParser, "h11": H11Parser}


class _Socket:
    family = socket.AF_INET

    @staticmethod
    def fileno() -> int:
        return -1  # as a socket without a descriptor says


class ScriptedTransport(asyncio.Transport):
    """What a connection writes is in `written`; `limit` is how much of it may wait for the peer to read, None is any amount."""

    def __init__(self, *, limit: int | None = None) -> None:
        super().__init__(
            {"socket": _Socket(), "peername": ("203.0.113.7", 4711), "sockname": ("127.0.0.1", 8000)}
        )
        self.written = bytearray()
        self.writes: list[bytes] = []
        self._reading = True
        self.eof_written = False
        self.closed = False
        self.aborted = False
        self._protocol: Any = None
        self._limit = limit
        self._unread = 0
        self._paused = False
        self._lost = False

    def connect(self, protocol: Any) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def feed(self, data: bytes) -> None:
        """The peer sends."""
        self._protocol.data_received(data)

    def feed_eof(self) -> None:
        """The peer closes its half."""
        if not self._protocol.eof_received():
            self.close()

    def lose(self, exc: Exception | None = None) -> None:
        """The connection breaks."""
        self._lose(exc)

    def read_all(self) -> None:
        """The peer reads everything that was written."""
        self._unread = 0
        if self._paused:
            self._paused = False
            self._protocol.resume_writing()

    def read(self, size: int) -> None:
        """The peer reads a little of what waits for it, and the transport goes on waiting."""
        assert size < self._unread
        self._unread -= size

    def write(self, data: Any) -> None:
        assert not self.eof_written, "write after write_eof"
        if self.closed:
            return
        self.written += data
        self.writes.append(bytes(data))
        self._unread += len(data)
        if self._limit is not None and self._unread > self._limit and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self._unread if self._paused else 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def is_closing(self) -> bool:
        return self.closed

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        assert self._reading, "already paused"
        self._reading = False

    def resume_reading(self) -> None:
        assert not self._reading, "not paused"
        self._reading = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self._lose, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def _lose(self, exc: Exception | None) -> None:
        self.closed = True
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(exc)


class Recorder:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int, int]] = []

    def response_complete(self, exchange: HttpCycle) -> None:
        self.seen.append((exchange.scope["path"], exchange.status, exchange.bytes_in, exchange.bytes_out))


def make_service(app: ASGIApplication, *, parser: str = "httptools", **values: Any) -> Service:
    """A service with the defaults of the command, without a date so that answers can be compared."""
    limits = values.pop("limits", RequestLimits())
    make = PARSERS[parser]
    settings: dict[str, Any] = {
        "app": app,
        "parser": lambda inbound: make(inbound, limits),
        "defaults": DefaultHeaders(server=None, date=False),
        "deadlines": Deadlines(),
        "keep_alive_ticks": 6,
        "header_ticks": 11,
        "body_ticks": 21,
        "logger": logging.getLogger("pronghorn.error"),
        "loop": asyncio.get_running_loop(),
        "observer": Recorder(),
    }
    return Service(**(settings | values))


def connect(service: Service, *, limit: int | None = None) -> ScriptedTransport:
    """A new connection of the service."""
    transport = ScriptedTransport(limit=limit)
    transport.connect(H1Connection(service))
    return transport


async def turns(count: int = 5) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)
