"""One stream of an HTTP/2 connection: what the cycle of its request answers through.

A stream is to its request what a whole connection is in HTTP/1.1, and has the same deadlines: for the next piece of a body, and for
the peer to read. A peer can be slow in two ways here, with the connection or with one window; who does not move either of them at
a pace loses the stream.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pronghorn.asgi.states import COMPLETE, OPEN
from pronghorn.wire.h1_response import UNKNOWN, refusal_fields
from pronghorn.wire.h2_frames import CANCEL, INTERNAL_ERROR, NO_ERROR
from pronghorn.wire.h2_response import BODILESS
from pronghorn.wire.h2_stream import Stream
from pronghorn.wire.headers import mismatch
from pronghorn.wire.ports import FilePart, Headers, RequestError, RequestHead, WebSocketChannel

from . import files
from .deadlines import NEVER
from .flow import HIGH_WATER, Outbox, Pace, WriteGate
from .h2_tunnel import H2Tunnel

if TYPE_CHECKING:
    from pronghorn.asgi.http import HttpCycle

    from .h2_connection import H2Connection

#: Bytes that wait to be sent, at which an application that waited for room goes on.
_LOW_WATER: Final = 16_384
#: Bytes of a file that are read at a time.
_BLOCK: Final = 65_536

# What the stream waits for; decides what a deadline means.
_NOTHING: Final = 0  # the application, or nobody
_BODY: Final = 1  # the next piece of a body
_READER: Final = 2  # the peer, to read what was written
_GOODBYE: Final = 3  # the peer's end of a tunnel


class H2Stream(Stream):
    """A `ResponseWriter` and an `Opener`.

    The connection sets `cycle`, and `upgrade` if the request asks for a WebSocket. It is None again when the response was handed
    over or given up: the two would hold each other in memory.
    """

    __slots__ = (
        "_bodiless",
        "_connection",
        "_excess",
        "_gate",
        "_marks",
        "_missing",
        "_pace",
        "_phase",
        "_unread",
        "bucket",
        "cycle",
        "deadline",
        "task",
        "tunnel",
        "upgrade",
    )

    def __init__(self, number: int, connection: H2Connection) -> None:
        super().__init__(number)
        self._connection = connection
        self.cycle: HttpCycle | None = None
        self.upgrade: Any = None  # an Upgrade, whose module is imported for the first WebSocket
        self.tunnel: H2Tunnel | None = None
        self.task: asyncio.Task[None] | None = None  # if it could not finish at once
        self._bodiless = False
        # Bytes of the body beyond the length that the application has declared, and those that it still owes.
        self._excess = 0
        self._missing: int | None = None
        self._gate: WriteGate | None = None
        self._unread = 0  # bytes that the application has not taken
        self._phase = _NOTHING
        self._pace: Pace | None = None
        self._marks = (0, 0)
        self.deadline = NEVER
        self.bucket = NEVER

    # What comes in, called by the wire.

    def on_data(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.receive(data)
            return
        connection = self._connection
        cycle = self.cycle
        if cycle is None:
            connection.consumed(self, len(data))
            return
        limit = connection.body_limit
        if limit is not None and self.received > limit:
            connection.consumed(self, len(data))
            self._refuse(cycle, RequestError(413, "request body too large", cycle.head))
            return
        self._unread += len(data)
        cycle.feed(data)
        self.schedule()

    def on_end(self) -> None:
        if self.tunnel is not None:
            self.tunnel.receive_end()
        elif self.cycle is not None:
            self.cycle.feed_end()
            self.schedule()

    def on_reset(self, code: int) -> None:
        if self.tunnel is not None:
            self.tunnel.lost()
            self.tunnel = None
        elif self.cycle is not None:
            self._disconnect(self.cycle)
        if self._gate is not None:
            self._gate.resume()

    def on_closed(self) -> None:
        if self.bucket != NEVER:
            self._connection.service.deadlines.discard(self)
        self._connection.closed()

    def on_answered(self) -> None:
        """RFC 9113 §8.1: the rest of the request is not wanted, and NO_ERROR says that nothing was wrong with the response."""
        if self.tunnel is None:
            self._connection.reset(self, NO_ERROR)

    def _disconnect(self, cycle: HttpCycle) -> None:
        """Take the request away from the application, which goes on to its end."""
        self.cycle = None
        if self.upgrade is not None:
            self.upgrade.lost()
            self.upgrade = None
        if cycle.launched and cycle.state < COMPLETE:
            self._connection.service.active -= 1
            cycle.disconnect()
        if self.task is not None and not self.task.done():
            self._connection.abandoned(self.task)
            self.task = None

    def on_sent(self, size: int) -> None:
        if self._gate is not None and self.pending_size <= _LOW_WATER:
            self._gate.resume()
        elif self.tunnel is not None:
            self.tunnel.sent(self.pending_size)
        if not self.pending_size:
            self.schedule()

    # A ResponseWriter.

    @property
    def paused(self) -> bool:
        return self.pending_size > HIGH_WATER

    async def drain(self) -> None:
        if self.paused and not self.closed:
            if self._gate is None:
                self._gate = WriteGate()
            self._gate.pause()
            await self._gate.drain()

    def respond(self, status: int, headers: Headers, body: bytes) -> int:
        connection, cycle = self._connection, self.cycle
        assert cycle is not None
        encoder = connection.encoder
        size = len(body)
        block = encoder.respond(cycle.head, status, headers, size)
        wire = connection.wire
        if not size or cycle.head.method == "HEAD" or status in BODILESS:
            length = encoder.length
            if length and cycle.head.method != "HEAD" and status not in BODILESS:
                self._missing = length
            wire.send_head(self, block, end=not self._missing)
            return 0
        self._missing = encoder.length
        wire.send_head(self, block, end=False)
        if self._missing is not None:
            body = self._within(body)
            size = len(body)
        wire.send_data(self, body, end=not self._missing)
        return size

    def begin(self, status: int, headers: Headers, body: bytes) -> int:
        connection, cycle = self._connection, self.cycle
        assert cycle is not None
        head, encoder = cycle.head, connection.encoder
        block = encoder.begin(head, status, headers)
        self._bodiless = head.method == "HEAD" or status in BODILESS
        if not self._bodiless:
            self._missing = encoder.length
        connection.wire.send_head(self, block, end=False)
        connection.flush_soon()
        return self.chunk(body) if body else 0

    def chunk(self, data: bytes) -> int:
        if self._bodiless or self.closed:
            return 0
        if self._missing is not None:
            data = self._within(data)
        if data:
            self._connection.wire.send_data(self, data, end=False)
            self._connection.flush_soon()
            if self.pending_size:
                self.schedule()
        return len(data)

    def end(self, trailers: Headers = ()) -> None:
        if self.closed or self._missing:
            return
        wire = self._connection.wire
        if trailers and not self._bodiless:
            wire.send_trailers(self, self._connection.encoder.bare(trailers))
        else:
            wire.send_data(self, b"", end=True)
        self._connection.flush_soon()

    def _within(self, data: bytes) -> bytes:
        """As much of a piece as the declared length has room for."""
        assert self._missing is not None
        size = len(data)
        if size > self._missing:
            self._excess += size - self._missing
            data = data[: self._missing]
            size = self._missing
        self._missing -= size
        return data

    def done(self) -> None:
        connection, service = self._connection, self._connection.service
        service.active -= 1
        cycle, self.cycle, self.task = self.cycle, None, None
        if cycle is not None and (self._excess or self._missing):
            service.tell_mismatch(cycle, mismatch(self._excess, self._missing or 0))
        connection.flush_soon()
        if self._missing and not self.closed:
            # RFC 9113 §8.1.1: what is shorter than it says is malformed; the peer is told instead of left to wait.
            connection.reset(self, INTERNAL_ERROR)
        elif not self.closed:
            self.schedule()

    def failed(self) -> None:
        self._connection.service.meter.application_error()

    def file(self, source: object, offset: int | None, count: int | None) -> FilePart:
        return files.FilePart(source, offset, count)

    async def send_file(self, part: FilePart, sent: Callable[[int], None]) -> None:
        """Block by block: the bytes have to be framed by this process, and a disk that is slow stops it for one of them."""
        left, offset = part.size, part.offset
        if self._bodiless:
            return
        while left and not self.closed:
            data = os.pread(part.fd, min(left, _BLOCK), offset)
            if not data:
                return  # it got shorter; a length that was declared is missed when the response ends
            left -= len(data)
            offset += len(data)
            part.moved(len(data))
            sent(self.chunk(data))
            if self.paused:
                await self.drain()
            else:
                await asyncio.sleep(0)

    def inform(self, status: int, headers: Headers) -> None:
        if not self.closed:
            self._connection.wire.send_head(self, self._connection.encoder.inform(status, headers), end=False)
            self._connection.flush_soon()
            self.schedule()

    def push(self, path: str, headers: Headers) -> None:
        if not self.closed:
            self._connection.push(self, path, headers)

    def consumed(self, size: int) -> None:
        self._unread -= size
        if size and self.received:  # else it came ahead of an upgrade, and no window knows of it
            self._connection.consumed(self, size)
        self.schedule()

    def abort(self) -> None:
        self._connection.service.active -= 1
        self.cycle = None
        if not self.closed:
            self._connection.reset(self, INTERNAL_ERROR)
        if self._gate is not None:
            self._gate.resume()

    # An Opener.

    def open(self, subprotocol: str | None, headers: list[Any]) -> WebSocketChannel:
        upgrade, connection, cycle = self.upgrade, self._connection, self.cycle
        assert cycle is not None
        status, own, others = upgrade.answer(subprotocol, headers)
        block = connection.encoder.tunnel(cycle.head, status, own, others)
        connection.wire.send_head(self, block, end=False)
        connection.flush_soon()
        self.upgrade = self.task = None
        tunnel = self.tunnel = H2Tunnel(self, connection)
        self.cycle = None
        cycle.switched(status, others)
        self.schedule()
        channel: WebSocketChannel = upgrade.connect(connection.service, tunnel, Outbox(tunnel), WriteGate())
        tunnel.begin()
        return channel

    # Ends.

    @property
    def endless(self) -> bool:
        return self.cycle is not None and self.cycle.endless

    def hurry(self) -> None:
        """As `Drainable` has it."""
        if self.cycle is not None:
            self.cycle.hurry()

    def end_stream(self) -> None:
        """As `Drainable` has it."""
        if self.cycle is not None:
            self.cycle.cut(self.task)

    def say_goodbye(self, ticks: int) -> None:
        """Wait for the peer's end of a tunnel, but no longer."""
        self._phase = _GOODBYE
        self._connection.service.deadlines.arm(self, ticks)

    # Deadlines.

    def schedule(self) -> None:
        """Decide what is being waited for now, and until when."""
        if self._phase == _GOODBYE:
            return
        deadlines = self._connection.service.deadlines
        if self.closed:
            if self.bucket != NEVER:
                deadlines.discard(self)
        elif self.pending_size:
            if self._phase != _READER:
                self._await_reader()
        elif self.cycle is not None and not self.remote_closed:
            self._await_body(self.cycle)
        elif self._phase != _NOTHING:
            self._phase = _NOTHING
            deadlines.disarm(self)

    def _await_body(self, cycle: HttpCycle) -> None:
        """Wait for the next piece of a body; or for the application, if the peer has to wait for that one first."""
        connection = self._connection
        service = connection.service
        deadlines = service.deadlines
        if cycle.head.expects_continue or connection.is_full(self._unread):
            self._phase = _NOTHING
            deadlines.disarm(self)
            return
        if self._phase != _BODY or self._pace is None:
            self._phase = _BODY
            self._pace = Pace(service.pace, service.body_ticks, cycle.bytes_in, deadlines.now)
        # Once a response has begun, the two may be talking to each other.
        elif self._pace.lost(cycle.bytes_in, deadlines.now) and cycle.state < OPEN:
            self.on_deadline()
            return
        deadlines.arm(self, service.body_ticks)

    def _await_reader(self) -> None:
        service = self._connection.service
        self._phase = _READER
        self._marks = (self.sent, self._connection.wire.sent)
        service.deadlines.arm(self, service.body_ticks)

    def on_deadline(self) -> None:
        phase, service, cycle = self._phase, self._connection.service, self.cycle
        if phase == _BODY and cycle is not None:
            if cycle.state < OPEN:
                self._refuse(cycle, RequestError(408, "request body took too long", cycle.head))
            else:
                service.meter.limit("timeout_body")
                self._give_up()
        elif phase == _READER:
            # What keeps it back is its own window, or what all streams have in common.
            own, common = self._marks
            moved = self.sent - own
            if self.send_window > 0:
                moved = max(moved, self._connection.wire.sent - common)
            if moved >= max(1, service.pace):
                self._await_reader()
            else:
                service.meter.limit("timeout_read")
                self._give_up()
        elif phase == _GOODBYE:
            self._connection.reset(self, NO_ERROR)
        self._connection.flush_soon()

    def _give_up(self) -> None:
        self._connection.reset(self, CANCEL)
        self.on_reset(CANCEL)

    def _refuse(self, cycle: HttpCycle, error: RequestError) -> None:
        """Take the request away from the application, and answer in its place if that is possible."""
        answerable = cycle.state < OPEN
        if answerable:
            cycle.status = error.status
        self._disconnect(cycle)
        if answerable:
            self._connection.refuse(self, error)
        else:
            self._connection.reset(self, CANCEL)

    def refuse(self, status: int, body: bytes, head: RequestHead | None) -> None:
        """A whole response that is the server's own, to a request that nobody else answers."""
        connection = self._connection
        block = connection.encoder.respond(head or UNKNOWN, status, refusal_fields(status), len(body))
        if head is not None and head.method == "HEAD":
            body = b""
        connection.wire.send_head(self, block, end=not body)
        if body:
            connection.wire.send_data(self, body, end=True)
        connection.flush_soon()
