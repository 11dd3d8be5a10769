"""RFC 9113 §3 to §5: how a connection begins, frames as such, and the states of streams."""

from __future__ import annotations

from tests.conformance.h2.case import (
    Case,
    ConnectionError_,
    Ignored,
    Served,
    Wait,
    connection_error,
    either,
    stream_error,
)
from tests.support.h2_frames import (
    PREFACE,
    Code,
    Kind,
    block,
    continuation,
    data,
    frame,
    head,
    headers,
    ping,
    priority,
    request,
    reset,
    settings,
    window_update,
)

PROTOCOL = connection_error(Code.PROTOCOL_ERROR)
CLOSED = either(connection_error(Code.STREAM_CLOSED), stream_error(1, Code.STREAM_CLOSED))
BLOCK = block(head())
GET = request(1)
STAY = request(1, path=b"/stay")
OPEN = request(1, method=b"POST", path=b"/stay", end=False)
LARGE = bytes(16_385)

_3 = [
    Case("3.4", "preface", [GET], Served(body=b"hello")),
    Case("3.4", "preface and frames in one write", [], Served(), opening=PREFACE + settings() + GET),
    Case("3.4", "preface in pieces", [PREFACE[7:], settings(), GET], Served(), opening=PREFACE[:7]),
    Case("3.4", "a preface that is none", [], ConnectionError_((Code.PROTOCOL_ERROR,), silent=True),
         opening=b"INVALID CONNECTION PREFACE\r\n\r\n", barrier=False),
    Case("3.4", "a preface with one wrong byte", [], ConnectionError_((Code.PROTOCOL_ERROR,), silent=True),
         opening=PREFACE[:-5] + b"X\r\n\r\n" + settings(), barrier=False),
    Case("3.4", "no SETTINGS behind the preface", [], PROTOCOL, opening=PREFACE + GET),
    Case("3.4", "PING ahead of SETTINGS", [], PROTOCOL, opening=PREFACE + ping() + settings()),
    Case("3.4", "an acknowledgement in the place of SETTINGS", [], PROTOCOL, opening=PREFACE + settings(flags=1)),
    Case("3.4", "an unknown frame ahead of SETTINGS", [], PROTOCOL, opening=PREFACE + frame(0x42) + settings()),
]  # fmt: skip

_4 = [
    Case("4.1", "unknown type", [frame(0x16, bytes(8)), GET], Served()),
    Case("4.1", "unknown type on a stream", [OPEN, frame(0x16, bytes(8), stream=1)], Ignored()),
    Case("4.1", "unknown flags", [frame(Kind.PING, b"flagged!", flags=0xFE), GET], Served()),
    Case("4.1", "unknown flags of HEADERS", [frame(Kind.HEADERS, BLOCK, flags=0x5 | 0xD2, stream=1)], Served()),
    Case("4.1", "the reserved bit", [frame(Kind.PING, b"reserved", stream=1 << 31), GET], Served()),
    Case("4.1", "the reserved bit of a request", [headers(1 | 1 << 31, BLOCK)], Served()),
    Case("4.2", "DATA of 16384 bytes",
         [request(1, method=b"POST", path=b"/count", end=False), data(1, bytes(16_384))], Served(body=b"16384")),
    Case("4.2", "DATA over the largest size", [OPEN, data(1, LARGE)],
         either(connection_error(Code.FRAME_SIZE_ERROR), stream_error(1, Code.FRAME_SIZE_ERROR))),
    Case("4.2", "HEADERS over the largest size", [headers(1, BLOCK + LARGE)], connection_error(Code.FRAME_SIZE_ERROR)),
    Case("4.2", "SETTINGS over the largest size", [frame(Kind.SETTINGS, bytes(16_386))],
         connection_error(Code.FRAME_SIZE_ERROR)),
    Case("4.2", "an unknown type over the largest size", [frame(0x42, LARGE)],
         connection_error(Code.FRAME_SIZE_ERROR)),
    Case("4.2", "a size that is announced alone", [frame(Kind.DATA, length=2**24 - 1, stream=1)],
         connection_error(Code.FRAME_SIZE_ERROR)),
    Case("4.3", "a block that is none", [headers(1, b"\x40")], connection_error(Code.COMPRESSION_ERROR)),
    Case("4.3", "a block that ends in a field", [headers(1, BLOCK[:-3])], connection_error(Code.COMPRESSION_ERROR)),
    Case("4.3", "trailers that are none", [OPEN, headers(1, b"\x40")], connection_error(Code.COMPRESSION_ERROR)),
    Case("4.3", "a block for a stream that was reset still counts",
         [OPEN, reset(1), headers(3, b"\xff\xff\xff\xff\xff\xff")], connection_error(Code.COMPRESSION_ERROR)),
    Case("4.3", "PRIORITY inside a block",
         [headers(1, BLOCK, complete=False), frame(Kind.PRIORITY, priority(), stream=1), continuation(1)], PROTOCOL),
    Case("4.3", "HEADERS of another stream inside a block",
         [headers(1, BLOCK, complete=False), request(3), continuation(1)], PROTOCOL),
    Case("4.3", "PING inside a block", [headers(1, BLOCK, complete=False), ping()], PROTOCOL),
]  # fmt: skip

# A frame on a stream that is over for the client: §5.1, where "closed" leaves the choice of what kind of error it is.
_TOO_LATE = {
    "DATA": data(1, b"late"),
    "HEADERS": request(1),
    "CONTINUATION": continuation(1, BLOCK),
}

_5 = [
    Case("5.1", "idle: DATA", [data(1, b"test")], PROTOCOL),
    Case("5.1", "idle: RST_STREAM", [reset(1)], PROTOCOL),
    Case("5.1", "idle: WINDOW_UPDATE", [window_update(1, 100)], PROTOCOL),
    Case("5.1", "idle: CONTINUATION", [continuation(1, BLOCK)], PROTOCOL),
    Case("5.1", "idle, behind another stream: DATA", [STAY, data(3, b"test")], PROTOCOL),
    Case("5.1", "half closed (remote): DATA", [STAY, data(1, b"test")], CLOSED),
    Case("5.1", "half closed (remote): HEADERS", [STAY, request(1)], CLOSED),
    Case("5.1", "half closed (remote): CONTINUATION", [STAY, continuation(1, BLOCK)],
         connection_error(Code.STREAM_CLOSED, Code.PROTOCOL_ERROR)),
    *(
        Case("5.1", f"closed, behind RST_STREAM: {name}", [OPEN, reset(1), late],
             connection_error(Code.STREAM_CLOSED, Code.PROTOCOL_ERROR) if name == "CONTINUATION" else CLOSED)
        for name, late in _TOO_LATE.items()
    ),
    *(
        Case("5.1", f"closed, behind its end: {name}", [GET, Wait(1), late],
             connection_error(Code.STREAM_CLOSED, Code.PROTOCOL_ERROR) if name == "CONTINUATION" else CLOSED)
        for name, late in _TOO_LATE.items()
    ),
    Case("5.1.1", "an even number", [request(2)], PROTOCOL),
    Case("5.1.1", "a lower number than before", [request(5, path=b"/stay"), request(3)],
         connection_error(Code.PROTOCOL_ERROR, Code.STREAM_CLOSED)),
    Case("5.1.1", "a number that was left out: DATA", [request(5, path=b"/stay"), data(3, b"test")],
         either(connection_error(Code.PROTOCOL_ERROR, Code.STREAM_CLOSED), stream_error(3, Code.STREAM_CLOSED))),
    Case("5.1.1", "the highest number", [request(2**31 - 1)], Served(2**31 - 1)),
    Case("5.3.2", "HEADERS that depend on themselves", [headers(1, BLOCK, prior=priority(1))],
         either(Served(), stream_error(1, Code.PROTOCOL_ERROR), PROTOCOL)),
    Case("5.3.2", "PRIORITY that depends on itself", [OPEN, frame(Kind.PRIORITY, priority(1), stream=1)],
         either(Ignored(), stream_error(1, Code.PROTOCOL_ERROR), PROTOCOL)),
    Case("5.4.1", "GOAWAY, then the connection is closed", [frame(Kind.PING, b"8 bytes!", stream=3)], PROTOCOL),
    Case("5.4.1", "frames behind an error are not read", [frame(Kind.PING, b"8 bytes!", stream=3), GET], PROTOCOL),
    Case("5.4.2", "a stream error leaves the others alone",
         [STAY, request(3, method=b"POST", path=b"/echo", end=False), window_update(1, 0), data(3, b"test")],
         Served(3, body=b"test")),
    Case("5.4.2", "RST_STREAM is not answered", [OPEN, reset(1)], Ignored()),
    Case("5.5", "an unknown frame", [frame(0xFF, b"unknown extension"), GET], Served()),
    Case("5.5", "an unknown frame on an idle stream", [frame(0xFF, b"unknown extension", stream=9), GET], Served()),
    Case("5.5", "an unknown frame inside a block",
         [headers(1, BLOCK, complete=False), frame(0xFF, stream=1), continuation(1)], PROTOCOL),
]  # fmt: skip

CASES = [*_3, *_4, *_5]
