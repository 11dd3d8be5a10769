"""An HTTP/1.1 response into bytes. The one place that decides how a response is framed (RFC 9112 §6).

The application says what it wants to send; how the peer finds the end of it is the server's business:

* a response to HEAD, and 204, 205 and 304, have no body on the wire, whatever the application sends (§6.3, item 1);
* a ``Content-Length`` of the application is kept if it is one number, and then exactly that many bytes go out: what is
  too much is dropped, and what is too little closes the connection;
* a body that is complete when its head is written gets the length that it has;
* any other body is chunked, or, for HTTP/1.0, ended by the end of the connection;
* ``Transfer-Encoding`` and ``Connection`` of the application are not sent: both describe this hop. Only the wish to
  close is honoured.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from .headers import STATUS_LINES, DefaultHeaders, FieldCache, content_length, field_line
from .ports import Headers, InvalidResponse, RequestError, RequestHead

# Fields that are never cached: those that the server writes itself, and those of its own that an application may set.
_NOTABLE: Final = frozenset(
    (
        *(b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade"),
        *(b"date", b"server", b"x-request-id"),
    )
)
_BODILESS: Final = frozenset((204, 205, 304))

# Fields of the application that change what the server writes: "close" in Connection, Date, Server, Upgrade, X-Request-ID.
_CLOSE: Final = 1
_DATE: Final = 2
_SERVER: Final = 4
_UPGRADE: Final = 8
_ID: Final = 16

# How the body in progress is delimited.
_NONE: Final = 0
_LENGTH_GIVEN: Final = 1
_CHUNKED: Final = 2
_UNTIL_CLOSE: Final = 3

#: Bodies of this many bytes and more are written on their own rather than copied behind their head.
LARGE: Final = 65_536

_PLAIN: Final = (b"content-type", b"text/plain; charset=utf-8")

Write = Callable[[bytes], object]


def _unknown_request() -> RequestHead:
    """What an answer is framed by when there is no request to answer."""
    head = RequestHead()
    head.method = "GET"
    head.http_version = "1.1"
    head.id_line = b""
    return head


#: Answered where there is no request that could be read.
UNKNOWN: Final = _unknown_request()


def refusal_fields(status: int) -> list[tuple[bytes, bytes]]:
    """The fields of an answer in place of the application, whose body is the phrase of the status."""
    # RFC 9110 §15.5.6: a 405 has to name the methods that there are. Where CONNECT leads, there is none.
    return [_PLAIN, (b"allow", b"")] if status == 405 else [_PLAIN]


class H1Response:
    """Encodes the responses of one connection, one after the other, through `write`.

    `keep_alive` is the answer to whether the connection may be used again after the response; it is set by the owner
    before the head, may turn false while the head is written, and is final once the response is complete.
    """

    __slots__ = (
        "_cache",
        "_defaults",
        "_framing",
        "_length",
        "_lengths",
        "_own",
        "_write",
        "excess",
        "keep_alive",
        "missing",
    )

    def __init__(self, write: Write, defaults: DefaultHeaders, cache: FieldCache) -> None:
        self._write = write
        self._defaults = defaults
        self._cache = cache
        self._lengths = cache.lengths
        self._framing = _NONE
        self._length: int | None = None
        self._own = 0  # which of the fields below the application has set
        self.keep_alive = True
        #: Body bytes that the application sent beyond the length it had declared, and bytes that it still owes.
        self.excess = 0
        self.missing = 0

    def switch(self, request: RequestHead, own: Headers, headers: Headers) -> None:
        """101 (Switching Protocols): the server's own fields, and the application's. Raises `InvalidResponse` first."""
        lines = self._fields(request, 101, headers)
        # Not through the cache: what answers a handshake is never said again.
        lines += [field_line(name, value) for name, value in own]
        lines.append(b"connection: Upgrade\r\n\r\n")
        self._write(b"".join(lines))

    def respond(self, request: RequestHead, status: int, headers: Headers, body: bytes) -> int:
        """A whole response. Returns the number of body bytes written; raises `InvalidResponse` before any are."""
        lines = self._fields(request, status, headers)
        size = len(body)
        length = self._length
        if request.method == "HEAD":
            # RFC 9110 §9.3.2: the fields of the GET response, its length included, but no content.
            self._framing = _NONE
            if status not in _BODILESS:
                lines.append(self._lengths[size if length is None else length])
            size = 0
        elif status in _BODILESS:
            self._frame_bodiless(lines, status, length)
            size = 0
        elif length is None or length == size:
            lines.append(self._lengths[size])
        else:
            lines.append(self._lengths[length])
            if size > length:
                self.excess = size - length
                body = body[:length]
                size = length
            else:
                self.missing = length - size
                self.keep_alive = False  # the peer waits for bytes that will not come
        if self._own & (_CLOSE | _UPGRADE) or not self.keep_alive or request.http_version == "1.0":
            self._persistence(lines)
        lines.append(b"\r\n")
        if size >= LARGE:
            self._write(b"".join(lines))
            self._write(body)
        else:
            if size:
                lines.append(body)
            self._write(b"".join(lines))
        return size

    def begin(self, request: RequestHead, status: int, headers: Headers, body: bytes) -> int:
        """A head and the first piece of a body that is not complete. Returns and raises as `respond` does."""
        lines = self._fields(request, status, headers)
        length = self._length
        if request.method == "HEAD":
            self._framing = _NONE
            if length is not None and status not in _BODILESS:
                lines.append(self._lengths[length])
        elif status in _BODILESS:
            self._frame_bodiless(lines, status, length)
        elif length is not None:
            self._framing = _LENGTH_GIVEN
            self.missing = length
            lines.append(self._lengths[length])
        elif request.http_version == "1.1":
            self._framing = _CHUNKED
            lines.append(b"transfer-encoding: chunked\r\n")
        else:
            self._framing = _UNTIL_CLOSE
            self.keep_alive = False
        if self._own & (_CLOSE | _UPGRADE) or not self.keep_alive or request.http_version == "1.0":
            self._persistence(lines)
        lines.append(b"\r\n")
        self._write(b"".join(lines))
        return self.chunk(body) if body else 0

    def chunk(self, data: bytes) -> int:
        """A further piece of the body. Returns the number of body bytes written."""
        size = len(data)
        framing = self._framing
        if framing == _CHUNKED:
            if size >= LARGE:
                self._write(b"%x\r\n" % size)
                self._write(data)
                self._write(b"\r\n")
            elif size:  # an empty chunk would end the body (RFC 9112 §7.1)
                self._write(b"%x\r\n%b\r\n" % (size, data))
        elif framing == _LENGTH_GIVEN:
            if size > self.missing:
                self.excess += size - self.missing
                data = data[: self.missing]
                size = self.missing
            self.missing -= size
            if size:
                self._write(data)
        elif framing == _UNTIL_CLOSE:
            if size:
                self._write(data)
        else:
            return 0
        return size

    def begin_file(self, size: int) -> int:
        """A further piece of the body that somebody else writes. Returns how many bytes of it may be written.

        All of them have to be; `end_file` says how many were not.
        """
        framing = self._framing
        if framing == _CHUNKED:
            if size:
                self._write(b"%x\r\n" % size)
        elif framing == _LENGTH_GIVEN:
            if size > self.missing:
                self.excess += size - self.missing
                size = self.missing
            self.missing -= size
        elif framing == _NONE:
            return 0
        return size

    def end_file(self, unsent: int) -> None:
        """That piece is out but for `unsent` bytes. Raises `InvalidResponse` if the framing cannot bear that."""
        if self._framing == _CHUNKED:
            if unsent:
                raise InvalidResponse(f"the file got shorter while it was sent, {unsent} bytes are missing")
            self._write(b"\r\n")
        elif self._framing == _LENGTH_GIVEN:
            self.missing += unsent

    def end(self, trailers: Headers = ()) -> None:
        """The end of a body that was begun. Only a chunked one has room for trailers (RFC 9112 §7.1.2)."""
        if self._framing == _CHUNKED:
            if trailers:
                lines = [field_line(name, value) for name, value in trailers]
                self._write(b"0\r\n%b\r\n" % b"".join(lines))
            else:
                self._write(b"0\r\n\r\n")
        elif self._framing == _LENGTH_GIVEN and self.missing:
            self.keep_alive = False
        self._framing = _NONE

    def refuse(self, error: RequestError) -> None:
        """Answer in place of the application; nothing may follow."""
        self.keep_alive = False
        headers = refusal_fields(error.status)
        phrase = HTTPStatus(error.status).phrase.encode("ascii")
        self.respond(error.head or UNKNOWN, error.status, headers, phrase)

    def inform(self, status: int, headers: Headers) -> None:
        """An informational response (RFC 9110 §15.2): a head and nothing else."""
        self._write(
            b"".join((STATUS_LINES[status], *(field_line(name, value) for name, value in headers), b"\r\n"))
        )

    def _fields(self, request: RequestHead, status: int, headers: Headers) -> list[bytes]:
        """The status line, the application's fields but for those that the server writes itself, and the server's own."""
        self._length = None
        self._own = 0
        self.excess = self.missing = 0
        lines = [STATUS_LINES[status]]
        known = self._cache.get
        for field in headers:
            try:
                line = known(field)
            except TypeError:  # a pair may be a list as well, which cannot be looked up
                line = None
            if line is None:
                name, value = field
                if name == b"content-length":
                    self._take_length(value)
                    continue
                line = self._new_field(name, value)
            lines.append(line)
        own = self._own
        if own & (_DATE | _SERVER):
            lines.append(self._defaults.without(date=own & _DATE != 0, server=own & _SERVER != 0))
        else:
            lines.append(self._defaults.block)
        if request.id_line and not own & _ID:
            lines.append(request.id_line)
        return lines

    def _new_field(self, name: Any, value: Any) -> bytes:
        """The line of a field that is not in the cache; empty for one that the server writes itself."""
        line = field_line(name, value)
        lowered = name.lower()
        if lowered not in _NOTABLE:
            return self._cache.add(name, value)
        if lowered == b"date":
            self._own |= _DATE
            return line
        if lowered == b"server":
            self._own |= _SERVER
            return line
        if lowered == b"upgrade":
            self._own |= _UPGRADE
            return line
        if lowered == b"x-request-id":
            self._own |= _ID
            return line
        if lowered == b"content-length":
            self._take_length(value)
        elif lowered == b"connection" and b"close" in value.lower():
            self._own |= _CLOSE
        return b""

    def _take_length(self, digits: Any) -> None:
        length = content_length(digits)
        if self._length is not None and self._length != length:
            raise InvalidResponse(f"two values of Content-Length: {self._length} and {length}")
        self._length = length

    def _frame_bodiless(self, lines: list[bytes], status: int, length: int | None) -> None:
        self._framing = _NONE
        if status == 205:
            # RFC 9110 §15.3.6: no content, and the zero length is how that is said.
            lines.append(b"content-length: 0\r\n")
        elif status == 304 and length is not None:
            # §15.4.5 allows the length that a 200 would have had; §8.6 forbids the field with 204.
            lines.append(self._lengths[length])

    def _persistence(self, lines: list[bytes]) -> None:
        """Say what HTTP/1.1 does not imply: that this is the last response, or to HTTP/1.0 that it is not."""
        if self._own & _CLOSE:
            self.keep_alive = False
        persistence = b"keep-alive" if self.keep_alive else b"close"
        if self._own & _UPGRADE:
            # RFC 9110 §7.8: the field is of this connection, and Connection has to say so.
            persistence = b"upgrade, " + persistence
        lines.append(b"connection: %b\r\n" % persistence)
