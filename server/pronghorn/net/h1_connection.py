"""One HTTP/1.1 connection on an asyncio transport.

It stands between three neighbours: the transport calls it as a protocol, the parser as an `Inbound`, and the cycle that
is being answered as a `ResponseWriter`. Requests that arrive while another is answered wait in a queue; they are
answered in order, one at a time (RFC 9112 §9.3.2), and reading stops meanwhile, so that the queue is never longer than
what one read brings. What is waited for, until when, and how it ends is the business of `H1Life`, which this is made from.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.scope import ScopeTemplate
from pronghorn.asgi.states import COMPLETE, HELD
from pronghorn.wire.h1_response import LARGE, H1Response
from pronghorn.wire.headers import mismatch
from pronghorn.wire.ports import FilePart, Headers, RequestError, RequestHead, WebSocketChannel

from . import files
from .ends import ends_of
from .flow import Outbox, ReadGate
from .h1_life import CLOSE, HEAD, REQUEST, TAKER, H1Life
from .service import Service

#: Requests of one read that are answered without letting other connections have a turn.
_EAGER_REQUESTS: Final = 16
#: Bytes of an unwanted request body that are read and dropped to keep a connection. More is not worth it.
_DISCARDED: Final = 65_536


class H1Connection(H1Life):
    """An asyncio protocol (by its methods, not by inheritance), an `Inbound` and a `ResponseWriter`."""

    __slots__ = (
        "_advancing",
        "_client",
        "_large",
        "_lost",
        "_template",
        "_tls",
        "_trusted",
        "_upgrade",
    )

    _template: ScopeTemplate
    _client: tuple[str, int] | None
    _tls: dict[str, Any] | None

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._parser = service.parser(self)
        self._lost: RequestError | None = None
        self._advancing = False
        self._trusted = False
        self._large = 0  # bytes of a whole response that are better handed over uncopied
        self._upgrade: Any = None  # an Upgrade, whose module is imported for the first WebSocket

    # An asyncio protocol.

    def connection_made(self, transport: asyncio.Transport) -> None:
        service = self._service
        self._transport = transport
        self._reads = ReadGate(transport)
        self._out = Outbox(transport)
        self._response = H1Response(self._out.write, service.defaults, service.field_cache)
        ends = ends_of(transport)
        self._client, self._tls = ends.client, ends.tls
        self._trusted = service.trust.trusts(ends.client, unix=ends.unix)
        self._template = service.template(ends.server, unix=ends.unix, tls=ends.tls is not None)
        service.connections.add(self)
        service.accepted += 1
        service.deadlines.arm(self, service.header_ticks)

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase = CLOSE
        service = self._service
        service.connections.discard(self)
        service.deadlines.discard(self)
        self._queue = None
        self._out.clear()
        cycle, self._active = self._active, None
        if cycle is not None and cycle.launched:
            service.active -= 1
            cycle.disconnect()
        if self._upgrade is not None:
            self._upgrade.lost()
            self._upgrade = None
        if self._transfer is not None:
            self._transfer.stop()
        self._writes.resume()
        # Who holds the connection lets go of it. What comes and goes by the thousand is not to wait for the collector.
        self._incoming = None
        self._parser.close()

    def data_received(self, data: bytes) -> None:
        if self._phase == CLOSE:
            return
        self._parser.feed(data)
        if self._active is not None and not self._active.launched and not self._queue:
            self._service.rounds.join(self)
        elif self._active is not None or self._lost is not None:
            self.advance()
        elif self._phase == REQUEST and not self._parser.idle:
            # The deadline of a head counts from its first byte: a byte now and then does not prolong it.
            self._phase = HEAD
            self._service.deadlines.arm(self, self._service.header_ticks)

    def eof_received(self) -> None:
        # The peer is done sending, and to an HTTP server that is the same as gone: returning None closes the
        # transport, and `connection_lost` tells the application.
        if self._phase != CLOSE:
            if self._active is not None and not self._active.launched:
                self.advance()  # the end came with a request
            self._parser.feed_eof()

    def resume_writing(self) -> None:
        self._writes.resume()
        if self._phase != CLOSE:
            self._schedule()
            if self._active is not None and not self._active.launched:
                self.advance()

    # Inbound.

    def on_head(self, head: RequestHead) -> None:
        service = self._service
        if service.ids is not None:
            service.ids.name(head, trusted=self._trusted)
        scope = self._template.build(head, self._client, self._tls)
        if head.forwarded and self._trusted:
            service.trust.apply(scope)
        cycle = HttpCycle(head, scope, self, service.observer, service.logger, time.perf_counter())
        self._incoming = cycle
        if self._active is None:
            self._active = cycle
        else:
            if self._queue is None:
                self._queue = deque()
            self._queue.append(cycle)
            self._reads.hold(True)
        if head.upgrade is not None:
            if service.websockets is not None:
                self._upgrade = service.websockets.asked(cycle, self, self._tls)
            if self._upgrade is None and service.http2 is not None and self._tls is None:
                self._upgrade = service.http2.asked(cycle, self)

    def on_upgrade(self, data: bytes) -> None:
        if self._upgrade is not None:
            self._upgrade.rest += data
            self._reads.buffered(len(data))

    def on_body(self, data: bytes) -> None:
        cycle = self._incoming
        if cycle is not None and cycle.state < COMPLETE:
            cycle.feed(data)
            self._reads.buffered(len(data))

    def on_end(self) -> None:
        cycle = self._incoming
        if cycle is not None:
            self._incoming = None
            cycle.feed_end()
            if cycle is not self._active and self._active is None:
                # The rest of a request that was answered before it was complete.
                self._schedule()

    def on_lost(self, exc: RequestError) -> None:
        self._lost = exc
        cycle, self._incoming = self._incoming, None
        if cycle is not None:
            exc.head = cycle.head
        if cycle is not None and cycle.state >= COMPLETE:
            # The rest of a request that was answered already. There is nobody to explain the error to.
            self._close(linger=True)
        elif cycle is not None and self._queue and self._queue[-1] is cycle:
            # Its body is broken, so it never runs; those ahead of it are answered first.
            self._queue.pop()
        elif cycle is not None and cycle is self._active:
            if cycle.launched and cycle.state < COMPLETE:
                self._give_up(cycle, exc)
            self._active = None

    # Taking requests one after the other.

    def advance(self) -> None:
        """Start what can be started, and see to the deadline of what is being waited for."""
        if self._advancing or self._phase == CLOSE:
            return
        self._advancing = True
        budget = _EAGER_REQUESTS
        while (cycle := self._active) is not None and not cycle.launched and not self._writes.paused:
            if not budget:
                self._service.loop.call_soon(self.advance)
                break
            budget -= 1
            self._launch(cycle)
        self._advancing = False
        self._out.flush()
        if self._phase == CLOSE:
            return
        if self._active is None and self._lost is not None:
            self._refuse(self._lost)
        else:
            self._schedule()

    def _launch(self, cycle: HttpCycle) -> None:
        service = self._service
        cycle.launched = True
        if self._served:
            service.reuses += 1
        self._served += 1
        self._response.keep_alive = cycle.head.keep_alive and not service.parting
        service.active += 1
        if service.limit_concurrency is not None and service.active > service.limit_concurrency:
            service.refuse_crowded(cycle)
            return
        upgrade = self._upgrade
        if upgrade is not None and upgrade.http is cycle:
            self._response.keep_alive = self._response.keep_alive and upgrade.persistent
            if upgrade.refused(service):
                if not service.draining:
                    service.meter.protocol_error("websocket_handshake")
                return
        else:
            upgrade = None
        service.requests += 1
        if service.requests == service.limit_requests:
            service.reach_request_limit()
        cycle.eager = True
        self._task = service.spawn(
            cycle.run(service.app) if upgrade is None else upgrade.run(service.app), cycle.request_id
        )
        cycle.eager = False
        if cycle.state == HELD:
            cycle.hold()

    def _worth_keeping(self, cycle: HttpCycle) -> bool:
        """Whether the rest of an unwanted request body is short enough to be read and dropped."""
        head = cycle.head
        if head.expects_continue or head.content_length is None:
            return False
        return head.content_length - cycle.bytes_in <= _DISCARDED

    # A ResponseWriter.

    @property
    def paused(self) -> bool:
        return self._writes.paused

    async def drain(self) -> None:
        await self._writes.drain()

    def respond(self, status: int, headers: Headers, body: bytes) -> int:
        cycle = self._active
        assert cycle is not None
        if not cycle.ended and not self._worth_keeping(cycle):
            self._response.keep_alive = False
        size = self._response.respond(cycle.head, status, headers, body)
        if size >= LARGE:
            self._large = size
        return size

    def begin(self, status: int, headers: Headers, body: bytes) -> int:
        assert self._active is not None
        size = self._response.begin(self._active.head, status, headers, body)
        self._out.grew(size)
        self._flush_soon()
        return size

    def chunk(self, data: bytes) -> int:
        size = self._response.chunk(data)
        out = self._out
        out.grew(size)
        if not out.scheduled:
            self._flush_soon()
        return size

    def end(self, trailers: Headers = ()) -> None:
        cycle = self._active
        self._response.end(trailers if cycle is not None and cycle.head.accepts_trailers else ())

    def done(self) -> None:
        if self._large:
            self._out.grew(self._large)
            self._large = 0
        service, response = self._service, self._response
        cycle = self._active
        self._active = self._task = None
        service.active -= 1
        if cycle is None:
            return
        if response.excess or response.missing:
            service.tell_mismatch(cycle, mismatch(response.excess, response.missing))
        if not response.keep_alive:
            self._close(linger=not cycle.ended)
            return
        if not cycle.ended and not self._worth_keeping(cycle):
            self._close(linger=True)
            return
        if not self._advancing:
            self._out.flush()
        if self._queue:
            self._active = self._queue.popleft()
            if not self._queue:
                self._reads.hold(False)
            if not self._advancing:
                # Not from inside the application, which has things of its own to finish first.
                service.loop.call_soon(self.advance)
        elif not self._advancing:
            if self._lost is not None:
                self._refuse(self._lost)
            else:
                self._schedule()

    def failed(self) -> None:
        self._service.meter.application_error()

    def file(self, source: object, offset: int | None, count: int | None) -> FilePart:
        return files.FilePart(source, offset, count)

    async def send_file(self, part: FilePart, sent: Callable[[int], None]) -> None:
        cycle, response = self._active, self._response
        assert cycle is not None
        size = response.begin_file(part.size)
        if not size:
            return
        self._out.flush()
        transfer = self._transfer = files.Transfer(self._transport, self._writes, part, size, sent)
        self._schedule()
        try:
            await transfer.run()
        except ConnectionError:
            if self._active is cycle:
                self._give_up(cycle)
            return
        finally:
            self._transfer = None
        if self._active is cycle:
            response.end_file(transfer.left)
            self._flush_soon()
            self._schedule()

    def inform(self, status: int, headers: Headers) -> None:
        self._response.inform(status, headers)
        self._flush_soon()
        if self._phase == TAKER:
            self._schedule()

    def push(self, path: str, headers: Headers) -> None:
        pass  # there is no such thing here, and the scope does not say that there were

    def _flush_soon(self) -> None:
        """See to it that what was written is handed over at the end of this iteration of the loop."""
        if not self._advancing and not self._out.scheduled:
            self._out.scheduled = True
            self._service.loop.call_soon(self._out.flush)

    def consumed(self, size: int) -> None:
        self._reads.consumed(size)
        if self._phase == TAKER:
            self._schedule()

    # An Opener.

    def open(self, subprotocol: str | None, headers: list[Any]) -> WebSocketChannel:
        upgrade, service = self._upgrade, self._service
        status, own, others = upgrade.answer(subprotocol, headers)
        self._response.switch(upgrade.http.head, own, others)
        self._leave()
        upgrade.http.switched(status, others)
        channel: WebSocketChannel = upgrade.connect(service, self._transport, self._out, self._writes)
        return channel

    def _leave(self) -> None:
        """To this one the connection is over, and somebody else in its place."""
        service = self._service
        self._out.flush()
        self._phase = CLOSE
        service.connections.discard(self)
        service.deadlines.discard(self)
        self._reads.release()
        self._active = self._task = self._upgrade = None
        self._parser.close()

    # A Leaver.

    def leave_to_http2(self, head: RequestHead, body: bytes, settings: bytes) -> bool:
        service = self._service
        if self._queue or not self._parser.idle or service.parting or service.http2 is None:
            return False
        if service.requests == service.limit_requests:
            return False  # it was counted, and would be again
        self._response.switch(head, [(b"upgrade", b"h2c")], ())
        self._leave()
        service.active -= 1
        service.requests -= 1
        service.http2.take(service, self._transport).resume(head, body, settings)
        return True
