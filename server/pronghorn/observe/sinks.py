"""How bytes get to a standard stream of the process without waiting for whoever reads it, by kind of descriptor.

O_NONBLOCK belongs to the open file description, and that of a standard stream is shared: with the shell, with the application's
``print``, with every other process that writes there. So it is never set on what we were given. A pipe or a terminal is opened once
more, through ``/proc/self/fd``, which makes a description of our own; where that is not allowed, pwritev2(2) can be asked not to wait
for a single write; and where the kernel cannot do that either, a thread waits (`Patient`). A socket takes the
wish with each send(2), and a file does not make anybody wait.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import mmap
import os
import select
import socket
import stat
import sys
import termios
import time
from typing import Final, Protocol, TextIO

# A write to a pipe of up to this many bytes is taken whole or not at all (POSIX).
ATOMIC: Final = select.PIPE_BUF
# Pages that stay free for what other processes write between our look at a pipe and our write to it.
_SPARE: Final = 2
# How long to wait for room that poll(2) cannot tell of, in seconds.
_NAP: Final = 0.01


class Sink(Protocol):
    """One way to write. `atomic`: up to how many bytes are taken whole or not at all. `waits`: write only in a thread."""

    atomic: int
    waits: bool

    def write(self, data: bytes) -> int:
        """Write as much as goes; how many bytes did. Raises BlockingIOError if none does, OSError or ValueError if none will."""

    def fits(self, size: int) -> bool:
        """Whether this many bytes, more than `atomic`, would be taken whole."""

    def pause(self, seconds: float) -> None:
        """Wait until a write may do better, but no longer than this."""

    def close(self) -> None:
        """Give back what was opened."""


class Numbered(Protocol):
    """What has a descriptor, and says so when it is closed."""

    def fileno(self) -> int:
        """The number. Raises ValueError if it belongs to somebody else by now."""


class File:
    """A regular file, or a device such as /dev/null: what poll(2) says can be written to at any time."""

    atomic = sys.maxsize
    waits = False

    def __init__(self, file: Numbered) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        return os.write(self._file.fileno(), data)

    def fits(self, size: int) -> bool:
        return True

    def pause(self, seconds: float) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        """It is not ours."""


class Own(File):
    """A terminal, or whatever else could be opened once more: a non-blocking description of our own."""

    def pause(self, seconds: float) -> None:
        _poll(self._file, seconds)

    def close(self) -> None:
        os.close(self._file.fileno())


class Pipe(Own):
    """The same of a pipe, which other processes write to as well: no line of theirs may come into the middle of one of ours."""

    atomic = ATOMIC

    def fits(self, size: int) -> bool:
        """Whether there are enough free pages. A write that does not fit is cut, and what others write then gets into the gap.

        The kernel does not say how many are in use, but it fills a page before it takes another unless what comes does not fit
        in there whole; so any two neighbours hold more than one page would.
        """
        unread = _unread(self._file)
        pages = fcntl.fcntl(self._file, fcntl.F_GETPIPE_SZ) // mmap.PAGESIZE
        used = 2 * (unread // mmap.PAGESIZE + 1)
        # What is longer than the whole pipe goes in pieces, when there is nothing else in it.
        return size // mmap.PAGESIZE + 1 <= pages - used - _SPARE or not unread

    def pause(self, seconds: float) -> None:
        began = time.monotonic()
        super().pause(seconds)
        if time.monotonic() - began < _NAP:  # there is room, but not enough
            time.sleep(min(_NAP, seconds))


class NoWait(Pipe):
    """A pipe that may not be opened, because it belongs to another user, on a kernel that can be asked not to wait (Linux 6.4)."""

    def write(self, data: bytes) -> int:
        return os.pwritev(self._file.fileno(), (data,), -1, os.RWF_NOWAIT)

    def close(self) -> None:
        """It is not ours."""


class Patient(File):
    """What can only be waited for."""

    atomic = ATOMIC
    waits = True

    def pause(self, seconds: float) -> None:
        """For the thread, which is the one that writes."""
        time.sleep(min(_NAP, seconds))


class Socket:
    """A socket: the journal's, where systemd started us."""

    atomic = ATOMIC
    waits = False

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=os.dup(descriptor))

    def write(self, data: bytes) -> int:
        return self._socket.send(data, socket.MSG_DONTWAIT)

    def fits(self, size: int) -> bool:  # nobody can tell, and a stream's buffer takes 200 KiB
        return True

    def pause(self, seconds: float) -> None:
        _poll(self._socket, seconds)

    def close(self) -> None:
        self._socket.close()


class Text:
    """What somebody has put in the place of the stream. Whether it waits is his affair."""

    atomic = sys.maxsize
    waits = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        self._stream.write(data.decode(errors="backslashreplace"))
        self._stream.flush()
        return len(data)

    def fits(self, size: int) -> bool:
        return True

    def pause(self, seconds: float) -> None:
        """It does its own waiting."""

    def close(self) -> None:
        """It is not ours."""


class Closed:
    """A stream that is closed, and how it says so."""

    atomic = sys.maxsize
    waits = False

    def __init__(self, exc: Exception) -> None:
        self._exc = exc

    def write(self, data: bytes) -> int:
        raise self._exc

    def fits(self, size: int) -> bool:
        return True

    def pause(self, seconds: float) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        """It is."""


def sink_of(stream: TextIO) -> Sink:
    """Find the way for a stream as it is now. Raises OSError or ValueError for one that is closed."""
    # Exactly Python's own class. Somebody's wrapper may have a fileno() too, and wants to see what is written.
    if type(stream) is not io.TextIOWrapper:
        return Text(stream)
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # in memory
        return Text(stream)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        return Socket(descriptor)
    if stat.S_ISFIFO(mode):
        own = _opened(descriptor)
        if own is not None:
            return Pipe(own)
        return NoWait(stream) if _kernel_need_not_wait() else Patient(stream)
    if os.isatty(descriptor):
        own = _opened(descriptor)
        return Patient(stream) if own is None else Own(own)
    return File(stream)


def _kernel_need_not_wait() -> bool:
    reader, writer = os.pipe()
    try:
        return os.pwritev(writer, (b".",), -1, os.RWF_NOWAIT) == 1
    except (AttributeError, OSError):  # no Linux, or an older one
        return False
    finally:
        os.close(reader)
        os.close(writer)


def _opened(descriptor: int) -> Numbered | None:
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        return io.FileIO(os.open(f"/proc/self/fd/{descriptor}", flags), "wb", closefd=False)
    return None


def _poll(file: Numbered, seconds: float) -> None:
    poll = select.poll()
    with contextlib.suppress(OSError, ValueError):  # closed, as the next write will find
        poll.register(file, select.POLLOUT)
        poll.poll(seconds * 1000)


def _unread(file: Numbered) -> int:
    size = bytearray(4)
    fcntl.ioctl(file, termios.FIONREAD, size)
    return int.from_bytes(size, sys.byteorder)
