"""h2's client against one of our HTTP/2 connections, on a scripted transport.

That client raises for whatever a server must not do: a window overrun, a frame on a closed stream, a field that is not allowed. So
every test that goes through it is one of that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection as H2Client
from h2.settings import Settings

from pronghorn.net.h2_connection import H2Connection
from pronghorn.net.http2 import Http2
from pronghorn.net.service import Service
from pronghorn.wire.limits import RequestLimits

from .scripted import ScriptedTransport, turns

Fields = Sequence[tuple[bytes, bytes]]
Event = TypeVar("Event", bound=events.Event)


def http2(**values: Any) -> Http2:
    """HTTP/2 with the defaults of the command."""
    return Http2(**({"limits": RequestLimits()} | values))


class Client:
    """One connection. `events` are those of the server's frames so far, `reading` is whether windows are given back."""

    def __init__(
        self, service: Service, spoken: Http2 | None = None, *, limit: int | None = None, settings: Any = None
    ) -> None:
        self.h2 = H2Client(H2Configuration(client_side=True, header_encoding=None))
        self.events: list[events.Event] = []
        self.reading = True
        self.transport = ScriptedTransport(limit=limit)
        self.server = H2Connection(service, spoken or http2())
        self.transport.connect(self.server)
        if settings:
            self.h2.local_settings = Settings(client=True, initial_values=settings)
        self.h2.initiate_connection()
        self.send()

    def send(self) -> None:
        """Hand over what h2 has made of the calls so far."""
        data = self.h2.data_to_send()
        if data:
            self.transport.feed(data)

    def take(self) -> None:
        """Read what the server has written, and answer what h2 answers by itself."""
        data = bytes(self.transport.written)
        self.transport.written.clear()
        for event in self.h2.receive_data(data) if data else ():
            self.events.append(event)
            if isinstance(event, events.DataReceived) and self.reading and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.send()

    async def settle(self) -> None:
        """Go on until nothing moves any more."""
        quiet = 0
        while quiet < 8:
            await turns(2)
            quiet = 0 if self.transport.written else quiet + 1
            self.take()

    def request(
        self, path: str = "/", *fields: tuple[bytes, bytes], method: str = "GET", end: bool = True
    ) -> int:
        """Begin a request. Returns its stream."""
        stream = self.h2.get_next_available_stream_id()
        head = [(b":method", method.encode()), (b":scheme", b"http"), (b":authority", b"example.org")]
        self.h2.send_headers(stream, [*head, (b":path", path.encode()), *fields], end_stream=end)
        self.send()
        return stream

    def body(self, stream: int, data: bytes, *, end: bool = True) -> None:
        self.h2.send_data(stream, data, end_stream=end)
        self.send()

    def of(self, kind: type[Event], stream: int | None = None) -> list[Event]:
        """The events of a kind, and of a stream."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and (stream is None or getattr(event, "stream_id", None) == stream)
        ]

    def headers(self, stream: int) -> dict[bytes, bytes]:
        """Those of the final response."""
        (event,) = self.of(events.ResponseReceived, stream)
        return {bytes(name): bytes(value) for name, value in event.headers or ()}

    def data(self, stream: int) -> bytes:
        return b"".join(event.data or b"" for event in self.of(events.DataReceived, stream))

    def ended(self, stream: int) -> bool:
        return bool(self.of(events.StreamEnded, stream))
