"""Response header fields into bytes: checked once, kept in a bounded cache, and the block that every response ends with.

An application sends the same few fields over and over. Checking a field costs several times what looking it up does,
so lines that passed the check are kept. Only short lines are, and the cache is emptied when it is full: a service
that sends a new request id with every response must not fill the memory with them.
"""

import re
import time
from http import HTTPStatus
from typing import Any, Final

from .ports import Headers, InvalidResponse

# RFC 9110 §5.1 and §5.5. A CR, LF or NUL in a value would end the field, or be read as its end by somebody.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_VALUE: Final = re.compile(rb"[^\x00\r\n]*").fullmatch

# RFC 9110 §6.5.1: what a recipient needs before the body cannot come behind it. These are the fields of framing, routing,
# authentication, request modifiers, response control and content format; a recipient that merged one of them into the
# head would have read another message.
_NOT_IN_TRAILERS: Final = frozenset(
    (
        b"age authorization cache-control connection content-encoding content-length content-range content-type cookie"
        b" date expect expires host if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive"
        b" location max-forwards pragma proxy-authenticate proxy-authorization proxy-connection range retry-after"
        b" set-cookie te trailer transfer-encoding upgrade vary warning www-authenticate"
    ).split()
)

# RFC 9110 §5.6.7 names days and months in English, whatever the locale.
_DAYS: Final = b"Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS: Final = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()

# The digits of a signed 64-bit length.
_LENGTH_DIGITS: Final = 19

_CACHED_FIELDS: Final = 512
_CACHED_BYTES: Final = 256

#: Status lines of RFC 9112 §4 for every final status code, registered or not.
STATUS_LINES: Final = {status: b"HTTP/1.1 %d \r\n" % status for status in range(100, 600)} | {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii"))
    for status in HTTPStatus
}


def field_line(name: Any, value: Any) -> bytes:
    """``name: value`` and its line end. Raises `InvalidResponse` where that would not be one field."""
    if type(name) is not bytes or type(value) is not bytes:
        raise InvalidResponse(f"header names and values must be bytes, got {name!r}: {value!r}")
    if not _NAME(name):
        raise InvalidResponse(f"invalid header name {name!r}")
    if not _VALUE(value):
        raise InvalidResponse(f"invalid value {value!r} of header {name!r}")
    return b"%b: %b\r\n" % (name, value)


def content_length(digits: Any) -> int:
    """The value of the application's Content-Length. Raises `InvalidResponse` for what is no number (RFC 9110 §8.6)."""
    if type(digits) is not bytes or not digits.isdigit() or len(digits) > _LENGTH_DIGITS:
        raise InvalidResponse(f"invalid Content-Length {digits!r}")
    return int(digits)


def mismatch(excess: int, missing: int) -> str:
    """In words, how the body that was sent differs from the length that it was said to have."""
    if excess:
        return f"longer than its Content-Length: {excess} bytes dropped"
    return f"shorter than its Content-Length: {missing} bytes missing"


def check_trailer(name: Any, value: Any) -> None:
    """Raises `InvalidResponse` for what is no field, or no field that may come behind a body."""
    field_line(name, value)
    if name.lower() in _NOT_IN_TRAILERS:
        raise InvalidResponse(f"header {name!r} is not allowed in trailers")


def http_date(now: float | None) -> bytes:
    """An IMF-fixdate of RFC 9110 §5.6.7: ``Sun, 06 Nov 1994 08:49:37 GMT``.

    What `email.utils.formatdate` gives; its module would be imported for this alone.
    """
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(now)
    return b"%b, %02d %b %04d %02d:%02d:%02d GMT" % (
        _DAYS[weekday],
        day,
        _MONTHS[month - 1],
        year,
        hour,
        minute,
        second,
    )


class FieldCache(dict[tuple[bytes, bytes], bytes]):
    """Lines of fields that were checked before, by ``(name, value)``; `lengths` has those of Content-Length."""

    __slots__ = ("lengths",)

    def __init__(self) -> None:
        super().__init__()
        self.lengths = LengthLines()

    def add(self, name: Any, value: Any) -> bytes:
        """Check a field that is not there yet; returns its line and keeps it. Raises `InvalidResponse`."""
        line = field_line(name, value)
        if len(line) <= _CACHED_BYTES:
            if len(self) >= _CACHED_FIELDS:
                self.clear()
            self[name, value] = line
        return line


class LengthLines(dict[int, bytes]):
    """Lines of Content-Length by what they say, made when they are first asked for; a service has its favourite lengths."""

    __slots__ = ()

    def __missing__(self, length: int) -> bytes:
        line = b"content-length: %d\r\n" % length
        if len(self) >= _CACHED_FIELDS:
            self.clear()
        self[length] = line
        return line


class DefaultHeaders:
    """The fields the server adds of its own: ``date``, ``server``, and those of ``--header``.

    `block` is all of them as bytes, ready to be appended to a head. `renew` is called about once a second, so that no
    response pays for formatting a date (RFC 9110 §6.6.1 asks for one with a resolution of a second).
    """

    __slots__ = ("_date", "_extra", "_server", "block")

    def __init__(self, *, server: bytes | None, date: bool, extra: Headers = ()) -> None:
        self._server = b"" if server is None else field_line(b"server", server)
        self._extra = b"".join(field_line(name, value) for name, value in extra)
        self._date = b"" if date else None
        self.block = b""
        self.renew(None)

    def renew(self, now: float | None) -> None:
        """Write the block anew for `now`, in seconds since the epoch; None is the present."""
        if self._date is not None:
            self._date = b"date: %b\r\n" % http_date(now)
        self.block = self.without(date=False, server=False)

    def without(self, *, date: bool, server: bool) -> bytes:
        """The block for a response whose application has set one of these two fields itself."""
        return (b"" if date else self._date or b"") + (b"" if server else self._server) + self._extra
