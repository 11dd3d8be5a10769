"""The HTTP/1.1 parser over h11: pure Python, for platforms without httptools and as a second opinion.

h11 repairs some input that this server refuses: it unfolds folded lines, takes a bare line feed for a line end, and
drops a repeated Content-Length. So the head is read here first, line by line, into the same `HeadBuilder` that the
other parser uses, and h11 is given it afterwards to frame the body by. One `h11.Connection` serves one request; the
bytes behind it go to the next.
"""

from typing import Final

import h11

from .h1_request import HeadBuilder, read_lines
from .limits import RequestLimits
from .ports import Inbound, RequestError

_BETWEEN: Final = 0
_IN_HEAD: Final = 1
_IN_BODY: Final = 2
_LOST: Final = 3


class H11Parser(HeadBuilder):
    """`ports.HttpParser` over h11.

    `max_incomplete` bounds, in bytes, what h11 may hold of a chunk header or trailer section that does not end.
    """

    __slots__ = ("_body", "_buffer", "_closing", "_connection_h11", "_inbound", "_max_incomplete", "_state")

    def __init__(self, inbound: Inbound, limits: RequestLimits, max_incomplete: int | None = None) -> None:
        super().__init__(limits)
        self._inbound = inbound
        self._max_incomplete = max_incomplete or limits.field_bytes + limits.line
        self._state = _BETWEEN
        self._buffer = bytearray()  # of a head that is not complete
        self._body = 0
        self._closing = False  # the peer announced that its request is the last
        self._connection_h11: h11.Connection

    @property
    def idle(self) -> bool:
        return self._state == _BETWEEN

    def feed(self, data: bytes) -> None:
        if self._state == _LOST:
            return
        try:
            while data:
                if self._state == _IN_BODY:
                    self._connection_h11.receive_data(data)
                    data = self._read_body()
                elif self._closing:
                    raise RequestError(400, "data after `Connection: close`")
                else:
                    data = self._read_head(data)
        except h11.RemoteProtocolError as exc:
            self._fail(RequestError(400 if exc.error_status_hint == 501 else exc.error_status_hint, str(exc)))
        except RequestError as exc:
            self._fail(exc)

    def feed_eof(self) -> None:
        if self._state not in (_BETWEEN, _LOST):
            self._fail(RequestError(400, "connection ended inside a request"))

    def _read_head(self, data: bytes) -> bytes:
        """Take in bytes of a head; what is returned lies behind it."""
        if self._state == _BETWEEN:
            # RFC 9112 §2.2: an empty line ahead of a request line is ignored.
            data = data.lstrip(b"\r\n")
            if not data:
                return b""
            if data[0] <= 0x20 or data[0] >= 0x7F:
                # Another protocol, TLS most likely, whose client would otherwise wait for the deadline of the head.
                raise RequestError(400, "invalid request line")
            self._state = _IN_HEAD
        # The end may straddle two reads by three bytes at most.
        search_from = max(0, len(self._buffer) - 3)
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n", search_from)
        if end < 0:
            self._bound_unfinished()
            return b""
        raw = bytes(self._buffer[: end + 4])
        rest = bytes(self._buffer[end + 4 :])
        self._buffer.clear()
        method, target, version = read_lines(raw, self)
        self.check_size()
        head = self.build(method, target, version)
        self._closing = not head.keep_alive
        self._body = 0
        self._state = _IN_BODY
        self._connection_h11 = h11.Connection(h11.SERVER, self._max_incomplete + len(raw))
        self._connection_h11.receive_data(raw)
        self._connection_h11.next_event()
        self._inbound.on_head(head)
        if rest:
            self._connection_h11.receive_data(rest)
        return self._read_body()

    def _read_body(self) -> bytes:
        """Hand on what h11 has of the body; what is returned lies behind it."""
        connection = self._connection_h11
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                self._body += len(event.data)
                if self.limits.body is not None and self._body > self.limits.body:
                    raise RequestError(413, "request body too large")
                self._inbound.on_body(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                for name, value in event.headers:
                    self.on_header(name, value)
                self.check_trailers()
                self._state = _BETWEEN
                self._inbound.on_end()
                return connection.trailing_data[0]
            else:
                return b""

    def _bound_unfinished(self) -> None:
        buffer, limits = self._buffer, self.limits
        if b"\n" not in buffer:
            if len(buffer) > limits.line + 32:  # with room for a method and a version
                raise RequestError(414, "request target too long")
        elif len(buffer) > limits.field_bytes + limits.line or buffer.count(b"\n") > limits.fields + 1:
            raise RequestError(431, "header section too large")

    def _fail(self, error: RequestError) -> None:
        self._state = _LOST
        self._buffer.clear()
        self._inbound.on_lost(error)
