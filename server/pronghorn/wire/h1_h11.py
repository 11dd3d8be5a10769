"""The HTTP/1.1 parser over h11: pure Python, for platforms without httptools and as a second opinion.

h11 repairs some input that this server refuses: it unfolds folded lines, takes a bare line feed for a line end, drops
a repeated Content-Length, and forgives white space behind the size of a chunk. So a head is read here first, line by
line, into the same `HeadBuilder` that the other parser uses, and h11 has its say on it afterwards; the body is taken
by the length of the head, or by the same `ChunkedBody` as everywhere.
"""

import re
from typing import Final

import h11

from .chunked import ChunkedBody
from .h1_request import HeadBuilder, read_lines
from .limits import RequestLimits
from .ports import Inbound, RequestError

_BETWEEN: Final = 0
_IN_HEAD: Final = 1
_IN_BODY: Final = 2
_IN_CHUNKS: Final = 3
_LOST: Final = 4
_TAKEN: Final = 5  # whoever was given the last head speaks another protocol with its client

_BARE_LF: Final = re.compile(rb"(?<!\r)\n").search


class H11Parser(HeadBuilder):
    """`ports.HttpParser` over h11.

    `max_incomplete` bounds, in bytes, what is kept of a head that does not come to its end.
    """

    __slots__ = ("_buffer", "_chunks", "_closing", "_inbound", "_left", "_lines", "_max_incomplete", "_state")

    _chunks: ChunkedBody

    def __init__(self, inbound: Inbound, limits: RequestLimits, max_incomplete: int | None = None) -> None:
        super().__init__(limits)
        self._inbound = inbound
        self._max_incomplete = max_incomplete or limits.field_bytes + limits.line
        self._state = _BETWEEN
        self._buffer = bytearray()  # of a head that is not complete
        self._lines = 0  # line feeds in it
        self._left = 0  # bytes of a body with a length that have not come yet
        self._closing = False  # the peer announced that its request is the last

    @property
    def idle(self) -> bool:
        return self._state == _BETWEEN

    def close(self) -> None:
        del self._inbound

    def feed(self, data: bytes) -> None:
        try:
            while data and self._state != _LOST:
                if self._state == _IN_CHUNKS:
                    data = self._chunks.feed(data)
                    if self._chunks.done:
                        del self._chunks
                        self._end()
                elif self._state == _IN_BODY:
                    piece = data[: self._left]
                    data = data[self._left :]
                    self._left -= len(piece)
                    self._inbound.on_body(piece)
                    if not self._left:
                        self._end()
                elif self._state == _TAKEN:
                    self._inbound.on_upgrade(data)
                    return
                else:
                    data = self._read_head(data)
        except h11.RemoteProtocolError as exc:
            self._fail(RequestError(400, str(exc)))
        except RequestError as exc:
            self._fail(exc)

    def feed_eof(self) -> None:
        if self._state not in (_BETWEEN, _LOST, _TAKEN):
            self._fail(RequestError(400, "connection ended inside a request"))

    def _read_head(self, data: bytes) -> bytes:
        """Take in bytes of a head; what is returned lies behind it."""
        if self._state == _BETWEEN:
            # RFC 9112 §2.2: an empty line ahead of a request line is ignored.
            data = data.lstrip(b"\r\n")
            if not data:
                return b""
            if self._closing:
                raise RequestError(400, "data after `Connection: close`")
            if data[0] <= 0x20 or data[0] >= 0x7F:
                # Another protocol, TLS most likely, whose client would otherwise wait for the deadline of the head.
                raise RequestError(400, "invalid request line")
            self._state = _IN_HEAD
        # The end may straddle two reads by three bytes at most.
        search_from = max(0, len(self._buffer) - 3)
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n", search_from)
        if end < 0:
            self._lines += data.count(b"\n")
            self._bound_unfinished(search_from)
            return b""
        raw = bytes(self._buffer[: end + 4])
        rest = bytes(self._buffer[end + 4 :])
        self._buffer.clear()
        self._lines = 0
        method, target, version = read_lines(raw, self)
        self.check_size()
        head = self.build(method, target, version)
        self._closing = not head.keep_alive
        opinion = h11.Connection(h11.SERVER, len(raw))
        opinion.receive_data(raw)
        opinion.next_event()
        self._inbound.on_head(head)
        if head.chunked:
            self._chunks = ChunkedBody(self._inbound, self.limits)
            self._state = _IN_CHUNKS
        elif head.content_length:
            self._left = head.content_length
            self._state = _IN_BODY
        else:
            self._end()
            if head.taken:
                self._state = _TAKEN
        return rest

    def _end(self) -> None:
        self._state = _BETWEEN
        self._inbound.on_end()

    def _bound_unfinished(self, search_from: int) -> None:
        buffer, limits = self._buffer, self.limits
        if _BARE_LF(buffer, search_from):
            raise RequestError(400, "bare line feed in a head")
        if not self._lines:
            if len(buffer) > limits.line + 32:  # with room for a method and a version
                raise RequestError(414, "request target too long")
        elif len(buffer) > self._max_incomplete or self._lines > limits.fields + 1:
            raise RequestError(431, "header section too large")

    def _fail(self, error: RequestError) -> None:
        self._state = _LOST
        self._buffer.clear()
        self._inbound.on_lost(error)
