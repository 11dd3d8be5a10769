"""One HTTP/2 connection on an asyncio transport (RFC 9113).

It stands between the transport, which calls it as a protocol, and the wire, which calls it for each request; what belongs to one
request is the business of its `H2Stream`. What all streams have in common is here: the writes of one turn of the loop go out as
one, streams take turns in it, and reading stops when a peer makes us write without reading.

A connection without streams is kept as long as an idle one of HTTP/1.1. Its end is told in two steps (§6.8): that there is one to
come, and once the peer has answered a PING behind that, which stream was the last. What the peer has sent in between is served.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.states import HELD
from pronghorn.types import Nothing
from pronghorn.wire.h2 import H2Wire
from pronghorn.wire.h2_frames import ENHANCE_YOUR_CALM, NO_ERROR, SETTINGS_TIMEOUT
from pronghorn.wire.h2_request import Malformed
from pronghorn.wire.h2_response import encode_field
from pronghorn.wire.ports import Headers, InvalidResponse, RequestError, RequestHead

from .deadlines import NEVER
from .ends import ends_of
from .flow import Outbox, unread
from .h2_stream import H2Stream
from .refusals import count_refusal

if TYPE_CHECKING:
    from .http2 import Http2
    from .service import Service

#: Requests of one read that are answered without letting other connections have a turn.
_EAGER_REQUESTS: Final = 16
#: Bytes that streams send before the transport is given them, and how often that in one turn of the loop.
_BURST: Final = 65_536
_BURSTS: Final = 16
#: Bytes in the transport's buffer at which we do not listen any more to a peer that does not read.
_DEAF: Final = 262_144
#: Ticks for a peer to answer the PING of a drain, and to notice that the connection is being closed.
_LINGER: Final = 3

# How far its end has come.
_OPEN: Final = 0
_LEAVING: Final = 1  # the peer was told that there will be one
_LAST: Final = 2  # it was told which stream is the last
_CLOSED: Final = 3  # nothing is written any more, but for what waits in the transport

_DRAIN: Final = b"draining"
_ALIVE: Final = b"are you?"
_NOTHING: Final = Nothing()


class H2Connection:
    """An asyncio protocol (by its methods, not by inheritance) and a `wire.h2.H2Sink`."""

    __slots__ = (
        "_block_since",
        "_client",
        "_deaf",
        "_eager",
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
        "_template",
        "_tls",
        "_trusted",
        "_unwritten",
        "_waiting",
        "body_limit",
        "bucket",
        "deadline",
        "encoder",
        "service",
        "transport",
        "wire",
    )

    def __init__(self, service: Service, http2: Http2) -> None:
        self.service = service
        self._http2 = http2
        self.encoder = http2.encoder(service)
        self.body_limit = http2.limits.body
        self._served = 0
        self._trusted = False
        self._reading = False  # whether what is written is flushed by whoever called us
        self._eager = _EAGER_REQUESTS
        self._waiting: deque[H2Stream] = deque()  # to be answered in a later turn of the loop
        self._deaf = False
        self._phase = _OPEN
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
        return f"<H2Connection {state}, {self._served} served, {self.wire!r}>"

    # An asyncio protocol.

    def connection_made(self, transport: asyncio.Transport) -> None:
        service, http2 = self.service, self._http2
        self.transport = transport
        self._out = Outbox(transport)
        ends = ends_of(transport)
        self._client, self._tls = ends.client, ends.tls
        self._trusted = service.trust.trusts(ends.client, unix=ends.unix)
        self._template = service.template(ends.server, unix=ends.unix, tls=ends.tls is not None)
        service.connections.add(self)
        service.accepted += 1
        own = http2.own(connect=service.websockets is not None)
        self.wire = H2Wire(self, self._out.write, http2.limits, own)
        self.wire.begin()
        self._settings_since = service.deadlines.now
        self._watch()
        self.flush_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        service, wire = self.service, self.wire
        self._phase = _CLOSED
        service.connections.discard(self)
        service.deadlines.discard(self)
        self._out.clear()
        self._lose_streams(NO_ERROR)
        wire.failed = True
        # Who holds the connection lets go of it. What comes and goes by the thousand is not to wait for the collector.
        wire.release()

    def data_received(self, data: bytes) -> None:
        if self._phase == _CLOSED:
            return
        service, wire = self.service, self.wire
        now = service.deadlines.now
        self._heard = now
        self._reading = True
        self._eager = _EAGER_REQUESTS
        wire.feed(data, now)
        self._reading = False
        self._flush()
        if self._phase == _CLOSED:
            return
        if wire.within_block is not (self._block_since != NEVER):
            self._block_since = now if wire.within_block else NEVER
            self._watch()
        if wire.held and not self._deaf and self.transport.get_write_buffer_size() > _DEAF:
            self._deaf = True
            self.transport.pause_reading()

    def eof_received(self) -> None:
        pass  # the peer is gone: returning None closes the transport, and `connection_lost` tells the streams

    def pause_writing(self) -> None:
        self.wire.held = True
        self._await_reader()

    def resume_writing(self) -> None:
        self.wire.held = False
        self._reader_since = NEVER
        if self._deaf:
            self._deaf = False
            self.transport.resume_reading()
        if self._phase != _CLOSED:
            self.flush_soon()

    # Called by the wire.

    def on_request(self, number: int, head: RequestHead, ended: bool) -> H2Stream:
        service = self.service
        if service.ids is not None:
            service.ids.name(head, trusted=self._trusted)
        if service.parting:
            self.shutdown()
        return self._stream_of(number, head, ended=ended)

    def _stream_of(self, number: int, head: RequestHead, *, ended: bool) -> H2Stream:
        """A stream and the cycle of its request."""
        service = self.service
        scope = self._template.build(head, self._client, self._tls)
        if head.forwarded and self._trusted:
            service.trust.apply(scope)
        if self.wire.peer.enable_push:
            scope["extensions"]["http.response.push"] = _NOTHING
        stream = H2Stream(number, self)
        cycle = HttpCycle(head, scope, stream, service.observer, service.logger, time.perf_counter())
        stream.cycle = cycle
        if ended:
            cycle.ended = True
        if head.method == "CONNECT" and service.websockets is not None:
            stream.upgrade = service.websockets.asked(cycle, stream, self._tls)
        return stream

    def on_ready(self, stream: Any) -> None:
        if self._eager and not self._waiting:
            self._eager -= 1
            self._launch(stream)
        else:
            self._launch_soon(stream)

    def on_refused(self, number: int, error: RequestError, ended: bool) -> None:
        stream = H2Stream(number, self)
        self.wire.adopt(stream, ended=ended)
        self.refuse(stream, error)

    def on_malformed(self, stream: int, reason: str) -> None:
        service = self.service
        service.meter.protocol_error("http2_stream")
        service.context_of("").run(
            service.logger.info, "HTTP/2 stream %d reset: %s, from %s.", stream, reason, self._peer()
        )

    def on_fault(self, code: int, reason: str) -> None:
        service = self.service
        if code == ENHANCE_YOUR_CALM:
            service.meter.limit("http2_flood")
        elif code == SETTINGS_TIMEOUT:
            service.meter.limit("timeout_header")
        else:
            service.meter.protocol_error("http2_connection")
        service.context_of("").run(
            service.logger.warning, "HTTP/2 connection ended: %s (%d), from %s.", reason, code, self._peer()
        )
        self._lose_streams(code)
        self._close(linger=True)

    def on_settings_acknowledged(self) -> None:
        self._settings_since = NEVER

    def on_pong(self, payload: bytes) -> None:
        if payload == _DRAIN and self._phase == _LEAVING:
            self._finish()

    def on_goaway(self) -> None:
        if not self.wire.streams:
            self._close(linger=False)
        else:
            self._phase = _LAST

    def _peer(self) -> str:
        peer = self.transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a Unix socket"

    # Requests.

    def _launch(self, stream: H2Stream) -> None:
        service, cycle = self.service, stream.cycle
        assert cycle is not None
        cycle.launched = True
        if self._served:
            service.reuses += 1
        self._served += 1
        service.active += 1
        if service.limit_concurrency is not None and service.active > service.limit_concurrency:
            service.refuse_crowded(cycle)
            return
        upgrade = stream.upgrade
        if upgrade is not None and upgrade.refused(service):
            stream.upgrade = None
            if not service.draining:
                service.meter.protocol_error("websocket_handshake")
            return
        service.requests += 1
        if service.requests == service.limit_requests:
            service.reach_request_limit()
        if not cycle.ended:
            stream.schedule()
        cycle.eager = True
        stream.task = service.spawn(
            cycle.run(service.app) if upgrade is None else upgrade.run(service.app), cycle.request_id
        )
        cycle.eager = False
        if cycle.state == HELD:
            cycle.hold()

    def _advance(self) -> None:
        """Answer some of those that had to wait."""
        waiting = self._waiting
        self._reading = True
        for _ in range(min(_EAGER_REQUESTS, len(waiting))):
            stream = waiting.popleft()
            if not stream.closed:
                self._launch(stream)
        self._reading = False
        if waiting:
            self.service.loop.call_soon(self._advance)
        self._flush()

    def push(self, parent: H2Stream, path: str, headers: Headers) -> None:
        """Promise a response to the peer and have the application make it, if the peer takes another one (§8.4)."""
        wire, service, cycle = self.wire, self.service, parent.cycle
        if cycle is None:
            return
        open_ones = sum(1 for number in wire.streams if not number & 1)
        if not wire.peer.enable_push or self._phase != _OPEN or open_ones >= wire.peer.max_concurrent_streams:
            return
        fields: list[tuple[bytes, bytes]] = [
            (b":method", b"GET"),
            (b":scheme", cycle.scope["scheme"].encode("ascii")),
            (b":authority", dict(cycle.head.headers).get(b"host", b"")),
            (b":path", path.encode("latin-1")),
        ]
        fields += [(name.lower(), value) for name, value in headers]
        try:
            head = wire.builder.build(fields)
        except (Malformed, RequestError) as exc:
            raise InvalidResponse(f"cannot push {path!r}: {exc}") from exc
        number = wire.pushed + 2
        wire.pushed = number
        wire.send_push(parent, number, b"".join([encode_field(name, value) for name, value in fields]))
        if service.ids is not None:
            service.ids.name(head, trusted=False)
        stream = self._stream_of(number, head, ended=True)
        wire.adopt(stream, ended=True)
        self._launch_soon(stream)
        self.flush_soon()

    def resume(self, head: RequestHead, body: bytes, settings: bytes) -> None:
        """Answer a request that came over HTTP/1.1 as stream 1; `settings` stood in it (RFC 7540 §3.2.1)."""
        wire = self.wire
        wire.take_settings(settings)
        stream = self._stream_of(1, head, ended=True)
        stream.expected = head.content_length
        wire.adopt(stream, ended=True)
        if body and stream.cycle is not None:
            stream.cycle.feed(body)
        self._launch_soon(stream)

    def _launch_soon(self, stream: H2Stream) -> None:
        if not self._waiting:
            self.service.loop.call_soon(self._advance)
        self._waiting.append(stream)

    def refuse(self, stream: H2Stream, error: RequestError) -> None:
        """Answer in place of the application."""
        service = self.service
        count_refusal(service.meter, error)
        head = error.head
        service.context_of("" if head is None else head.request_id).run(
            service.logger.warning,
            "Invalid HTTP request received: %s (%d), from %s.",
            error.reason,
            error.status,
            self._peer(),
        )
        stream.refuse(error.status, HTTPStatus(error.status).phrase.encode("ascii"), head)

    # Called by the streams.

    def consumed(self, stream: H2Stream, size: int) -> None:
        if self._phase != _CLOSED:
            self.wire.consumed(stream, size)
            self.flush_soon()

    def is_full(self, size: int) -> bool:
        """Whether a peer has to wait for an application that has left so many bytes of a stream."""
        return 2 * size >= self._http2.initial_window or self.wire.receive_window <= 0

    def reset(self, stream: H2Stream, code: int) -> None:
        self.wire.reset(stream.id, code)
        self.flush_soon()

    def closed(self) -> None:
        """A stream is closed."""
        if not self.wire.streams:
            self._idle_since = self.service.deadlines.now
            if self._phase == _LAST:
                self.service.loop.call_soon(self._end)

    def abandoned(self, task: asyncio.Task[None]) -> None:
        """The peer has lost interest in what a task is working on. It counts as a stream until it is done (CVE-2023-44487)."""
        self.wire.others += 1
        task.add_done_callback(self._abandoned_done)

    def _abandoned_done(self, task: asyncio.Task[None]) -> None:
        self.wire.others -= 1

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

    # Ends.

    @property
    def fresh(self) -> bool:
        return not self._served

    @property
    def busy(self) -> bool:
        return bool(self.wire.streams) or self.wire.within_block

    def shutdown(self) -> None:
        if self._phase != _OPEN:
            return
        self._phase = _LEAVING
        self.wire.go_away(final=False)
        self.wire.ping(_DRAIN)
        self.flush_soon()
        self.service.deadlines.arm(self, _LINGER)
        for stream in list(self.wire.streams.values()):
            if isinstance(stream, H2Stream) and stream.endless:
                stream.hurry()

    def _finish(self) -> None:
        """The second step of the end."""
        if self._phase == _LEAVING:
            self._phase = _LAST
            self.wire.go_away(final=True)
            self.flush_soon()
        if not self.wire.streams:
            self._end()

    def _end(self) -> None:
        if self._phase != _CLOSED and not self.wire.streams:
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
        self._phase = _CLOSED
        self._out.clear()
        self.transport.abort()

    def _lose_streams(self, code: int) -> None:
        for stream in list(self.wire.streams.values()):
            self.wire.drop(stream)
            stream.on_reset(code)

    def _close(self, *, linger: bool) -> None:
        """Close once everything is written; with `linger` as `H1Connection` does, for a peer that may still be sending."""
        self._phase = _CLOSED
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
        if self._phase == _CLOSED:
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
        if self._phase == _LEAVING:
            due = min(due, now + _LINGER)
        service.deadlines.arm(self, max(1, due - now))

    def _patience(self) -> int:
        """Ticks for which the connection is kept without a stream."""
        return self.service.keep_alive_ticks if self._served else self.service.header_ticks

    def on_deadline(self) -> None:
        service, wire = self.service, self.wire
        now = service.deadlines.now
        if self._phase == _CLOSED:
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
        if self._phase == _LEAVING:
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
            self._pinged = False
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
