"""HTTP/2 by hand: frames as bytes, and a client that sends exactly what it is told to.

Whatever a frame should not be can be made with `frame`; field blocks are made without state (`block`), so that the bytes of
a test stand for themselves wherever they are sent. What comes back is read with hyperframe and hpack and held against
RFC 9113 as it comes: a server that sends more than the windows allow, a frame that is too large, or a head that no server
may send fails the test that reads it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Any, Final, Self

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Fields = Iterable[tuple[bytes, bytes]]


class Kind(IntEnum):
    """Types of frames: RFC 9113 §6, and PRIORITY_UPDATE of RFC 9218."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    PRIORITY_UPDATE = 16


class Code(IntEnum):
    """Why a stream or a connection ends: RFC 9113 §7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    """RFC 9113 §6.5.2, RFC 8441 §3 and RFC 9218 §2.1."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8
    NO_RFC7540_PRIORITIES = 9


ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

WINDOW: Final = 65_535
LARGEST_WINDOW: Final = 2**31 - 1
FRAME_SIZE: Final = 16_384


# ---- Frames as bytes ------------------------------------------------------------------------------------------------


def frame(
    kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None
) -> bytes:
    """Any frame at all; `length` where it is to lie, and the highest bit of `stream` is the reserved one."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(values: Iterable[tuple[int, int]] = (), *, flags: int = 0, stream: int = 0) -> bytes:
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values)
    return frame(Kind.SETTINGS, payload, flags=flags, stream=stream)


def data(stream: int, payload: bytes = b"", *, end: bool = True, padding: int | None = None) -> bytes:
    flags = END_STREAM * end
    if padding is not None:
        flags, payload = flags | PADDED, bytes([padding]) + payload + bytes(padding)
    return frame(Kind.DATA, payload, flags=flags, stream=stream)


def priority(parent: int = 0, weight: int = 16, *, exclusive: bool = False) -> bytes:
    """The five bytes of RFC 7540's priorities: a payload of PRIORITY, or what stands ahead of a block."""
    return (parent | exclusive << 31).to_bytes(4, "big") + bytes([weight - 1])


def headers(
    stream: int,
    fragment: bytes,
    *,
    end: bool = True,
    complete: bool = True,
    padding: int | None = None,
    prior: bytes = b"",
) -> bytes:
    """HEADERS with a block or the beginning of one; `prior` are the five bytes of priority."""
    flags, payload = END_STREAM * end | END_HEADERS * complete | PRIORITY * bool(prior), prior + fragment
    if padding is not None:
        flags, payload = flags | PADDED, bytes([padding]) + payload + bytes(padding)
    return frame(Kind.HEADERS, payload, flags=flags, stream=stream)


def continuation(stream: int, fragment: bytes = b"", *, complete: bool = True) -> bytes:
    return frame(Kind.CONTINUATION, fragment, flags=END_HEADERS * complete, stream=stream)


def reset(stream: int, code: int = Code.CANCEL) -> bytes:
    return frame(Kind.RST_STREAM, code.to_bytes(4, "big"), stream=stream)


def ping(opaque: bytes = b"12345678", *, flags: int = 0) -> bytes:
    return frame(Kind.PING, opaque, flags=flags)


def goaway(last: int = 0, code: int = 0, debug: bytes = b"") -> bytes:
    return frame(Kind.GOAWAY, last.to_bytes(4, "big") + code.to_bytes(4, "big") + debug)


def window_update(stream: int, increment: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, increment.to_bytes(4, "big"), stream=stream)


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """RFC 7541 §5.1: an integer with a prefix of so many bits, below the bits that are set in `first`."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    coded, value = [first | most], value - most
    while value >= 0x80:
        coded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*coded, value])


def literal(name: bytes | int, value: bytes, *, kind: int = 0x00, bits: int = 4) -> bytes:
    """RFC 7541 §6.2: a field with its value in full; `name` in full too, or the index of one.

    `kind` is 0x00 without indexing, 0x10 never indexed, both with 4 bits; 0x40 with incremental indexing, with 6.
    """
    start = (
        integer(name, bits, kind) if isinstance(name, int) else bytes([kind]) + integer(len(name), 7) + name
    )
    return start + integer(len(value), 7) + value


def block(fields: Fields) -> bytes:
    """A field block that needs no table and changes none."""
    return b"".join(literal(name, value) for name, value in fields)


PSEUDO: Final[Mapping[bytes, bytes]] = {
    b":method": b"GET",
    b":scheme": b"http",
    b":path": b"/",
    b":authority": b"localhost",
}


def head(*fields: tuple[bytes, bytes], **pseudo: bytes | None) -> list[tuple[bytes, bytes]]:
    """The fields of a request: the pseudo-header fields of a GET / with these changes (None takes one away), then `fields`."""
    changed = {b":" + name.encode(): value for name, value in pseudo.items()}
    found = {**PSEUDO, **changed}
    return [(name, value) for name, value in found.items() if value is not None] + list(fields)


def request(stream: int, *fields: tuple[bytes, bytes], end: bool = True, **pseudo: bytes | None) -> bytes:
    """A request's HEADERS."""
    return headers(stream, block(head(*fields, **pseudo)), end=end)


# ---- What comes back ------------------------------------------------------------------------------------------------

#: Fields that no HTTP/2 message has: RFC 9113 §8.2.2.
CONNECTION_SPECIFIC: Final = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
}


@dataclass
class Stream:
    """What came on one stream; `window` is how much more may come."""

    window: int
    heads: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    pieces: list[int] = field(default_factory=list)
    ended: bool = False
    code: int | None = None
    promised: list[tuple[int, list[tuple[bytes, bytes]]]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self.ended or self.code is not None

    @property
    def interim(self) -> list[int]:
        """The statuses of interim responses."""
        return [status for status in map(self._status, self.heads) if 100 <= status < 200]

    @property
    def status(self) -> int | None:
        """That of the response, if its head has come."""
        return next((status for status in map(self._status, self.heads) if status >= 200), None)

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Those of the response, without the status."""
        return next(head[1:] for head in self.heads if self._status(head) >= 200)

    @property
    def trailers(self) -> list[tuple[bytes, bytes]] | None:
        return self.heads[-1] if self.heads and not self._status(self.heads[-1]) else None

    def __getitem__(self, name: bytes) -> bytes | None:
        """The one value of a field, or None."""
        values = [value for key, value in self.fields if key == name]
        assert len(values) <= 1, f"{name!r}: {values}"
        return values[0] if values else None

    @staticmethod
    def _status(head: list[tuple[bytes, bytes]]) -> int:
        """0 for trailers, which have none."""
        return int(head[0][1]) if head and head[0][0] == b":status" else 0


class Reader:
    """What a server sends on one connection, frame by frame; `reply` is called with what a client has to send at once."""

    def __init__(
        self,
        *values: tuple[int, int],
        generous: bool = True,
        reply: Callable[[bytes], object] = lambda data: None,
    ) -> None:
        """For a client that has sent these settings; windows are given back if `generous`."""
        self.reply = reply
        self.generous = generous
        self.deaf = False  # acknowledges no SETTINGS
        self.settings: dict[int, int] = {}
        self.acknowledged = 0
        self.frames: list[Frame] = []
        self.streams: dict[int, Stream] = {}
        self.pongs: list[bytes] = []
        self.goaways: list[GoAwayFrame] = []
        self.window = WINDOW
        self.given: dict[int, int] = {}  # what WINDOW_UPDATE added, by stream; 0 is the connection
        self.http1 = (
            b""  # what came in the place of frames: a server of both takes what is no preface for HTTP/1.1
        )
        self.received = b""  # and is no whole frame yet
        self._initial = dict(values).get(Setting.INITIAL_WINDOW_SIZE, WINDOW)
        self._largest = dict(values).get(Setting.MAX_FRAME_SIZE, FRAME_SIZE)
        self._fragments: tuple[Stream, bytearray, HeadersFrame | PushPromiseFrame] | None = None
        self._decoder = hpack.Decoder()
        self._decoder.max_allowed_table_size = 2**32 - 1  # whatever SETTINGS a test sends

    def feed(self, data: bytes) -> None:
        """Take all that is whole in what has come."""
        self.received += data
        while self.next() is not None:
            pass

    def next(self) -> Frame | None:
        """The next frame, if all of it has come."""
        received = self.received
        if self.http1 or (not self.frames and received.startswith(b"HTTP/1.1 ")):
            self.http1, self.received = self.http1 + received, b""
            return None
        if len(received) < 9:
            return None
        found, size = Frame.parse_frame_header(memoryview(received[:9]))
        assert size <= self._largest, f"{found} has {size} bytes"
        if len(received) < 9 + size:
            return None
        found.parse_body(memoryview(received[9 : 9 + size]))
        self.received = received[9 + size :]
        self._take(found)
        self.frames.append(found)
        return found

    def stream(self, number: int) -> Stream:
        """What came on this stream so far."""
        if number not in self.streams:
            self.streams[number] = Stream(self._initial)
        return self.streams[number]

    def open_window(self, stream: int, increment: int) -> None:
        """WINDOW_UPDATE, for the connection if the stream is 0."""
        if stream:
            self.stream(stream).window += increment
        else:
            self.window += increment
        self.reply(window_update(stream, increment))

    @property
    def error(self) -> int:
        """The code of a GOAWAY that is about an error; 0 while there is none."""
        return next((one.error_code for one in self.goaways if one.error_code), 0)

    def _take(self, found: Frame) -> None:
        if self._fragments is not None:
            assert isinstance(found, ContinuationFrame), f"{found} inside a field block"
        if isinstance(found, HeadersFrame | PushPromiseFrame):
            self._fragments = (self._open(found), bytearray(found.data), found)
        elif isinstance(found, ContinuationFrame):
            assert self._fragments is not None, "CONTINUATION behind no HEADERS"
            self._fragments[1].extend(found.data)
        elif isinstance(found, DataFrame):
            self._take_data(self._open(found), found)
        elif isinstance(found, RstStreamFrame):
            self.stream(found.stream_id).code = found.error_code
        elif isinstance(found, SettingsFrame):
            self._take_settings(found)
        elif isinstance(found, PingFrame):
            if "ACK" in found.flags:
                self.pongs.append(found.opaque_data)
            else:
                self.reply(ping(found.opaque_data, flags=ACK))
        elif isinstance(found, WindowUpdateFrame):
            number = found.stream_id
            self.given[number] = self.given.get(number, 0) + found.window_increment
        elif isinstance(found, GoAwayFrame):
            before = [one.last_stream_id for one in self.goaways]
            assert not before or found.last_stream_id <= before[-1], (
                "GOAWAY with a higher stream than before: §6.8"
            )
            self.goaways.append(found)
        if self._fragments is not None and "END_HEADERS" in found.flags:
            self._take_block(*self._fragments)
            self._fragments = None

    def _open(self, found: Frame) -> Stream:
        stream = self.stream(found.stream_id)
        assert not stream.over, f"{found} on a stream that is over"
        return stream

    def _take_data(self, stream: Stream, found: DataFrame) -> None:
        size = found.flow_controlled_length
        assert stream.status is not None, "DATA ahead of a response"
        assert size <= stream.window, (
            f"{size} bytes of DATA, and {stream.window} fit into the stream's window"
        )
        assert size <= self.window, (
            f"{size} bytes of DATA, and {self.window} fit into the connection's window"
        )
        stream.window -= size
        self.window -= size
        stream.body += found.data
        stream.pieces.append(size)
        stream.ended = "END_STREAM" in found.flags
        if self.generous and size:
            self.open_window(0, size)
            if not stream.ended:
                self.open_window(found.stream_id, size)

    def _take_settings(self, found: SettingsFrame) -> None:
        if "ACK" in found.flags:
            self.acknowledged += 1
            return
        self.settings.update(found.settings)
        if not self.deaf:
            self.reply(settings(flags=ACK))

    def _take_block(
        self, stream: Stream, fragments: bytearray, found: HeadersFrame | PushPromiseFrame
    ) -> None:
        fields = [
            (bytes(name), bytes(value)) for name, value in self._decoder.decode(bytes(fragments), raw=True)
        ]
        names = [name for name, _ in fields]
        assert all(name == name.lower() for name in names), f"upper case in {names}"
        assert not CONNECTION_SPECIFIC & set(names), f"§8.2.2: {names}"
        if isinstance(found, PushPromiseFrame):
            stream.promised.append((found.promised_stream_id, fields))
            return
        pseudo = [name for name in names if name.startswith(b":")]
        if stream.status is None:
            assert pseudo == names[:1] == [b":status"], f"the head of a response: {fields}"
        else:
            assert not pseudo, f"trailers: {fields}"
            assert "END_STREAM" in found.flags, "trailers that do not end the stream: §8.1"
        stream.heads.append(fields)
        stream.ended = "END_STREAM" in found.flags


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
