"""The life of an HTTP/2 connection, whatever is asked over it: what is written, what is waited for, and how it ends.

The writes of one turn of the loop go out as one, streams take turns in it, and reading stops when a peer makes us write without
reading. A connection without streams is kept as long as an idle one of HTTP/1.1. Its end is told in two steps (RFC 9113 §6.8): that there
is one to come, and once the peer has answered a PING behind that, which stream was the last. What it has sent in between is served.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pronghorn.wire.h2 import H2Wire
from pronghorn.wire.h2_frames import ENHANCE_YOUR_CALM, SETTINGS_TIMEOUT

from .deadlines import NEVER
from .flow import Outbox, unread
from .h2_stream import H2Stream

if TYPE_CHECKING:
    from .http2 import Http2
    from .service import Service

#: Bytes that streams send before the transport is given them, and how often that in one turn of the loop.
_BURST: Final = 65_536
_BURSTS: Final = 16
#: Bytes in the transport's buffer at which we do not listen any more to a peer that does not read.
_DEAF: Final = 262_144
#: Ticks for a peer to answer the PING of a drain, and to notice that the connection is being closed.
_LINGER: Final = 3

# How far its end has come.
OPEN: Final = 0
LEAVING: Final = 1  # the peer was told that there will be one
LAST: Final = 2  # it was told which stream is the last
CLOSED: Final = 3  # nothing is written any more, but for what waits in the transport

_DRAIN: Final = b"draining"
_ALIVE: Final = b"are you?"


class H2Life:
    """A `Drainable`, and what `H2Connection` has beside its requests."""

    __slots__ = (
        "_block_since",
        "_deaf",
        "_heard",
        "_http2",
        "_idle_since",
        "_out",
        "_phase",
        "_pinged",
        "_reader_since",
        "_reading",
        "_served",
        "_settings_since",
        "_unwritten",
        "bucket",
        "deadline",
        "service",
        "transport",
        "wire",
    )

    transport: asyncio.Transport
    wire: H2Wire
    _out: Outbox

    def __init__(self, service: Service, http2: Http2) -> None:
        self.service = service
        self._http2 = http2
        self._served = 0
        self._reading = False  # whether what is written is flushed by whoever called us
        self._deaf = False
        self._phase = OPEN
        # Since which tick the peer is waited for, NEVER where it is not: with its SETTINGS, the rest of a header block, to read
        # anything, to open a stream.
        self._settings_since = self._block_since = self._reader_since = NEVER
        self._idle_since = service.deadlines.now
        self._unwritten = 0  # what was left to write when that was last looked at
        self._heard = service.deadlines.now
        self._pinged = False
        self.deadline = NEVER
        self.bucket = NEVER

    def __repr__(self) -> str:
        state = ("open", "leaves", "leaves", "closes")[self._phase]
        return f"<{type(self).__name__} {state}, {self._served} served, {self.wire!r}>"

    # What comes that is no request.

    def _listen(self, now: int) -> None:
        """Something has come, and was taken in."""
        wire = self.wire
        if wire.within_block is not (self._block_since != NEVER):
            self._block_since = now if wire.within_block else NEVER
            self._watch()
        if wire.held and not self._deaf and self.transport.get_write_buffer_size() > _DEAF:
            self._deaf = True
            self.transport.pause_reading()

    def on_settings_acknowledged(self) -> None:
        self._settings_since = NEVER

    def on_pong(self, payload: bytes) -> None:
        if payload == _DRAIN and self._phase == LEAVING:
            self._finish()

    def on_goaway(self) -> None:
        if not self.wire.streams:
            self._close(linger=False)
        else:
            self._phase = LAST

    # Writing.

    def pause_writing(self) -> None:
        self.wire.held = True
        self._await_reader()

    def resume_writing(self) -> None:
        self.wire.held = False
        self._reader_since = NEVER
        if self._deaf:
            self._deaf = False
            self.transport.resume_reading()
        if self._phase != CLOSED:
            self.flush_soon()

    def flush_soon(self) -> None:
        """See to it that what was written is handed over at the end of this iteration of the loop."""
        if not self._reading and not self._out.scheduled:
            self._out.scheduled = True
            self.service.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Give the transport what was written, and as much of what waits as it takes."""
        wire, out = self.wire, self._out
        bursts = 0
        while wire.waiting and bursts < _BURSTS:
            wire.pump(_BURST)
            out.flush()
            bursts += 1
        out.flush()
        if wire.waiting:
            self.flush_soon()

    def closed(self) -> None:
        """A stream is closed."""
        if not self.wire.streams:
            self._idle_since = self.service.deadlines.now
            if self._phase == LAST:
                self.service.loop.call_soon(self._end)

    def _peer(self) -> str:
        peer = self.transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a Unix socket"

    # Ends.

    @property
    def fresh(self) -> bool:
        return not self._served

    @property
    def busy(self) -> bool:
        return bool(self.wire.streams) or self.wire.within_block

    def shutdown(self) -> None:
        if self._phase != OPEN:
            return
        self._phase = LEAVING
        self.wire.go_away(final=False)
        self.wire.ping(_DRAIN)
        self.flush_soon()
        self.service.deadlines.arm(self, _LINGER)
        for stream in list(self.wire.streams.values()):
            if isinstance(stream, H2Stream) and stream.endless:
                stream.hurry()

    def _finish(self) -> None:
        """The second step of the end."""
        if self._phase == LEAVING:
            self._phase = LAST
            self.wire.go_away(final=True)
            self.flush_soon()
        if not self.wire.streams:
            self._end()

    def _end(self) -> None:
        if self._phase != CLOSED and not self.wire.streams:
            self._close(linger=False)

    def hurry(self) -> None:
        for stream in list(self.wire.streams.values()):
            if isinstance(stream, H2Stream):
                stream.hurry()

    def end_stream(self) -> None:
        for stream in list(self.wire.streams.values()):
            if isinstance(stream, H2Stream):
                stream.end_stream()

    def abort(self) -> None:
        self._phase = CLOSED
        self._out.clear()
        self.transport.abort()

    def _lose_streams(self, code: int) -> None:
        for stream in list(self.wire.streams.values()):
            self.wire.drop(stream)
            stream.on_reset(code)

    def _close(self, *, linger: bool) -> None:
        """Close once everything is written; with `linger` as `H1Life` does, for a peer that may still be sending."""
        self._phase = CLOSED
        transport = self.transport
        self._out.flush()
        waiting = transport.get_write_buffer_size() > 0
        self._unwritten = unread(transport) if waiting else 0
        self.service.deadlines.arm(self, self.service.body_ticks if waiting else _LINGER)
        if linger and transport.can_write_eof():
            if self._deaf:
                self._deaf = False
                transport.resume_reading()
            transport.write_eof()
        else:
            transport.close()

    # Deadlines.

    def _await_reader(self) -> None:
        self._unwritten = unread(self.transport)
        self._reader_since = self.service.deadlines.now
        self._watch()

    def _watch(self) -> None:
        """Look again when the first of all deadlines comes."""
        if self._phase == CLOSED:
            return
        service = self.service
        now = service.deadlines.now
        # Whether there are streams then is looked at then. So nothing has to be done here when the last one ends.
        due = now + service.keep_alive_ticks
        if not self.wire.streams:
            due = min(due, self._idle_since + self._patience())
        due = min(due, self._settings_since + service.header_ticks, self._block_since + service.header_ticks)
        due = min(due, self._reader_since + service.body_ticks)
        if self._http2.ping_ticks is not None:
            due = min(due, self._heard + self._http2.ping_ticks)
        if self._phase == LEAVING:
            due = min(due, now + _LINGER)
        service.deadlines.arm(self, max(1, due - now))

    def _patience(self) -> int:
        """Ticks for which the connection is kept without a stream."""
        return self.service.keep_alive_ticks if self._served else self.service.header_ticks

    def on_deadline(self) -> None:
        service, wire = self.service, self.wire
        now = service.deadlines.now
        if self._phase == CLOSED:
            self._still_closing()
            return
        if now >= self._settings_since + service.header_ticks:
            wire.fail(SETTINGS_TIMEOUT, "settings were not acknowledged")
            return
        if now >= self._block_since + service.header_ticks:
            service.meter.limit("timeout_header")
            wire.fail(ENHANCE_YOUR_CALM, "a request head took too long")
            return
        if now >= self._reader_since + service.body_ticks:
            # A slow reader may be slow, but it has to read.
            if self._unwritten - unread(self.transport) < max(1, service.pace):
                service.meter.limit("timeout_read")
                self.abort()
                return
            self._await_reader()
        if self._phase == LEAVING:
            self._finish()
        elif not wire.streams and now >= self._idle_since + self._patience():
            wire.go_away(final=True)
            self._close(linger=False)
        elif not self._alive(now):
            return
        self._watch()

    def _alive(self, now: int) -> bool:
        """Ask a peer that is silent whether it is there; false if it has not answered the last time."""
        ticks = self._http2.ping_ticks
        if ticks is None or now < self._heard + ticks:
            return True
        if self._pinged:
            self.service.meter.limit("http2_ping")
            self.service.logger.info("HTTP/2 connection ended: no answer to a PING, from %s.", self._peer())
            self.abort()
            return False
        self._pinged = True
        self._heard = now
        self.wire.ping(_ALIVE)
        self.flush_soon()
        return True

    def _still_closing(self) -> None:
        left = unread(self.transport)
        if left and self._unwritten - left >= max(1, self.service.pace):
            self._unwritten = left
            self.service.deadlines.arm(self, self.service.body_ticks)
        else:
            self.abort()
