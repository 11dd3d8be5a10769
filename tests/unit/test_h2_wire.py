"""The sans-I/O core of HTTP/2: windows and turns, whatever the order; blocks; what is known again; floods; heads of responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection as H2Client
from h2.windows import WindowManager
from hpack import Decoder, Encoder
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pronghorn.wire.h2 import H2Wire
from pronghorn.wire.h2_calm import ALLOWED, PERIOD, Calm
from pronghorn.wire.h2_frames import ACKNOWLEDGED, PREFACE, frame_head, header_frames
from pronghorn.wire.h2_frames import settings as settings_frame
from pronghorn.wire.h2_response import HeadEncoder
from pronghorn.wire.h2_settings import OwnSettings
from pronghorn.wire.h2_stream import Stream, Turns
from pronghorn.wire.headers import DefaultHeaders
from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import InvalidResponse, RequestError, RequestHead
from tests.conformance.pieces import cut

OPENING = PREFACE + settings_frame({}) + ACKNOWLEDGED
GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/")]


class Told(Stream):
    """A stream that writes down what it is told."""

    __slots__ = ("calls",)

    def __init__(self, number: int, calls: list[tuple[Any, ...]]) -> None:
        super().__init__(number)
        self.calls = calls

    def on_data(self, data: bytes) -> None:
        self.calls.append(("data", self.id, data))

    def on_end(self) -> None:
        self.calls.append(("end", self.id))

    def on_reset(self, code: int) -> None:
        self.calls.append(("reset", self.id, code))


class Sink:
    """Takes every request."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.out: list[Any] = []
        self.wire = H2Wire(self, self.out.append, RequestLimits(), OwnSettings())

    def on_request(self, number: int, head: RequestHead, ended: bool) -> Stream:
        self.calls.append(("request", number, head.method, head.target, tuple(head.headers), ended))
        return Told(number, self.calls)

    def on_ready(self, stream: Stream) -> None:
        pass

    def on_refused(self, number: int, error: RequestError, ended: bool) -> None:
        self.calls.append(("refused", number, error.status))

    def on_malformed(self, stream: int, reason: str) -> None:
        self.calls.append(("malformed", stream))

    def on_fault(self, code: int, reason: str) -> None:
        self.calls.append(("fault", code))

    def on_settings_acknowledged(self) -> None:
        pass

    def on_pong(self, payload: bytes) -> None:
        self.calls.append(("pong", payload))

    def on_goaway(self) -> None:
        self.calls.append(("goaway",))

    def written(self) -> bytes:
        data = b"".join(self.out)
        self.out.clear()
        return data


def request(stream: int, block: bytes, *, end: bool = True) -> bytes:
    return header_frames(1, stream, 1 if end else 0, block, 16_384)


# Windows and turns.

STREAMS = 3
STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, STREAMS - 1), st.sampled_from([0, 1, 500, 20_000, 70_000])),
    st.tuples(st.just("end"), st.integers(0, STREAMS - 1), st.just(0)),
    st.tuples(st.just("window"), st.integers(0, STREAMS), st.sampled_from([1, 1000, 100_000])),
    st.tuples(st.just("initial"), st.just(0), st.sampled_from([0, 10, 65_535, 200_000])),
    st.tuples(st.just("pump"), st.just(0), st.sampled_from([1, 30_000, 10**9])),
    st.tuples(st.just("hold"), st.integers(0, 1), st.just(0)),
)


@pytest.fixture(scope="module")
def lenient_client() -> Iterator[None]:
    """The library's client, but that an empty frame needs no room (RFC 9113 §6.9.1): below zero it takes one for too many bytes."""
    consumed = WindowManager.window_consumed

    def window_consumed(self: WindowManager, size: int) -> None:
        if size:
            consumed(self, size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WindowManager, "window_consumed", window_consumed)
        yield


@pytest.mark.usefixtures("lenient_client")
@settings(deadline=None)
@example([("send", 1, 1), ("initial", 0, 0), ("end", 1, 0)])
@given(st.lists(STEPS, max_size=40))
def test_whatever_is_sent_arrives_in_order_and_within_the_windows(steps: list[tuple[str, int, int]]) -> None:
    sink = Sink()
    wire = sink.wire
    client = H2Client(H2Configuration(client_side=True, header_encoding=None))
    client.initiate_connection()
    wire.begin()
    got = {2 * number + 1: b"" for number in range(STREAMS)}
    sent = dict.fromkeys(got, b"")
    over: set[int] = set()
    ended: set[int] = set()

    def exchange() -> None:
        for _ in range(4):
            for event in client.receive_data(sink.written()):  # raises for what is beyond a window
                if isinstance(event, events.DataReceived):
                    got[event.stream_id] += event.data or b""
                elif isinstance(event, events.StreamEnded):
                    ended.add(event.stream_id)
            wire.feed(client.data_to_send(), 0)

    for stream in got:
        client.send_headers(stream, GET, end_stream=True)
    exchange()
    encoder = HeadEncoder(DefaultHeaders(server=None, date=False))
    streams = {number: wire.streams[number] for number in got}
    for open_one in streams.values():
        wire.send_head(open_one, encoder.inform(200, ()), end=False)
    for name, which, size in steps:
        number = 2 * which + 1
        if name == "send" and number not in over:
            piece = bytes([len(sent[number]) % 251]) * size
            sent[number] += piece
            wire.send_data(streams[number], piece, end=False)
        elif name == "end" and number not in over:
            over.add(number)
            wire.send_data(streams[number], b"", end=True)
        elif name == "window":
            live = which < STREAMS and number not in ended
            if which == STREAMS or live:
                client.increment_flow_control_window(size, number if live else None)
        elif name == "initial":
            client.update_settings({4: size})
        elif name == "hold":
            wire.held = bool(which)
        elif name == "pump" and not wire.held:
            wire.pump(size)
        exchange()
        assert all(sent[stream].startswith(data) for stream, data in got.items())
    # With room for all, all of it comes, and the end of those that have one.
    wire.held = False
    client.update_settings({4: 10_000_000})
    client.increment_flow_control_window(10_000_000)
    exchange()
    wire.pump(10**9)
    exchange()
    assert got == sent
    assert ended == over
    assert wire.streams.keys() == got.keys() - over


def test_turns_go_round_among_the_most_urgent() -> None:
    turns = Turns()
    streams = [Stream(number) for number in (1, 3, 5, 7)]
    streams[0].urgency = 5
    streams[3].urgency, streams[3].incremental = 1, False
    for stream in streams:
        turns.add(stream)
    order = []
    left = {1: 2, 3: 2, 5: 2, 7: 2}
    while (found := turns.take()) is not None:
        order.append(found.id)
        left[found.id] -= 1
        if left[found.id]:
            turns.again(found)
    assert order == [7, 7, 3, 5, 3, 5, 1, 1]
    assert turns.waiting == 0


# What comes.


def conversation() -> bytes:
    encoder = Encoder()
    post = [(b":method", b"POST"), *GET[1:], (b"content-length", b"5")]
    return b"".join(
        (
            OPENING,
            request(1, encoder.encode(post), end=False),
            frame_head(2, 0, 0, 1) + b"he",
            request(3, encoder.encode(GET)),
            frame_head(8, 0, 8, 1) + b"\x04llo" + bytes(4),  # padded
            header_frames(1, 5, 1, encoder.encode([*GET, (b"x-long", b"y" * 100)]), 20),
            frame_head(0, 0, 1, 1),
            frame_head(4, 3, 0, 9999) + bytes(4),
        )
    )


@given(st.lists(st.integers(0, 60), min_size=1))
def test_it_does_not_matter_how_the_bytes_are_cut(sizes: list[int]) -> None:
    whole, pieces = Sink(), Sink()
    text = conversation()
    whole.wire.feed(text, 0)
    for piece in cut(text, sizes):
        pieces.wire.feed(piece, 0)
    assert pieces.calls == whole.calls
    assert pieces.written() == whole.written()
    assert [call[0] for call in whole.calls] == [
        "request",
        "data",
        "request",
        "data",
        "request",
        "end",
        "fault",
    ]


def test_head_is_known_again_only_as_long_as_the_table_stays_the_same() -> None:
    sink = Sink()
    encoder = Encoder()
    # The last to enter the table is the first in it. So the same two references are path and authority, or the other way round.
    rest = (b":authority", b"a")
    fields = [*GET[:2], (b":path", b"/one"), rest]
    first, again = encoder.encode(fields), encoder.encode(fields)
    other = encoder.encode([*GET[:2], (b":path", b"/two"), rest])
    sink.wire.feed(OPENING + request(1, first) + request(3, again) + request(5, again), 0)
    sink.wire.feed(request(7, other) + request(9, again) + request(11, again), 0)
    assert [call[3] for call in sink.calls] == [b"/one", b"/one", b"/one", b"/two", b"/two", b"/two"]
    # And nobody's list of fields is anybody else's.
    assert len({id(call[4]) for call in sink.calls}) == 6


def test_block_that_goes_on_for_ever_is_not_kept() -> None:
    sink = Sink()
    sink.wire.feed(OPENING + frame_head(1, 1, 0, 1) + b"\x82", 0)
    for _ in range(40):
        sink.wire.feed(frame_head(1, 9, 0, 1) + b"\x82", 0)
    assert sink.calls == [("fault", 11)]


@pytest.mark.parametrize("kind", sorted(ALLOWED))
def test_calm_is_so_many_in_a_period_and_more_for_work(kind: str) -> None:
    calm = Calm()
    base, per_work = ALLOWED[kind]
    assert not any(calm.lost(kind, 0) for _ in range(base))
    calm.work += 2
    assert not any(calm.lost(kind, 1) for _ in range(2 * per_work))
    assert calm.lost(kind, PERIOD - 1)
    assert not calm.lost(kind, PERIOD)


# Responses.

TEXT = st.text("abc-XYZ", min_size=1, max_size=8).map(lambda text: b"x-" + text.encode())
VALUES = st.binary(max_size=300).filter(lambda value: not set(value) & set(b"\0\r\n"))


@given(st.lists(st.tuples(TEXT, VALUES), max_size=8), st.sampled_from([200, 204, 404, 418, 503]))
def test_heads_of_responses_are_read_as_they_were_meant(
    fields: list[tuple[bytes, bytes]], status: int
) -> None:
    encoder = HeadEncoder(DefaultHeaders(server=b"pronghorn", date=False))
    head = RequestHead()
    head.id_line = b"x-request-id: 0123456789abcdef\r\n"
    for _ in range(2):  # the second time from the cache
        block = encoder.respond(head, status, fields, 13)
        decoder = Decoder()
        decoder.max_allowed_table_size = decoder.header_table_size = 0
        read = [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
        expected = [(b":status", b"%d" % status)]
        expected += [(name.lower(), value.strip(b" \t")) for name, value in fields]
        expected += [(b"server", b"pronghorn"), (b"x-request-id", b"0123456789abcdef")]
        expected += [(b"content-length", b"13")] if status != 204 else []
        assert read == expected


@pytest.mark.parametrize(
    "field",
    [
        (b"x\r\n", b""),
        (b"x", b"a\nb"),
        (b"", b"a"),
        (b":status", b"200"),
        ("x", b""),
        (b"content-length", b"+1"),
    ],
)
def test_what_is_no_field_is_refused(field: Any) -> None:
    encoder = HeadEncoder(DefaultHeaders(server=None, date=False))
    head = RequestHead()
    head.id_line = b""
    with pytest.raises(InvalidResponse):
        encoder.respond(head, 200, [field], 0)


def test_own_date_server_and_id_replace_ours() -> None:
    encoder = HeadEncoder(DefaultHeaders(server=b"pronghorn", date=True, extra=[(b"x-extra", b"1")]))
    head = RequestHead()
    head.id_line = b"x-request-id: ours\r\n"
    fields = [(b"Date", b"today"), (b"Server", b"mine"), (b"X-Request-ID", b"theirs"), [b"x-list", b"1"]]
    decoder = Decoder()
    read = dict(decoder.decode(encoder.respond(head, 200, fields, 0), raw=True))
    assert (read[b"date"], read[b"server"], read[b"x-request-id"]) == (b"today", b"mine", b"theirs")
    assert (read[b"x-extra"], read[b"x-list"]) == (b"1", b"1")
