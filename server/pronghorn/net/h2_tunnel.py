"""A stream of HTTP/2 as the transport of a WebSocket (RFC 8441 §5): DATA in place of bytes, windows in place of the kernel's buffers."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from pronghorn.wire.h2_frames import CANCEL

from .flow import HIGH_WATER

if TYPE_CHECKING:
    from .h2_connection import H2Connection
    from .h2_stream import H2Stream

_LOW_WATER: Final = 16_384
#: Ticks for a peer to end its half of a stream whose other half has ended.
_PATIENCE: Final = 3


class H2Tunnel(asyncio.Transport):
    """What `WsConnection` needs of a transport. The protocol is called as a loop would: `connection_lost` in a turn of its own."""

    def __init__(self, stream: H2Stream, connection: H2Connection) -> None:
        super().__init__()
        self._stream = stream
        self._connection = connection
        self._protocol: Any = None
        self._paused = False  # reading
        self._held: deque[bytes] = deque()
        self._end_held = False
        self._full = False  # writing
        self._closing = False
        self._lost = False

    def __repr__(self) -> str:
        return f"<H2Tunnel {self._stream!r}>"

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.transport.get_extra_info(name, default)

    def begin(self) -> None:
        """The protocol is set. An end that came with the request is told now."""
        if self._stream.remote_closed:
            self.receive_end()

    # What comes in.

    def receive(self, data: bytes) -> None:
        """A piece of DATA."""
        if self._paused:
            self._held.append(data)
        else:
            self._connection.consumed(self._stream, len(data))
            self._protocol.data_received(data)

    def receive_end(self) -> None:
        """The peer has ended its half."""
        if self._paused:
            self._end_held = True
        elif not self._lost:
            self._protocol.eof_received()
            self.close()

    def lost(self) -> None:
        """The stream is gone."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self._connection.service.loop.call_soon(self._protocol.connection_lost, None)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._connection.service.loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._held and not self._paused:
            self.receive(self._held.popleft())
        if self._end_held and not self._paused:
            self._end_held = False
            self.receive_end()

    # What goes out.

    def write(self, data: Any) -> None:
        stream = self._stream
        if stream.closed or stream.ending or stream.local_closed:
            return
        self._connection.wire.send_data(stream, data, end=False)
        self._connection.flush_soon()
        if stream.pending_size > HIGH_WATER and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def sent(self, left: int) -> None:
        """Some of what waited is out, and `left` bytes are not."""
        if self._full and left <= _LOW_WATER:
            self._full = False
            self._protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return self._stream.pending_size

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        stream = self._stream
        if not (stream.closed or stream.ending or stream.local_closed):
            self._connection.wire.send_data(stream, b"", end=True)
            self._connection.flush_soon()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End our half, once all is out; the protocol is done then, and the stream once the peer has ended its own."""
        if self._closing:
            return
        self._closing = True
        self.write_eof()
        stream = self._stream
        if not stream.closed:
            stream.say_goodbye(self._connection.service.body_ticks if stream.pending_size else _PATIENCE)
        self.lost()

    def abort(self) -> None:
        if not self._stream.closed:
            self._connection.reset(self._stream, CANCEL)
        self.lost()
