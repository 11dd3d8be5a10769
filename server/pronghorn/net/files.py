"""Files as response bodies: opened, measured, and put on the wire by the kernel where it can.

sendfile(2) moves the bytes from the page cache into the socket; Python never sees them. The loops offer it in ways that do
not suit a server: asyncio's takes the transport off the loop meanwhile, so that nobody notices a client that leaves, and
uvloop has none. Here it writes to a duplicate of the socket's descriptor, which a loop lets one wait on like any other,
while the transport stays where it is and goes on reading. What the transport has written before has to be out first:
its buffer limit is zero for that long, which makes the usual backpressure wait for exactly that.

Over TLS the bytes have to be encrypted by the process, so there the file is read block by block.

Neither way leaves the thread. A block that is not in the page cache stops the loop for as long as the disk takes, as it
does in every server that uses sendfile(2).
"""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from typing import Final, Protocol, cast

from pronghorn.wire import ports

from .flow import WriteGate

#: Files of this many bytes and more are sent by reference; copying what is smaller costs less than the calls around it.
LARGE: Final = 65_536
# Bytes read at a time where that is the only way, and bytes that the kernel is asked to send before others have a turn.
_BLOCK: Final = 131_072
_AT_ONCE: Final = 1_048_576
# What sendfile(2) says of a file, or of a file system, that it cannot send from.
_UNSENDABLE: Final = frozenset((errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP))


class _Open(Protocol):
    """A file object, as much of it as matters here."""

    def fileno(self) -> int: ...

    def tell(self) -> int: ...

    def seek(self, offset: int, /) -> object: ...


class FilePart:
    """A stretch of a regular file: `size` bytes from `offset` on, as far as the file goes.

    `source` is a path, which is opened here and closed again, or something open that has a descriptor. Without `offset`
    that one's position counts, and is moved to the end of what was sent. Raises `OSError`.
    """

    __slots__ = ("_opened", "_position_of", "_sent", "fd", "offset", "size")

    def __init__(self, source: object, offset: int | None, count: int | None) -> None:
        self._opened = False
        self._position_of: int | _Open | None = None
        self._sent = 0
        if isinstance(source, (str, bytes, os.PathLike)):
            # Without O_NONBLOCK, opening a named pipe would wait for somebody to write to it.
            self.fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            self._opened = True
        else:
            file = cast("int | _Open", source)
            self.fd = file if isinstance(file, int) else file.fileno()
        try:
            status = os.fstat(self.fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file", source)
            if offset is None:
                # A buffered file has been read further than it says, so the file is asked, and not its descriptor.
                self._position_of = place = file if hasattr(file, "tell") else self.fd
                offset = os.lseek(place, 0, os.SEEK_CUR) if isinstance(place, int) else place.tell()
            if offset < 0 or (count is not None and count < 0):
                raise ValueError(f"no part of a file: offset {offset}, count {count}")
        except BaseException:
            self._position_of = None
            self.close()
            raise
        rest = max(0, status.st_size - offset)
        self.offset = offset
        self.size = rest if count is None else min(rest, count)

    def small(self) -> bytes | None:
        if self.size >= LARGE:
            return None
        data = os.pread(self.fd, self.size, self.offset)
        self._sent = len(data)
        return data

    def moved(self, size: int) -> None:
        """`size` more bytes of it were sent."""
        self._sent += size

    def close(self) -> None:
        if self._opened:
            self._opened = False
            os.close(self.fd)
        place, self._position_of = self._position_of, None
        if isinstance(place, int):
            os.lseek(place, self.offset + self._sent, os.SEEK_SET)
        elif place is not None:
            place.seek(self.offset + self._sent)


class Transfer:
    """The first `left` bytes of a part on their way into a transport; `sent` is called with each number of bytes that went."""

    __slots__ = (
        "_gate",
        "_loop",
        "_offset",
        "_part",
        "_sent",
        "_stopped",
        "_transport",
        "_waiter",
        "left",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        gate: WriteGate,
        part: ports.FilePart,
        size: int,
        sent: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._gate = gate
        self._part = part
        self._offset = part.offset
        self._sent = sent
        self._stopped = False
        self._waiter: asyncio.Future[None] | None = None
        self.left = size

    async def run(self) -> None:
        """Send until nothing is left, or the file has no more, or `stop` was called.

        Raises `ConnectionError` when the peer is gone, and `OSError` when the file cannot be read.
        """
        # A transport that is no socket has no descriptor.
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0 or self._transport.get_extra_info("sslcontext") is not None:
            await self._by_blocks()
            return
        try:
            out = os.dup(descriptor)
        except OSError:  # no descriptor is free
            await self._by_blocks()
            return
        low, high = self._transport.get_write_buffer_limits()
        self._transport.set_write_buffer_limits(0)
        try:
            await self._gate.drain()
            await self._by_reference(out)
        finally:
            os.close(out)
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits(high, low)

    def stop(self) -> None:
        """The connection is lost."""
        self._stopped = True
        self._wake()

    async def _by_reference(self, out: int) -> None:
        begun = False
        while self.left and not self._stopped:
            try:
                size = os.sendfile(out, self._part.fd, self._offset, min(self.left, _AT_ONCE))
            except BlockingIOError:
                await self._writable(out)
                continue
            except OSError as exc:
                if exc.errno in _UNSENDABLE and not begun:
                    await self._by_blocks()
                    return
                if exc.errno == errno.EIO or isinstance(exc, ConnectionError):
                    raise
                raise ConnectionError(exc.errno, exc.strerror) from exc
            if not size:
                return
            begun = True
            self._went(size)
            await asyncio.sleep(0)

    async def _writable(self, out: int) -> None:
        waiter = self._waiter = self._loop.create_future()
        self._loop.add_writer(out, self._wake)
        try:
            await waiter
        finally:
            self._waiter = None
            self._loop.remove_writer(out)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _by_blocks(self) -> None:
        while self.left and not self._stopped:
            data = os.pread(self._part.fd, min(self.left, _BLOCK), self._offset)
            if not data:
                return
            self._went(len(data))  # first: writing looks at what is left
            self._transport.write(data)
            if self._gate.paused:
                await self._gate.drain()
            else:
                await asyncio.sleep(0)

    def _went(self, size: int) -> None:
        self._offset += size
        self.left -= size
        self._part.moved(size)
        self._sent(size)
