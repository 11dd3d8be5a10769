"""An HTTP/2 client that sends exactly what it is told to (`h2_frames`), and reads as `h2_reader` does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import hpack
from hyperframe.frame import Frame

from tests.support.h2_frames import (
    FRAME_SIZE,
    PREFACE,
    WINDOW,
    Code,
    Setting,
    data,
    head,
    headers,
    ping,
    settings,
)
from tests.support.h2_reader import Reader, Stream


class Client(Reader):
    """One connection. It acknowledges settings and answers pings."""

    def __init__(
        self,
        sock: socket.socket,
        *values: tuple[int, int],
        opening: bytes | None = None,
        generous: bool = True,
    ) -> None:
        """Opens with the preface and these settings, or with `opening`, which may be nothing."""
        super().__init__(*values, generous=generous, reply=self.send)
        self.sock = sock
        if sock.family != socket.AF_UNIX:
            # Small frames are not to wait for each other.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False
        self.cut = False  # whether the connection may end inside a frame
        self.sent: dict[int, int] = {}  # what send_body took of the windows
        self._next = 1
        self._encoder = hpack.Encoder()
        self.send(PREFACE + settings(values) if opening is None else opening)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    # Sending.

    def send(self, *pieces: bytes) -> bool:
        """Whether the server still took it. One that has closed has said why before, and that can be read."""
        try:
            self.sock.sendall(b"".join(pieces))
        except (ConnectionError, ssl.SSLError):
            return False
        return True

    def request(
        self,
        path: bytes = b"/",
        *fields: tuple[bytes, bytes],
        method: bytes = b"GET",
        body: bytes | None = None,
        end: bool = True,
        **pseudo: bytes | None,
    ) -> int:
        """Send a request with a block that uses the dynamic table; returns its stream.

        The body is sent at once, as the windows that every connection begins with allow; without `end` more is to come.
        """
        stream, self._next = self._next, self._next + 2
        names = head(*fields, path=path, method=method, **pseudo)
        sent = headers(stream, self._encoder.encode(names), end=end and body is None)
        if body is not None:
            self.sent[stream] = len(body)
            sent += b"".join(
                data(stream, body[at : at + FRAME_SIZE], end=end and at + FRAME_SIZE >= len(body))
                for at in range(0, max(len(body), 1), FRAME_SIZE)
            )
        self.stream(stream)
        self.send(sent)
        return stream

    def change_initial_window(self, size: int) -> None:
        """SETTINGS that change the windows of all streams, those there are included: §6.9.2."""
        for stream in self.streams.values():
            stream.window += size - self._initial
        self._initial = size
        self.send(settings([(Setting.INITIAL_WINDOW_SIZE, size)]))

    def send_body(self, number: int, size: int, *, end: bool = True) -> int:
        """Send so many bytes as the windows have room for them, however long that takes; returns how many went.

        That is fewer where the stream is over before.
        """
        sent, stream = 0, self.stream(number)
        while sent < size:
            room = min(self.room(number), size - sent, FRAME_SIZE)
            if room <= 0:
                if not self.until(lambda: stream.over or self.room(number) > 0) or stream.over:
                    break
                continue
            sent += room
            self.sent[number] = self.sent.get(number, 0) + room
            self.send(data(number, bytes(room), end=end and sent == size))
        return sent

    def room(self, number: int) -> int:
        """How many bytes the server's windows have room for on this stream."""
        initial = self.settings.get(Setting.INITIAL_WINDOW_SIZE, WINDOW)
        connection = WINDOW + self.given.get(0, 0) - sum(self.sent.values())
        return min(connection, initial + self.given.get(number, 0) - self.sent.get(number, 0))

    # Reading.

    def get(self, path: bytes = b"/", *fields: tuple[bytes, bytes], **options: Any) -> Stream:
        """The response to a request."""
        return self.response(self.request(path, *fields, **options))

    def finished(self, number: int) -> Stream:
        """What came on a stream, once nothing more can come."""
        stream = self.stream(number)
        assert self.until(lambda: stream.over), f"the connection ended: {self.told()}"
        return stream

    def response(self, number: int) -> Stream:
        """What came on a stream, once it is complete."""
        stream = self.finished(number)
        assert stream.ended, f"stream {number} was reset: {Code(stream.code or 0).name}"
        return stream

    def refused(self, number: int) -> int:
        """The code that a stream was reset with, once it was."""
        stream = self.finished(number)
        assert stream.code is not None, f"stream {number} was answered: {stream.status}"
        return stream.code

    def barrier(self, opaque: bytes = b"barrier!") -> bool:
        """Whether the server goes on behind all that was sent: it answers a PING."""
        count = self.pongs.count(opaque)
        self.send(ping(opaque))
        return self.until(lambda: self.pongs.count(opaque) > count or bool(self.error)) and not self.error

    def end(self) -> int | None:
        """The code of the last GOAWAY, or None if there was none, once the server has closed the connection."""
        self.until(lambda: False)
        return self.goaways[-1].error_code if self.goaways else None

    def told(self) -> str:
        """How the connection stands, for the message of a test that fails."""
        codes = [f"GOAWAY {one.error_code} {one.additional_data!r}" for one in self.goaways]
        return ", ".join([*codes, *(["closed"] if self.closed else [])]) or "open"

    def until(self, met: Callable[[], bool]) -> bool:
        """Read frames until the condition is met; False if the connection ends before."""
        while not met():
            if self.read() is None:
                return met()
        return True

    def read(self) -> Frame | None:
        """The next frame, or None at the end of the connection. One that does not come in time is a TimeoutError."""
        while (found := self.next()) is None:
            if self.closed:
                assert self.cut or not self.received, f"the connection ended in a frame: {self.received!r}"
                return None
            try:
                piece = self.sock.recv(1 << 18)
            except (ConnectionError, ssl.SSLEOFError):
                piece = b""
            self.closed = not piece
            self.received += piece
        return found
