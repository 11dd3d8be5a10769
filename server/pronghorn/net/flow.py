"""Flow control of one connection: how a slow side makes the fast one wait, so that memory stays bounded.

Joining: what is written within one iteration of the loop goes out as one write. Each write of a transport is a system
call, and those of a response in pieces cost several times what the pieces do.

Reading: once the application is `HIGH_WATER` bytes behind, the transport stops reading, the receive window of the
peer fills, and the peer waits. Writing: the transport says when its buffer is over its limit, and whoever wants to
send more awaits `WriteGate.drain`.
"""

import asyncio
import contextlib
import fcntl
import struct
import termios
from typing import Final

from pronghorn.wire.h1_response import LARGE

#: Bytes of request body that may wait for the application before reading stops.
HIGH_WATER: Final = 65_536


def unread(transport: asyncio.Transport) -> int:
    """Bytes written that the peer has not taken: those in the transport's buffer, and those in the kernel's.

    The kernel takes more from the transport only when a third of its own buffer is free, which may be a megabyte. Of a
    peer that reads slowly the transport alone would see nothing for minutes.
    """
    waiting = transport.get_write_buffer_size()
    descriptor = transport.get_extra_info("socket").fileno()
    if descriptor >= 0:
        # tcp(7) and unix(7): SIOCOUTQ, by the name that Python has for the same number. What has just been closed has none.
        with contextlib.suppress(OSError):
            waiting += struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    return waiting


class ReadGate:
    """Stops and resumes the reading of a transport. Reasons to stop add up: reading resumes when none is left."""

    __slots__ = ("_buffered", "_held", "_transport", "paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._buffered = 0
        self._held = False
        #: Whether it has stopped, so that a peer that has more to send cannot.
        self.paused = False

    def buffered(self, size: int) -> None:
        """`size` more bytes wait for the application."""
        self._buffered += size
        if self._buffered > HIGH_WATER:
            self._update()

    def consumed(self, size: int) -> None:
        """The application took `size` of them."""
        self._buffered -= size
        if self.paused:
            self._update()

    def hold(self, wanted: bool) -> None:
        """Stop reading for another reason than the amount of data, or let go of it."""
        if self._held is not wanted:
            self._held = wanted
            self._update()

    def release(self) -> None:
        """Read whatever comes from here on; nobody is waiting for it."""
        self._held = False
        self._buffered = 0
        self._update()

    def _update(self) -> None:
        pause = self._held or self._buffered > HIGH_WATER
        if pause is not self.paused and not self._transport.is_closing():
            self.paused = pause
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()


class Pace:
    """Whether something that is counted goes on fast enough: by `least` in each `period` of ticks."""

    __slots__ = ("_count", "_end", "_least", "_period")

    def __init__(self, least: int, period: int, count: int, now: int) -> None:
        self._least = least
        self._period = period
        self._count = count
        self._end = now + period

    def lost(self, count: int, now: int) -> bool:
        """Whether, at the end of a period, the count had not grown by enough. To be asked again and again."""
        if now < self._end:
            return False
        grown = count - self._count
        self._count = count
        self._end = now + self._period
        return grown < self._least


class Outbox:
    """Collects what is to be written: `write` puts a piece in, and whoever does so sees to it that a flush follows."""

    __slots__ = ("_pieces", "_size", "_transport", "scheduled", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        #: A method of the list itself: nothing is called more often.
        self.write = self._pieces.append
        self._size = 0
        #: Whether a call of `flush` is on its way already; for the owner to set.
        self.scheduled = False

    def grew(self, size: int) -> None:
        """`size` more bytes of a body are in. Hands everything over once it is much, and what is large without a copy."""
        self._size += size
        if size >= LARGE:
            for piece in self._pieces:
                self._transport.write(piece)
            self.clear()
        elif self._size >= LARGE:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the transport."""
        self.scheduled = False
        pieces = self._pieces
        if pieces:
            data = b"".join(pieces)  # of a single piece that is the piece, without a copy
            pieces.clear()
            self._size = 0
            self._transport.write(data)

    def clear(self) -> None:
        """Forget what was not handed over yet."""
        self._pieces.clear()
        self._size = 0


class WriteGate:
    """Whether the peer keeps up with what is written; `drain` waits until it does again."""

    __slots__ = ("_waiters", "paused")

    def __init__(self) -> None:
        self.paused = False
        self._waiters: list[asyncio.Future[None]] = []

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        """Also to be called when the connection is lost: nobody may wait for a peer that is gone."""
        self.paused = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def drain(self) -> None:
        if self.paused:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
