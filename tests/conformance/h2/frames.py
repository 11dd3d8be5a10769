"""RFC 9113 §6 and §7: each type of frame, and error codes."""

from __future__ import annotations

from tests.conformance.h2.case import (
    Acknowledged,
    Case,
    Pieces,
    Ponged,
    Served,
    Settled,
    Wait,
    connection_error,
    either,
    stream_error,
)
from tests.support.h2_frames import (
    ACK,
    LARGEST_WINDOW,
    Code,
    Kind,
    Setting,
    block,
    continuation,
    data,
    frame,
    goaway,
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
SIZE = connection_error(Code.FRAME_SIZE_ERROR)
FLOW = connection_error(Code.FLOW_CONTROL_ERROR)
BLOCK = block(head())
GET = request(1)
STAY = request(1, path=b"/stay")
OPEN = request(1, method=b"POST", path=b"/stay", end=False)
WINDOW = Setting.INITIAL_WINDOW_SIZE

_DATA = [
    Case("6.1", "stream 0", [data(0, b"test")], PROTOCOL),
    Case("6.1", "a stream that is neither open nor half closed (local)", [STAY, data(1, b"test")],
         either(stream_error(1, Code.STREAM_CLOSED), connection_error(Code.STREAM_CLOSED))),
    Case("6.1", "padding as long as the payload", [OPEN, frame(Kind.DATA, b"\5test", flags=0x9, stream=1)], PROTOCOL),
    Case("6.1", "padding longer than the payload", [OPEN, frame(Kind.DATA, b"\xfftest", flags=0x9, stream=1)], PROTOCOL),
    Case("6.1", "no room for the length of padding", [OPEN, frame(Kind.DATA, b"", flags=0x9, stream=1)],
         connection_error(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR)),
]  # fmt: skip

_HEADERS = [
    Case("6.2", "stream 0", [headers(0, BLOCK)], PROTOCOL),
    Case("6.2", "an unfinished block, then PRIORITY",
         [headers(1, BLOCK, complete=False), frame(Kind.PRIORITY, priority(), stream=1)], PROTOCOL),
    Case("6.2", "an unfinished block, then HEADERS of another stream",
         [headers(1, BLOCK, complete=False), request(3)], PROTOCOL),
    Case("6.2", "padding longer than the payload", [frame(Kind.HEADERS, b"\xff" + BLOCK, flags=0xD, stream=1)], PROTOCOL),
    Case("6.2", "no room for priority", [frame(Kind.HEADERS, b"\0\0", flags=0x25, stream=1)],
         connection_error(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR)),
]  # fmt: skip

_PRIORITY = [
    Case("6.3", "stream 0", [frame(Kind.PRIORITY, priority())], PROTOCOL),
    Case("6.3", "four bytes", [OPEN, frame(Kind.PRIORITY, bytes(4), stream=1)],
         either(stream_error(1, Code.FRAME_SIZE_ERROR), SIZE)),
    Case("6.3", "six bytes", [OPEN, frame(Kind.PRIORITY, bytes(6), stream=1)],
         either(stream_error(1, Code.FRAME_SIZE_ERROR), SIZE)),
]  # fmt: skip

_RESET = [
    Case("6.4", "stream 0", [reset(0)], PROTOCOL),
    Case("6.4", "an idle stream", [reset(1)], PROTOCOL),
    Case("6.4", "three bytes", [OPEN, frame(Kind.RST_STREAM, bytes(3), stream=1)], SIZE),
    Case("6.4", "five bytes", [OPEN, frame(Kind.RST_STREAM, bytes(5), stream=1)], SIZE),
]  # fmt: skip

_SETTINGS = [
    Case("6.5", "an acknowledgement with a payload", [frame(Kind.SETTINGS, bytes(6), flags=ACK)], SIZE),
    Case("6.5", "a stream", [settings(stream=1)], PROTOCOL),
    Case("6.5", "a length that is no multiple of six", [frame(Kind.SETTINGS, bytes(3))], SIZE),
    Case("6.5", "an acknowledgement of nothing", [settings(flags=ACK), settings(flags=ACK), GET],
         either(Served(), PROTOCOL)),
    Case("6.5.2", "ENABLE_PUSH is 2", [settings([(Setting.ENABLE_PUSH, 2)])], PROTOCOL),
    Case("6.5.2", "INITIAL_WINDOW_SIZE over the largest", [settings([(WINDOW, 2**31)])], FLOW),
    Case("6.5.2", "MAX_FRAME_SIZE below the least", [settings([(Setting.MAX_FRAME_SIZE, 16_383)])], PROTOCOL),
    Case("6.5.2", "MAX_FRAME_SIZE over the largest", [settings([(Setting.MAX_FRAME_SIZE, 2**24)])], PROTOCOL),
    Case("6.5.2", "an unknown setting", [settings([(0xFF, 1), (0, 1)]), GET], Served()),
    Case("6.5.2", "ENABLE_CONNECT_PROTOCOL is 2", [settings([(Setting.ENABLE_CONNECT_PROTOCOL, 2)])],
         either(PROTOCOL, Acknowledged(2))),
    Case("6.5.3", "INITIAL_WINDOW_SIZE twice: the last one counts",
         [settings([(WINDOW, 100), (WINDOW, 1)]), Settled(2), GET], Pieces(1, (1,)), generous=False),
    Case("6.5.3", "SETTINGS are acknowledged at once", [STAY, settings(), settings()], Acknowledged(3)),
]  # fmt: skip

_PUSH_PROMISE = [
    Case("6.6", "from a client", [OPEN, frame(Kind.PUSH_PROMISE, b"\0\0\0\2" + BLOCK, flags=0x4, stream=1)], PROTOCOL),
    Case("6.6", "from a client, on stream 0", [frame(Kind.PUSH_PROMISE, b"\0\0\0\2" + BLOCK, flags=0x4)], PROTOCOL),
]  # fmt: skip

_PING = [
    Case("6.7", "is answered with what is in it", [ping(b"answered")], Ponged((b"answered",))),
    Case("6.7", "one after the other", [ping(b"number 1"), ping(b"number 2")], Ponged((b"number 1", b"number 2"))),
    Case("6.7", "an acknowledgement is not answered", [ping(b"invalid!", flags=ACK), ping(b"a valid.")],
         Ponged((b"a valid.",))),
    Case("6.7", "a stream", [frame(Kind.PING, bytes(8), stream=1)], PROTOCOL),
    Case("6.7", "six bytes", [frame(Kind.PING, bytes(6))], SIZE),
    Case("6.7", "nine bytes", [frame(Kind.PING, bytes(9))], SIZE),
    Case("6.7", "is answered ahead of a response that waits", [STAY, ping(b"answered")], Ponged((b"answered",))),
]  # fmt: skip

_GOAWAY = [
    Case("6.8", "a stream", [frame(Kind.GOAWAY, bytes(8), stream=1)], PROTOCOL),
    Case("6.8", "seven bytes", [frame(Kind.GOAWAY, bytes(7))], connection_error(Code.FRAME_SIZE_ERROR)),
    Case("6.8", "with debug data, and a response on its way",
         [request(1, method=b"POST", path=b"/echo", end=False), goaway(0, Code.NO_ERROR, b"debug"), data(1, b"test")],
         Served(body=b"test", last=True)),
]  # fmt: skip

_WINDOW_UPDATE = [
    Case("6.9", "no increment, on the connection", [window_update(0, 0)], PROTOCOL),
    Case("6.9", "no increment, on a stream", [OPEN, window_update(1, 0)], stream_error(1, Code.PROTOCOL_ERROR)),
    Case("6.9", "three bytes", [frame(Kind.WINDOW_UPDATE, bytes(3))], SIZE),
    Case("6.9", "five bytes", [frame(Kind.WINDOW_UPDATE, bytes(5))], SIZE),
    Case("6.9", "the reserved bit", [window_update(0, 1 | 1 << 31), GET], Served()),
    Case("6.9.1", "a window of one byte", [settings([(WINDOW, 1)]), Settled(2), GET], Pieces(1, (1,)), generous=False),
    Case("6.9.1", "no DATA without a window", [settings([(WINDOW, 0)]), Settled(2), GET, ping(b"no DATA.")],
         Pieces(1, ()), generous=False),
    Case("6.9.1", "over the largest, on the connection", [window_update(0, LARGEST_WINDOW), window_update(0, LARGEST_WINDOW)],
         FLOW),
    Case("6.9.1", "over the largest, on a stream", [OPEN, window_update(1, LARGEST_WINDOW), window_update(1, LARGEST_WINDOW)],
         stream_error(1, Code.FLOW_CONTROL_ERROR)),
    Case("6.9.1", "just the largest", [window_update(0, LARGEST_WINDOW - 65_535), GET], Served()),
    Case("6.9.2", "INITIAL_WINDOW_SIZE is changed behind HEADERS",
         [settings([(WINDOW, 0)]), Settled(2), GET, settings([(WINDOW, 1)])], Pieces(1, (1,)), generous=False),
    Case("6.9.2", "a window below zero",
         [settings([(WINDOW, 3)]), Settled(2), GET, Wait(1, "bytes", 3), settings([(WINDOW, 2)]), window_update(1, 2)],
         Pieces(1, (3, 1)), generous=False),
    Case("6.9.2", "a window over the largest by SETTINGS",
         [OPEN, window_update(1, LARGEST_WINDOW - 65_535), settings([(WINDOW, 65_536)])], FLOW),
]  # fmt: skip

_CONTINUATION = [
    Case("6.10", "several behind HEADERS",
         [headers(1, BLOCK[:2], complete=False), continuation(1, BLOCK[2:4], complete=False), continuation(1, BLOCK[4:])],
         Served()),
    Case("6.10", "then another frame than CONTINUATION",
         [headers(1, BLOCK[:2], complete=False), continuation(1, BLOCK[2:], complete=False), data(1, b"test")], PROTOCOL),
    Case("6.10", "stream 0", [headers(1, BLOCK[:2], complete=False), continuation(0, BLOCK[2:])], PROTOCOL),
    Case("6.10", "of another stream", [headers(1, BLOCK[:2], complete=False), continuation(3, BLOCK[2:])], PROTOCOL),
    Case("6.10", "behind HEADERS with END_HEADERS", [STAY, continuation(1, BLOCK)],
         connection_error(Code.PROTOCOL_ERROR, Code.STREAM_CLOSED)),
    Case("6.10", "behind CONTINUATION with END_HEADERS",
         [headers(1, block(head(path=b"/stay")), complete=False), continuation(1), continuation(1)],
         connection_error(Code.PROTOCOL_ERROR, Code.STREAM_CLOSED)),
    Case("6.10", "behind DATA", [OPEN, data(1, b"test", end=False), continuation(1, BLOCK)], PROTOCOL),
]  # fmt: skip

_CODES = [
    Case("7", "GOAWAY with an unknown code", [request(1, method=b"POST", path=b"/echo", end=False), goaway(0, 0xFF),
                                              data(1, b"test")], Served(body=b"test", last=True)),
    Case("7", "RST_STREAM with an unknown code", [OPEN, reset(1, 0xFF), request(3)], Served(3)),
]  # fmt: skip

CASES = [
    *_DATA,
    *_HEADERS,
    *_PRIORITY,
    *_RESET,
    *_SETTINGS,
    *_PUSH_PROMISE,
    *_PING,
    *_GOAWAY,
    *_WINDOW_UPDATE,
    *_CONTINUATION,
    *_CODES,
]
