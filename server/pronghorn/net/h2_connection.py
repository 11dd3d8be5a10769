"""One HTTP/2 connection on an asyncio transport (RFC 9113).

It stands between the transport, which calls it as a protocol, and the wire, which calls it for each request. What belongs to one
request is the business of its `H2Stream`; what belongs to none is that of `H2Life`, which this is made from.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.scope import ScopeTemplate
from pronghorn.asgi.states import HELD
from pronghorn.types import Nothing
from pronghorn.wire.h2 import H2Wire
from pronghorn.wire.h2_frames import ENHANCE_YOUR_CALM, NO_ERROR, SETTINGS_TIMEOUT
from pronghorn.wire.h2_request import Malformed
from pronghorn.wire.h2_response import encode_field
from pronghorn.wire.ports import Headers, InvalidResponse, RequestError, RequestHead

from .ends import ends_of
from .flow import Outbox
from .h2_life import CLOSED, OPEN, H2Life
from .h2_stream import H2Stream
from .refusals import count_refusal

if TYPE_CHECKING:
    from .http2 import Http2
    from .service import Service

#: Requests of one read that are answered without letting other connections have a turn.
_EAGER_REQUESTS: Final = 16
_NOTHING: Final = Nothing()


class H2Connection(H2Life):
    """An asyncio protocol (by its methods, not by inheritance) and a `wire.h2.H2Sink`."""

    __slots__ = (
        "_begun",
        "_client",
        "_eager",
        "_template",
        "_tls",
        "_trusted",
        "_waiting",
        "body_limit",
        "encoder",
    )

    _template: ScopeTemplate
    _client: tuple[str, int] | None
    _tls: dict[str, Any] | None

    def __init__(self, service: Service, http2: Http2) -> None:
        super().__init__(service, http2)
        self.encoder = http2.encoder(service)
        self.body_limit = http2.limits.body
        self._trusted = False
        self._eager = _EAGER_REQUESTS
        self._begun: list[H2Stream] = []  # to be answered at the end of this read
        self._waiting: deque[H2Stream] = deque()  # in a later turn of the loop

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
        self._phase = CLOSED
        service.connections.discard(self)
        service.deadlines.discard(self)
        self._out.clear()
        self._lose_streams(NO_ERROR)
        wire.failed = True
        # Who holds the connection lets go of it. What comes and goes by the thousand is not to wait for the collector.
        wire.release()

    def data_received(self, data: bytes) -> None:
        if self._phase == CLOSED:
            return
        service, wire = self.service, self.wire
        now = service.deadlines.now
        self._heard = now
        self._pinged = False
        self._reading = True
        self._eager = _EAGER_REQUESTS
        wire.feed(data, now)
        begun = self._begun
        if len(begun) == 1 and begun[0].remote_closed:
            service.rounds.join(self)
        elif begun:
            self._launch_begun()
        self._reading = False
        self._flush()
        if self._phase != CLOSED:
            self._listen(now)

    def eof_received(self) -> None:
        pass  # the peer is gone: returning None closes the transport, and `connection_lost` tells the streams

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
            # What comes of its body in this read is there when the application asks, which then has not to wait.
            self._begun.append(stream)
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

    def _launch_begun(self) -> None:
        begun, self._begun = self._begun, []
        for stream in begun:
            if not stream.closed:
                self._launch(stream)

    def advance(self) -> None:
        """Answer what the last read has brought, and some of those that had to wait."""
        waiting = self._waiting
        self._reading = True
        self._launch_begun()
        for _ in range(min(_EAGER_REQUESTS, len(waiting))):
            stream = waiting.popleft()
            if not stream.closed:
                self._launch(stream)
        self._reading = False
        if waiting:
            self.service.loop.call_soon(self.advance)
        self._flush()

    def push(self, parent: H2Stream, path: str, headers: Headers) -> None:
        """Promise a response to the peer and have the application make it, if the peer takes another one (§8.4)."""
        wire, service, cycle = self.wire, self.service, parent.cycle
        if cycle is None:
            return
        open_ones = sum(1 for number in wire.streams if not number & 1)
        if not wire.peer.enable_push or self._phase != OPEN or open_ones >= wire.peer.max_concurrent_streams:
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
            self.service.loop.call_soon(self.advance)
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
        if self._phase != CLOSED:
            self.wire.consumed(stream, size)
            self.flush_soon()

    def is_full(self, size: int) -> bool:
        """Whether a peer has to wait for an application that has left so many bytes of a stream."""
        return 2 * size >= self._http2.initial_window or self.wire.receive_window <= 0

    def reset(self, stream: H2Stream, code: int) -> None:
        self.wire.reset(stream.id, code)
        self.flush_soon()

    def abandoned(self, task: asyncio.Task[None]) -> None:
        """The peer has lost interest in what a task is working on. It counts as a stream until it is done (CVE-2023-44487)."""
        self.wire.others += 1
        task.add_done_callback(self._abandoned_done)

    def _abandoned_done(self, task: asyncio.Task[None]) -> None:
        self.wire.others -= 1
