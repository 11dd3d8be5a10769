"""The kit that every codec behind `wire.ports.WebSocketCodec` has to pass.

`check_ws_codec` feeds golden frames in pieces and compares every call; `check_ws_writer` reads what a codec writes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pronghorn.wire.ports import WebSocketCodec
from pronghorn.wire.ws_deflate import Deflate
from tests.conformance.ws_frames import MAX_SIZE, Row
from tests.support.ws import (
    BINARY,
    CLOSE,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    Sink,
    closing,
    frame,
    read_frames,
    text,
)

MakeCodec = Callable[..., WebSocketCodec]


def check_ws_codec(make: MakeCodec, row: Row, pieces: Iterable[bytes]) -> None:
    sink = Sink()
    written: list[bytes] = []
    codec = make(sink, written.append, MAX_SIZE, Deflate() if row.deflate else None)
    assert codec.held is False
    for piece in pieces:
        codec.feed(piece)
    assert tuple(sink.calls) == row.calls
    assert written == [], "it is the connection that answers"
    codec.feed(text("ignored") if sink.over else b"")
    assert tuple(sink.calls) == row.calls
    codec.release()
    codec.feed(text("ignored"))
    assert tuple(sink.calls) == row.calls


def check_ws_writer(make: MakeCodec) -> None:
    written: list[bytes] = []
    codec = make(Sink(), written.append, MAX_SIZE, None)

    def frames() -> list[tuple[int, bytes]]:
        data = b"".join(written)
        written.clear()
        return read_frames(data)

    for size in (0, 1, 125, 126, 127, 65_535, 65_536, 200_000):
        assert codec.text("x" * size) == size
        assert codec.binary(b"\xff" * size) == size
        assert frames() == [(FIN | TEXT, b"x" * size), (FIN | BINARY, b"\xff" * size)]
    assert codec.text("€") == 3
    codec.ping(b"p")
    codec.pong(b"q" * 125)
    codec.close(1000, "")
    codec.close(1005, "never said")
    assert frames() == [
        (FIN | TEXT, "€".encode()),
        (FIN | PING, b"p"),
        (FIN | PONG, b"q" * 125),
        (FIN | CLOSE, b"\x03\xe8"),
        (FIN | CLOSE, b""),
    ]
    codec.close(1011, "€" * 100)
    ((first, payload),) = frames()
    assert (first, len(payload)) == (FIN | CLOSE, 125)
    assert closing(payload) == (1011, "€" * 41), "cut where a character ends"
    with pytest.raises(UnicodeEncodeError):
        codec.text("\ud800")
    assert written == []


def check_ws_deflate(make: MakeCodec, agreed: Deflate) -> None:
    """What a codec compresses, a client can inflate that knows no more than what was agreed on."""
    written: list[bytes] = []
    codec = make(Sink(), written.append, MAX_SIZE, agreed)
    inflate = zlib.decompressobj(wbits=-agreed.server_bits)
    for message in ("short", "long " * 50, "long " * 50, "x" * 20_000, "€" * 5_000):
        codec.text(message)
        ((first, payload),) = read_frames(b"".join(written))
        written.clear()
        if not agreed.server_keeps:
            inflate = zlib.decompressobj(wbits=-agreed.server_bits)
        if first == FIN | TEXT | RSV1:
            payload = inflate.decompress(payload + b"\0\0\xff\xff")
        else:
            assert (first, message) == (FIN | TEXT, "short")
        assert payload.decode() == message
    codec.ping(b"p" * 100)
    assert read_frames(b"".join(written)) == [(FIN | PING, b"p" * 100)], "control frames are never compressed"


def check_ws_hold(make: MakeCodec) -> None:
    """Whoever has enough says so from inside a call, and nothing is lost."""
    calls: list[Any] = []

    class Holding(Sink):
        def on_message(self, data: str | bytes) -> None:
            calls.append(data)
            codec.held = True

    codec = make(Holding(), list[bytes]().append, MAX_SIZE, None)
    stream = text("one") + frame(TEXT, b"t") + frame(FIN, b"wo") + frame(FIN | PING) + text("three")
    codec.feed(stream[:20])
    codec.feed(stream[20:])
    assert calls == ["one"]
    for so_far in (["one", "two"], ["one", "two", "three"], ["one", "two", "three"]):
        codec.held = False
        codec.feed(b"")
        assert calls == so_far
