"""The reader of chunked bodies: what it gets out of what was put in, and where exactly its limits are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.wire.chunked import MAX_EXCESS, MAX_LINE, ChunkedBody
from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import RequestError, RequestHead

REST = b"GET /next HTTP/1.1\r\n"


class Sink:
    """The part of an `Inbound` that a body calls."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def on_head(self, head: RequestHead) -> None:
        raise AssertionError

    def on_body(self, data: bytes) -> None:
        assert data
        self.pieces.append(data)

    def on_end(self) -> None:
        raise AssertionError

    def on_upgrade(self, data: bytes) -> None:
        raise AssertionError

    def on_lost(self, exc: RequestError) -> None:
        raise AssertionError


def read(raw: bytes, size: int = 1 << 20, limits: RequestLimits | None = None) -> tuple[bytes, bytes | None]:
    """The body, and what is behind it; None if it does not end."""
    sink = Sink()
    chunks = ChunkedBody(sink, limits or RequestLimits())
    for at in range(0, len(raw), size):
        rest = chunks.feed(raw[at : at + size])
        if chunks.done:
            return b"".join(sink.pieces), rest + raw[at + size :]
        assert not rest
    return b"".join(sink.pieces), None


def refusal(raw: bytes, limits: RequestLimits | None = None) -> int:
    """The status that a body is refused with, whole and by byte alike."""
    statuses = set()
    for size in (1, 7, 1 << 20):
        with pytest.raises(RequestError) as caught:
            read(raw, size, limits)
        statuses.add(caught.value.status)
    assert len(statuses) == 1
    return statuses.pop()


extensions = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b;\\"c"', b";a=1;b"])
trailers = st.lists(st.sampled_from([b"x: y\r\n", b"y:\r\n", b"x:  y \r\n"]), max_size=3)


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), extensions), max_size=6),
    extensions,
    trailers,
    st.integers(1, 50),
)
def test_what_was_put_in_comes_out(
    chunks: list[tuple[bytes, bytes]], last: bytes, fields: list[bytes], size: int
) -> None:
    raw = b"".join(b"%x%b\r\n%b\r\n" % (len(data), extension, data) for data, extension in chunks)
    raw += b"0%b\r\n%b\r\n" % (last, b"".join(fields))
    assert read(raw + REST, size) == (b"".join(data for data, _ in chunks), REST)
    assert read(raw[:-1], size)[1] is None


def test_the_chunks_of_one_read_are_one_piece() -> None:
    sink = Sink()
    ChunkedBody(sink, RequestLimits()).feed(b"1\r\na\r\n" * 1000)
    assert sink.pieces == [b"a" * 1000]


def test_what_came_before_a_fault_is_handed_on() -> None:
    sink = Sink()
    with pytest.raises(RequestError):
        ChunkedBody(sink, RequestLimits()).feed(b"1\r\na\r\nx")
    assert sink.pieces == [b"a"]


def test_the_longest_line() -> None:
    line = b"1;" + b"a" * (MAX_LINE - 2)
    assert read(line + b"\r\nx\r\n0\r\n\r\n") == (b"x", b"")
    assert refusal(line + b"a\r\nx\r\n0\r\n\r\n") == 400
    assert refusal(line + b"aa") == 400, "without waiting for its end"


def test_the_excess_of_framing() -> None:
    # A chunk of one byte with a line of 34 has 20 bytes more than it is granted: 34 + 4 - 16 - 2.
    chunk = b"1;" + b"a" * 32 + b"\r\nx\r\n"
    most = MAX_EXCESS // 20
    assert read(chunk * most + b"0\r\n\r\n") == (b"x" * most, b"")
    assert refusal(chunk * (most + 1) + b"0\r\n\r\n") == 400
    # Data pays for it.
    assert read((chunk * most + b"4000\r\n" + b"x" * 0x4000 + b"\r\n") * 3 + b"0\r\n\r\n")[1] == b""


def test_sixteen_digits() -> None:
    assert read(b"0" * 15 + b"1\r\nx\r\n0\r\n\r\n") == (b"x", b"")
    assert read(b"f" * 16 + b"\r\nx") == (b"x", None)
    assert refusal(b"0" * 16 + b"1\r\nx\r\n0\r\n\r\n") == 400


def test_the_limit_of_the_body() -> None:
    limits = RequestLimits(body=4)
    assert read(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", limits=limits) == (b"abcd", b"")
    assert refusal(b"2\r\nab\r\n3\r\n", limits) == 413, "before the data comes"


def test_the_limits_of_trailers() -> None:
    limits = RequestLimits(fields=2, field_bytes=20)
    assert read(b"0\r\na: 1\r\nb: 2\r\n\r\n", limits=limits) == (b"", b"")
    assert refusal(b"0\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n", limits) == 431
    assert read(b"0\r\na: " + b"1" * 17 + b"\r\n\r\n", limits=limits) == (b"", b"")
    assert refusal(b"0\r\na: " + b"1" * 18 + b"\r\n\r\n", limits) == 431
    assert refusal(b"0\r\na: " + b"1" * 30, limits) == 431, "without waiting for its end"
