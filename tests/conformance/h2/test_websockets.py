"""WebSockets over HTTP/2 (RFC 8441): the stream of an extended CONNECT carries the frames, and its end is the connection's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conformance.h2.conftest import Subject
from tests.support import ws
from tests.support.h2_frames import Code, Setting, data, reset
from tests.support.h2_raw_client import Client

CONNECT = {"method": b"CONNECT", "protocol": b"websocket"}
VERSION = (b"sec-websocket-version", b"13")


def opened(client: Client, path: bytes = b"/", *fields: tuple[bytes, bytes]) -> int:
    """The stream of a WebSocket that the application has accepted."""
    assert client.until(lambda: bool(client.settings))
    assert client.settings[Setting.ENABLE_CONNECT_PROTOCOL] == 1
    number = client.request(path, VERSION, *fields, end=False, **CONNECT)
    stream = client.stream(number)
    assert client.until(lambda: stream.status is not None or stream.over)
    assert (stream.status, stream.over) == (200, False)
    return number


def frames(client: Client, number: int, count: int = 1) -> list[tuple[int, bytes]]:
    """So many frames of the server, which have to be all that there is."""
    stream = client.stream(number)

    def there() -> bool:
        try:
            return len(ws.read_frames(bytes(stream.body))) >= count
        except (AssertionError, IndexError):
            return False  # half a frame

    assert client.until(there)
    found = ws.read_frames(bytes(stream.body))
    stream.body.clear()
    return found


def test_messages_of_both_kinds(subject: Subject) -> None:
    with subject.connect() as client:
        number = opened(client)
        client.send(data(number, ws.text("hé") + ws.binary(b"\0\xff"), end=False))
        assert frames(client, number, 2) == [
            (ws.FIN | ws.TEXT, "hé".encode()),
            (ws.FIN | ws.BINARY, b"\0\xff"),
        ]


def test_what_the_application_sees(clear: Subject) -> None:
    clear.seen()
    with clear.connect() as client:
        number = opened(
            client, b"/a%20b?c", (b"sec-websocket-protocol", b"chat, other"), (b"origin", b"http://localhost")
        )
        assert client.streams[number][b"sec-websocket-protocol"] == b"chat"
        assert client.streams[number][b"sec-websocket-accept"] is None
    [seen] = clear.seen()
    assert (seen["type"], seen["http_version"], seen["scheme"]) == ("websocket", "2", "ws")
    assert (seen["path"], seen["query_string"]) == ("/a b", "c")
    assert seen["headers"][0] == ["host", "localhost"]


def test_frames_in_any_pieces(clear: Subject) -> None:
    sent = ws.text("in pieces") + ws.text("and one more")
    with clear.connect() as client:
        number = opened(client)
        client.send(*(data(number, sent[at : at + 1], end=False) for at in range(len(sent))))
        assert [payload for _, payload in frames(client, number, 2)] == [b"in pieces", b"and one more"]


def test_a_large_message_both_ways(subject: Subject) -> None:
    with subject.connect() as client:
        number = opened(client)
        sent = ws.binary(bytes(3_000_000))
        for at in range(0, len(sent), 16_384):
            piece = sent[at : at + 16_384]
            assert client.until(lambda: client.room(number) >= 16_384)
            client.sent[number] = client.sent.get(number, 0) + len(piece)
            client.send(data(number, piece, end=False))
        [(_, payload)] = frames(client, number)
        assert len(payload) == 3_000_000


def test_the_client_closes(subject: Subject) -> None:
    with subject.connect() as client:
        number = opened(client)
        client.send(data(number, ws.close(1000), end=False))
        stream = client.stream(number)
        assert client.until(lambda: stream.ended)
        assert ws.read_frames(bytes(stream.body)) == [(ws.FIN | ws.CLOSE, b"\x03\xe8")]
        client.send(data(number))
        assert client.get().status == 200


def test_the_application_closes(subject: Subject) -> None:
    with subject.connect() as client:
        number = opened(client)
        client.send(data(number, ws.text("close"), end=False))
        [(first, payload)] = frames(client, number)
        assert (first, ws.closing(payload)) == (ws.FIN | ws.CLOSE, (4001, "as you wish"))
        client.send(data(number, ws.close(4001)))
        assert client.until(lambda: client.stream(number).over)
        assert client.get().status == 200


def test_the_application_lets_nobody_in(subject: Subject) -> None:
    with subject.connect() as client:
        stream = client.response(client.request(b"/refuse", VERSION, end=False, **CONNECT))
        assert stream.status == 403
        assert client.get().status == 200


LOSSES: dict[str, Callable[[Client, int], object]] = {
    "reset": lambda client, number: client.send(reset(number)),
    "the end of the stream": lambda client, number: client.send(data(number)),
    "the end of the connection": lambda client, _: client.sock.close(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_stream_that_is_lost(clear: Subject, loss: str) -> None:
    """Without a Close frame it is 1006 to the application."""
    count = sum("websocket.disconnect 1006" in line for line in clear.server.stdout.so_far())
    with clear.connect() as client:
        number = opened(client)
        LOSSES[loss](client, number)
        clear.server.stdout.wait_for("websocket.disconnect 1006", count=count + 1)


VIOLATIONS = {
    "no mask": (ws.frame(ws.FIN | ws.TEXT, b"a", mask=None), 1002),
    "a reserved bit": (ws.frame(ws.FIN | ws.TEXT | 0x20, b"a"), 1002),
    "text that is no UTF-8": (ws.frame(ws.FIN | ws.TEXT, b"\xff"), 1007),
    "a message over the limit": (
        ws.frame(ws.FIN | ws.BINARY, bytes(10))[:1] + b"\xff" + (1 << 40).to_bytes(8, "big"),
        1009,
    ),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_frame_that_is_none(clear: Subject, violation: str) -> None:
    """It costs its own stream; the connection goes on."""
    sent, code = VIOLATIONS[violation]
    with clear.connect() as client:
        number = opened(client)
        client.send(data(number, sent, end=False))
        stream = client.stream(number)
        assert client.until(lambda: stream.over)
        [(first, payload)] = ws.read_frames(bytes(stream.body))
        assert (first, ws.closing(payload)[0]) == (ws.FIN | ws.CLOSE, code)
        assert client.get().status == 200


def test_another_version(clear: Subject) -> None:
    clear.seen()
    with clear.connect() as client:
        stream = client.response(client.request(b"/", (b"sec-websocket-version", b"7"), end=False, **CONNECT))
        assert stream.status == 426 or stream.code == Code.PROTOCOL_ERROR
        assert client.get().status == 200
    assert [seen["type"] for seen in clear.seen()] == ["http"]


def test_a_slow_reader_is_waited_for(clear: Subject) -> None:
    """The windows of a stream are what holds send() back."""
    with clear.connect((Setting.INITIAL_WINDOW_SIZE, 10), generous=False) as client:
        number = opened(client)
        client.send(data(number, ws.binary(bytes(1000)), end=False))
        stream = client.stream(number)
        assert client.until(lambda: len(stream.body) == 10)
        assert client.barrier()
        assert len(stream.body) == 10
        client.open_window(number, 2000)
        assert client.until(lambda: len(stream.body) == 1004)


def test_many_on_one_connection_beside_requests(subject: Subject) -> None:
    with subject.connect() as client:
        numbers = [opened(client) for _ in range(20)]
        for number in numbers:
            client.send(data(number, ws.text(f"number {number}"), end=False))
        assert client.get().status == 200
        for number in numbers:
            assert frames(client, number) == [(ws.FIN | ws.TEXT, b"number %d" % number)]
