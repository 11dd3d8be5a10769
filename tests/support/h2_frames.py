"""HTTP/2 by hand: frames as bytes.

Whatever a frame should not be can be made with `frame`; field blocks are made without state (`block`), so that the bytes of
a test stand for themselves wherever they are sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Final

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
