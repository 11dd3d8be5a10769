"""The frames of HTTP/2 as bytes, and the numbers that the RFC gives to what is in them (RFC 9113 §4, §6, §7).

Only what a server sends is made here. Each function returns a whole frame, or the nine bytes ahead of one whose payload is
better not copied.
"""

from struct import Struct
from typing import Final

from h2.errors import ErrorCodes

# RFC 9113 §3.4.
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types (§6; RFC 9218 §7.1 for the last).
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10

# Flags.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

# Error codes (§7).
NO_ERROR: Final = int(ErrorCodes.NO_ERROR)
PROTOCOL_ERROR: Final = int(ErrorCodes.PROTOCOL_ERROR)
INTERNAL_ERROR: Final = int(ErrorCodes.INTERNAL_ERROR)
FLOW_CONTROL_ERROR: Final = int(ErrorCodes.FLOW_CONTROL_ERROR)
SETTINGS_TIMEOUT: Final = int(ErrorCodes.SETTINGS_TIMEOUT)
STREAM_CLOSED: Final = int(ErrorCodes.STREAM_CLOSED)
FRAME_SIZE_ERROR: Final = int(ErrorCodes.FRAME_SIZE_ERROR)
REFUSED_STREAM: Final = int(ErrorCodes.REFUSED_STREAM)
CANCEL: Final = int(ErrorCodes.CANCEL)
COMPRESSION_ERROR: Final = int(ErrorCodes.COMPRESSION_ERROR)
ENHANCE_YOUR_CALM: Final = int(ErrorCodes.ENHANCE_YOUR_CALM)

#: The largest window, and the largest identifier of a stream (§5.1.1, §6.9.1).
LARGEST: Final = 2**31 - 1
#: The size of a frame's payload that every peer takes (§4.2), and the most that one may allow.
FRAME_SIZE: Final = 16_384
LARGEST_FRAME: Final = 2**24 - 1
#: What every window begins with (§6.9.2).
WINDOW: Final = 65_535

_HEAD: Final = Struct(">HBBBI")
_FOUR: Final = Struct(">HBBBII")
_GOAWAY: Final = Struct(">HBBBIII")
_SETTING: Final = Struct(">HI")


def frame_head(size: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine bytes ahead of a payload of `size` bytes."""
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def rst_stream(stream: int, code: int) -> bytes:
    """RST_STREAM (§6.4)."""
    return _FOUR.pack(0, 4, RST_STREAM, 0, stream, code)


def window_update(stream: int, increment: int) -> bytes:
    """WINDOW_UPDATE (§6.9), of the connection where `stream` is 0."""
    return _FOUR.pack(0, 4, WINDOW_UPDATE, 0, stream, increment)


def goaway(last: int, code: int, reason: bytes = b"") -> bytes:
    """GOAWAY (§6.8): `last` is the highest stream that is or was served."""
    size = 8 + len(reason)
    return _GOAWAY.pack(size >> 8, size & 0xFF, GOAWAY, 0, 0, last, code) + reason


def settings(values: dict[int, int]) -> bytes:
    """SETTINGS (§6.5), by their codes."""
    payload = b"".join([_SETTING.pack(code, value) for code, value in values.items()])
    return frame_head(len(payload), SETTINGS, 0, 0) + payload


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    """PING (§6.7) with its eight bytes."""
    return frame_head(8, PING, ACK if ack else 0, 0) + payload


def header_frames(kind: int, stream: int, flags: int, block: bytes, size: int, ahead: bytes = b"") -> bytes:
    """HEADERS, or PUSH_PROMISE, and as many CONTINUATION as a `block` needs where no payload is above `size` (§6.10).

    `ahead` is what stands in the first payload ahead of the block.
    """
    payload = ahead + block
    if len(payload) <= size:
        return frame_head(len(payload), kind, flags | END_HEADERS, stream) + payload
    pieces = [frame_head(size, kind, flags, stream), payload[:size]]
    for start in range(size, len(payload), size):
        piece = payload[start : start + size]
        last = END_HEADERS if start + size >= len(payload) else 0
        pieces += (frame_head(len(piece), CONTINUATION, last, stream), piece)
    return b"".join(pieces)


ACKNOWLEDGED: Final = frame_head(0, SETTINGS, ACK, 0)
