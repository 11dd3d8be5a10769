"""What a client of HTTP/2 sends on one connection, as bytes: the opening, and requests, of which only the number of the stream differs.

The first request puts its fields into the table of HPACK (RFC 7541), the others refer to them there, as those of h2load do.
"""

from __future__ import annotations

# RFC 9113: the types of frames, and the flags of the last frame of a stream and of a block of fields.
_DATA, _HEADERS, _SETTINGS, _WINDOW_UPDATE = 0, 1, 4, 8
_END_STREAM, _END_HEADERS = 1, 4


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big")
    return head + payload


def _literal(index: int, value: bytes) -> bytes:
    """A field with a name of the static table, to be put into the other (RFC 7541 section 6.2.1)."""
    return bytes((0x40 | index, len(value))) + value


# Windows that are never used up by so few bytes a response: nothing is to be counted but requests.
OPENING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + _frame(_SETTINGS, 0, 0, b"")
    + _frame(_WINDOW_UPDATE, 0, 0, (2**31 - 1 - 65_535).to_bytes(4, "big"))
)

# :scheme http and :path / stand in the static table; :authority, user-agent and accept have names there.
_FIRST = b"\x86\x84" + _literal(1, b"127.0.0.1:8000") + _literal(58, b"bench") + _literal(19, b"*/*")
# The newest entry has the lowest number, 62.
_LATER = b"\x86\x84\xc0\xbf\xbe"
_METHOD_GET, _METHOD_POST = b"\x82", b"\x83"
_BODY = b"x" * 10_240


def _head(number: int, method: bytes, flags: int) -> bytes:
    return _frame(
        _HEADERS, flags | _END_HEADERS, 2 * number - 1, method + (_FIRST if number == 1 else _LATER)
    )


def get(number: int) -> bytes:
    """The so-manieth request of a connection, from 1 on: GET /."""
    return _head(number, _METHOD_GET, _END_STREAM)


def post(number: int) -> bytes:
    """POST / with a body of 10 KB, in one frame."""
    return _head(number, _METHOD_POST, 0) + _frame(_DATA, _END_STREAM, 2 * number - 1, _BODY)
