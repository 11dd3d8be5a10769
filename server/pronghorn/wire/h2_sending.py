"""The sending half of an HTTP/2 connection: frames out, in turns and within the windows of the peer (RFC 9113 §5.2, §6.9).

A piece that fits is written at once if nobody waits; else it waits with its stream, and `pump` gives each stream one frame after the
other. `pump` is called by the owner, who knows when the transport has room.
"""

from collections.abc import Callable
from typing import Any, Final

from . import h2_frames as frames
from .h2_calm import Calm
from .h2_frames import WINDOW
from .h2_settings import PeerSettings
from .h2_stream import Stream, Turns

#: Streams that we have reset, of which the last ones are known.
_REMEMBERED: Final = 256
#: Bytes of a frame's payload that we send, whatever more the peer allows: a frame is a turn.
_TURN: Final = 16_384
_NO_TABLE: Final = b"\x20"  # RFC 7541 §6.3: our fields never need a table


class Sending:
    """What `H2Wire` sends with. `streams` are those that are open, by their number."""

    __slots__ = (
        "_calm",
        "_fresh_table",
        "_resets",
        "_turns",
        "_write",
        "held",
        "peer",
        "send_window",
        "sent",
        "streams",
    )

    def __init__(self, write: Callable[[Any], object]) -> None:
        self._write = write
        self._calm = Calm()
        self._turns = Turns()
        self._fresh_table = True
        self._resets: dict[int, None] = {}  # in the order in which we did; more may be on its way for them
        self.peer = PeerSettings()
        self.streams: dict[int, Stream] = {}
        #: Set by the owner while the transport has enough.
        self.held = False
        self.send_window = WINDOW
        self.sent = 0  # bytes of DATA, for whoever looks whether anything moves

    def send_head(self, stream: Stream, block: bytes, *, end: bool) -> None:
        """The head of a response; with `end` all of it."""
        if self._fresh_table:
            self._fresh_table = False
            block = _NO_TABLE + block
        if len(block) <= _TURN:
            flags = frames.END_HEADERS | frames.END_STREAM if end else frames.END_HEADERS
            self._write(frames.frame_head(len(block), frames.HEADERS, flags, stream.id) + block)
        else:
            flags = frames.END_STREAM if end else 0
            size = self.peer.max_frame_size
            self._write(frames.header_frames(frames.HEADERS, stream.id, flags, block, size))
        if end:
            self._end_local(stream)

    def send_push(self, stream: Stream, number: int, block: bytes) -> None:
        """PUSH_PROMISE of stream `number` (§6.6)."""
        if self._fresh_table:
            self._fresh_table = False
            block = _NO_TABLE + block
        size = self.peer.max_frame_size
        ahead = number.to_bytes(4, "big")
        self._write(frames.header_frames(frames.PUSH_PROMISE, stream.id, 0, block, size, ahead))

    def send_data(self, stream: Stream, data: bytes, *, end: bool) -> None:
        """A piece of a body; with `end` the last one. It is written at once if there is room for it and nobody waits."""
        size = len(data)
        if stream.pending_size:
            if size:
                stream.pending.append(data)
                stream.pending_size += size
            stream.ending = end
        elif not size:
            if end:
                self._finish(stream)
        elif (
            size <= stream.send_window
            and size <= self.send_window
            and size <= _TURN
            and not self.held
            and not self._turns.waiting
        ):
            self._frame_data(stream, size, end=end)
            self._write(data)
            if end:
                self._end_local(stream)
        else:
            stream.pending.append(data)
            stream.pending_size = size
            stream.ending = end
            self._queue(stream)

    def send_trailers(self, stream: Stream, block: bytes) -> None:
        """The fields behind the body, and the end."""
        stream.trailers = block
        stream.ending = True
        if not stream.pending_size:
            self._finish(stream)

    def _frame_data(self, stream: Stream, size: int, *, end: bool) -> None:
        self._write(frames.frame_head(size, frames.DATA, frames.END_STREAM if end else 0, stream.id))
        stream.send_window -= size
        stream.sent += size
        self.send_window -= size
        self.sent += size
        self._calm.work += 1

    def _queue(self, stream: Stream) -> None:
        """Give a stream a turn, if it has something to send and a window for it."""
        if stream.pending_size and stream.send_window > 0 and not stream.queued:
            self._turns.add(stream)

    @property
    def waiting(self) -> bool:
        """Whether `pump` would send anything."""
        return self._turns.waiting > 0 and self.send_window > 0 and not self.held

    def pump(self, budget: int) -> None:
        """Send up to `budget` bytes, or a frame more, of what waits."""
        turns = self._turns
        while budget > 0 and self.send_window > 0:
            stream = turns.take()
            if stream is None:
                return
            waiting = stream.pending_size
            size = min(waiting, _TURN, stream.send_window, self.send_window)
            if size <= 0:
                continue  # it is gone, or comes back with its window
            last = size == waiting and stream.ending and not stream.trailers
            self._frame_data(stream, size, end=last)
            self._write_pending(stream, size)
            budget -= size
            if last:
                self._end_local(stream)
            elif size < waiting:
                if stream.send_window > 0:
                    turns.again(stream)
            elif stream.ending:
                self._finish(stream)
            stream.on_sent(size)

    def _write_pending(self, stream: Stream, size: int) -> None:
        """Write the first `size` bytes of what waits."""
        stream.pending_size -= size
        pending = stream.pending
        while size:
            piece = pending.popleft()
            length = len(piece)
            if length > size:
                rest: Any = memoryview(piece)
                self._write(rest[:size])
                pending.appendleft(rest[size:])
                return
            self._write(piece)
            size -= length

    def _finish(self, stream: Stream) -> None:
        """All of the body is out: its end is due."""
        if stream.trailers:
            self.send_head(stream, stream.trailers, end=True)
        else:
            self._frame_data(stream, 0, end=True)
            self._end_local(stream)

    def _end_local(self, stream: Stream) -> None:
        stream.local_closed = True
        if stream.remote_closed:
            self._close(stream)
        else:
            stream.on_answered()

    def ping(self, payload: bytes) -> None:
        self._write(frames.ping(payload))

    # Ends.

    def _close(self, stream: Stream) -> None:
        stream.closed = True
        stream.pending.clear()
        stream.pending_size = 0
        self.streams.pop(stream.id, None)
        stream.on_closed()

    def drop(self, stream: Stream) -> None:
        """Close a stream without a word: the connection is over."""
        self._close(stream)

    def reset(self, number: int, code: int) -> None:
        """RST_STREAM, and the stream is gone; its owner is not told, who may be the one that calls."""
        stream = self.streams.get(number)
        if stream is not None:
            self._close(stream)
        self._forget_later(number)
        self._write(frames.rst_stream(number, code))

    def _forget_later(self, number: int) -> None:
        """What still comes for a stream is not to be answered."""
        resets = self._resets
        resets[number] = None
        if len(resets) > _REMEMBERED:
            del resets[next(iter(resets))]
