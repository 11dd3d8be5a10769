"""One WebSocket over HTTP/1.1, from the 101 on.

It takes the transport over from the `H1Connection` that has read the handshake, which from then on is out of the way. It stands
between the transport, which calls it as a protocol, the codec, which calls it as a `MessageSink`, and the cycle, which sends
through it as a `WebSocketChannel`.

Who is too slow is waited for, not buffered for. An application that does not take its messages stops the codec, and then the
transport; a peer that does not read suspends `send()`. Nobody is waited for without end: a peer that reads nothing is dropped as
one that does not read its response is, one that answers no ping within ``--ws-ping-timeout``, and one that does not answer a
Close frame in a few seconds. Pings beyond a few of one read are answered together (RFC 6455 §5.5.3).
"""

import asyncio
from typing import Final

from pronghorn.asgi.websocket import WebSocketCycle
from pronghorn.wire.ports import WebSocketCodec
from pronghorn.wire.ws_close import ABNORMAL, GOING_AWAY, INTERNAL_ERROR, SERVICE_RESTART, TOO_BIG

from .deadlines import NEVER
from .flow import Outbox, WriteGate, unread
from .service import Service
from .ws_settings import WebSockets

# What the connection waits for; decides what a deadline means.
_MESSAGE: Final = 0  # anything: the time for the next ping comes
_PONG: Final = 1  # the answer to a ping
_READER: Final = 2  # the peer, to read what was written
_GOODBYE: Final = 3  # the peer's Close frame in answer to ours
_CLOSE: Final = 4  # the end of the connection

#: Messages of one read that are handed on without letting other connections have a turn.
_EAGER_MESSAGES: Final = 64
#: Pings of one read that are answered one by one.
_PONGS: Final = 16
#: Ticks for a peer to answer a Close frame, and to notice that the connection is being closed.
_PATIENCE: Final = 6
_LINGER: Final = 3


class WsConnection:
    """An asyncio protocol (by its methods, not by inheritance), a `MessageSink` and a `WebSocketChannel`."""

    __slots__ = (
        "_budget",
        "_codec",
        "_cycle",
        "_full",
        "_heard",
        "_out",
        "_ping_ticks",
        "_pong",
        "_pong_ticks",
        "_pongs",
        "_reading",
        "_service",
        "_stopped",
        "_transport",
        "_unwritten",
        "_writes",
        "bucket",
        "deadline",
        "phase",
    )

    _codec: WebSocketCodec

    def __init__(
        self,
        service: Service,
        settings: WebSockets,
        cycle: WebSocketCycle,
        transport: asyncio.Transport,
        out: Outbox,
        writes: WriteGate,
    ) -> None:
        self._service = service
        self._ping_ticks = settings.ping_ticks
        self._pong_ticks = settings.pong_ticks
        self._cycle = cycle
        self._transport = transport
        self._out = out
        self._writes = writes
        self._reading = False  # whether what is written is flushed by whoever called us
        self._budget = _EAGER_MESSAGES
        self._full = False  # whether the application has enough to do
        self._stopped = False  # whether the transport does not read for that reason
        self._heard = False  # whether anything has come since the last ping
        self._pong: bytes | None = None  # what is owed to the last ping
        self._pongs = _PONGS
        self._unwritten = 0  # what was left to write when that was last looked at
        self.phase = _MESSAGE
        self.deadline = NEVER
        self.bucket = NEVER

    def __repr__(self) -> str:
        phase = ("open", "waits for a pong", "waits for its reader", "says goodbye", "closes")[self.phase]
        return f"<WsConnection {phase}, {self._cycle!r}>"

    def begin(self, codec: WebSocketCodec, rest: bytes) -> None:
        """Take over. `rest`, which came behind the handshake, is read as soon as the application lets the loop turn."""
        self._codec = codec
        service = self._service
        service.connections.add(self)
        service.open_websockets += 1
        service.accepted_websockets += 1
        if rest:
            codec.held = True
            codec.feed(rest)
            service.loop.call_soon(self._go_on)
        self._transport.set_protocol(self)  # type: ignore[arg-type]  # its methods are what counts
        self._rest()

    # An asyncio protocol.

    def data_received(self, data: bytes) -> None:
        if self.phase == _CLOSE:
            return
        self._reading = self._heard = True
        self._budget = _EAGER_MESSAGES
        self._pongs = _PONGS
        self._codec.feed(data)
        if self._pong is not None:
            self._answer_ping()
        self._reading = False
        self._out.flush()
        if self._codec.held and not self._stopped and self.phase != _CLOSE:
            self._stop()  # or what is held would grow with every read

    def eof_received(self) -> None:
        # The peer is gone without a Close frame, or behind one: returning None closes the transport.
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = _CLOSE
        service = self._service
        service.connections.discard(self)
        service.deadlines.discard(self)
        service.active -= 1
        service.open_websockets -= 1
        self._out.clear()
        self._cycle.disconnect(ABNORMAL, "")
        service.meter.websocket_closed(self._cycle.code)
        self._writes.resume()
        # Who holds the connection lets go of it. What comes and goes by the thousand is not to wait for the collector.
        self._codec.release()

    def pause_writing(self) -> None:
        self._writes.pause()
        self._await_reader()

    def resume_writing(self) -> None:
        self._writes.resume()
        if self.phase == _READER:
            self._rest()
            if self._pong is not None:
                self._answer_ping()
                self._flush_soon()

    # A MessageSink.

    def on_message(self, data: str | bytes) -> None:
        if self.phase >= _GOODBYE:
            return  # §1.4: what comes behind our own Close frame is discarded
        self._service.received_messages += 1
        if not self._cycle.feed(data):
            self._full = self._codec.held = True
        self._budget -= 1
        if not self._budget and not self._codec.held:
            self._codec.held = True
            self._service.loop.call_soon(self._go_on)

    def on_ping(self, payload: bytes) -> None:
        self._pong = payload
        if self._pongs:
            # At once, ahead of the answer to a message whose fragments it came between.
            self._pongs -= 1
            self._answer_ping()

    def on_pong(self, payload: bytes) -> None:
        if self.phase == _PONG:
            self._rest()

    def on_close(self, code: int, reason: str) -> None:
        if self.phase < _GOODBYE:
            self._codec.close(code, "")  # §5.5.1: "typically echos the status code it received"
            self._cycle.disconnect(code, reason)
        self._close(linger=False)

    def on_violation(self, code: int, reason: str) -> None:
        if self.phase < _GOODBYE:
            self._service.logger.info("WebSocket closed: %s (%d).", reason, code)
            if code == TOO_BIG:
                self._service.meter.limit("websocket_message")
            else:
                self._service.meter.protocol_error("websocket_frame")
            self._codec.close(code, reason)
            self._cycle.disconnect(code, reason)
        self._close(linger=True)

    # A WebSocketChannel.

    async def drain(self) -> None:
        await self._writes.drain()

    def text(self, data: str) -> bool:
        self._out.grew(self._codec.text(data))
        self._service.sent_messages += 1
        if not self._reading:
            self._flush_soon()
        return self._writes.paused

    def binary(self, data: bytes) -> bool:
        self._out.grew(self._codec.binary(data))
        self._service.sent_messages += 1
        if not self._reading:
            self._flush_soon()
        return self._writes.paused

    def close(self, code: int, reason: str) -> None:
        if self.phase >= _GOODBYE:
            return
        self._codec.close(code, reason)
        self._flush_soon()
        self.phase = _GOODBYE
        self._service.deadlines.arm(self, _PATIENCE)
        # Whatever the application has not taken, the peer's Close frame is behind it.
        self.resume()

    def failed(self) -> None:
        self._service.meter.application_error()

    def resume(self) -> None:
        self._full = False
        if self._codec.held:
            self._service.loop.call_soon(self._go_on)

    # Reading.

    def _go_on(self) -> None:
        """Take up what was left of a read, and read on if that was all."""
        if self.phase == _CLOSE or self._full:
            return
        self._codec.held = False
        self.data_received(b"")
        if self._stopped and not self._codec.held and self.phase != _CLOSE:
            self._stopped = False
            self._transport.resume_reading()

    def _stop(self) -> None:
        if not self._transport.is_closing():
            self._stopped = True
            self._transport.pause_reading()

    def _answer_ping(self) -> None:
        """One Pong for all Pings that wait for theirs (§5.5.3); for as long as the peer does not read, none."""
        payload = self._pong
        if payload is not None and not self._writes.paused:
            self._pong = None
            if self.phase < _GOODBYE:
                self._codec.pong(payload)

    # Writing.

    def _flush_soon(self) -> None:
        """See to it that what was written is handed over at the end of this iteration of the loop."""
        if not self._reading and not self._out.scheduled:
            self._out.scheduled = True
            self._service.loop.call_soon(self._out.flush)

    # Deadlines.

    def _rest(self) -> None:
        """Everything is as it should be: until the next ping."""
        self.phase = _MESSAGE
        if self._ping_ticks is None:
            self._service.deadlines.disarm(self)
        else:
            self._service.deadlines.arm(self, self._ping_ticks)

    def _await_reader(self) -> None:
        self._unwritten = unread(self._transport)
        if self.phase < _GOODBYE:
            self.phase = _READER
            self._service.deadlines.arm(self, self._service.body_ticks)

    def on_deadline(self) -> None:
        phase = self.phase
        if phase == _MESSAGE:
            self._ping()
        elif phase == _PONG:
            if self._stopped or self._heard:
                # It may have answered, but we do not listen; or it is in the middle of a frame, where no answer can be.
                self._ping()
            else:
                self._service.meter.limit("websocket_ping")
                self._drop("keepalive ping timeout")
        elif phase == _READER:
            # A slow reader may be slow, but it has to read.
            if self._unwritten - unread(self._transport) >= max(1, self._service.pace):
                self._await_reader()
            else:
                self._service.meter.limit("timeout_read")
                self._drop("the client does not read")
        else:
            self.abort()

    def _ping(self) -> None:
        self._heard = False
        self._codec.ping(b"")
        self._out.flush()
        self.phase = _PONG
        if self._pong_ticks is not None:
            self._service.deadlines.arm(self, self._pong_ticks)
        elif self._ping_ticks is not None:
            self.phase = _MESSAGE
            self._service.deadlines.arm(self, self._ping_ticks)

    def _drop(self, reason: str) -> None:
        """Give up a peer that is as good as gone; it may still find out why."""
        self._service.logger.info("WebSocket closed: %s.", reason)
        self._codec.close(INTERNAL_ERROR, reason)
        self._out.flush()
        self._cycle.disconnect(ABNORMAL, reason)
        self.abort()

    # Ends.

    @property
    def fresh(self) -> bool:
        return False

    @property
    def busy(self) -> bool:
        return True

    def shutdown(self) -> None:
        if self.phase < _GOODBYE:
            code = SERVICE_RESTART if self._service.succeeded else GOING_AWAY
            self.close(code, "")
            self._cycle.disconnect(code, "")

    def hurry(self) -> None:
        pass  # it was told at once

    def end_stream(self) -> None:
        self.abort()  # it was told seconds ago, and has not answered

    def abort(self) -> None:
        self.phase = _CLOSE
        self._out.clear()
        self._transport.abort()

    def _close(self, *, linger: bool) -> None:
        """Close once everything is written; §7.1.1 has the server do so first.

        With `linger` the peer may still be sending, and closing the socket on it would make the kernel answer with a reset, which
        can overtake our Close frame. So only our half is closed, and what comes in is dropped for a while.
        """
        self.phase = _CLOSE
        transport = self._transport
        self._out.flush()
        waiting = transport.get_write_buffer_size() > 0
        self._service.deadlines.arm(self, self._service.body_ticks if waiting else _LINGER)
        if linger and transport.can_write_eof():
            if self._stopped:
                self._stopped = False
                transport.resume_reading()
            transport.write_eof()
        else:
            transport.close()
