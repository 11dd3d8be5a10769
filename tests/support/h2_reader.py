"""What an HTTP/2 server sends, read with hyperframe and hpack and held against RFC 9113 as it comes.

A server that sends more than the windows allow, a frame that is too large, or a head that no server may send fails the test that
reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

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

from tests.support.h2_frames import ACK, FRAME_SIZE, WINDOW, Setting, ping, settings, window_update

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
        # What came in the place of frames: a server of both takes what is no preface for HTTP/1.1.
        self.http1 = b""
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
