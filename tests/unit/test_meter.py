"""What a connection tells its meter and counts on its service, for scripted peers, with every parser; and that no reason goes unnamed."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest

from pronghorn.net.refusals import _KINDS, _LIMITS, count_refusal
from pronghorn.net.service import Service
from pronghorn.net.ws_settings import WebSockets
from pronghorn.observe import metrics
from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import RequestError
from tests.support.scripted import PARSERS, ScriptedTransport, connect, make_service, turns
from tests.support.ws import CODECS, FIN, TEXT, close, frame, handshake, text

WIRE = Path(__file__).resolve().parents[2] / "server" / "pronghorn"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Meter:
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def limit(self, name: str) -> None:
        assert name in metrics.LIMITS
        self.told.append(("limit", name))

    def protocol_error(self, kind: str) -> None:
        assert kind in metrics.PROTOCOL_ERRORS
        self.told.append(("error", kind))

    def websocket_closed(self, code: int) -> None:
        self.told.append(("closed", str(code)))

    def application_error(self) -> None:
        self.told.append(("application", ""))


async def app(scope: Any, receive: Any, send: Any) -> None:
    path = scope["path"]
    if scope["type"] == "websocket":
        await websocket(path, receive, send)
        return
    if path == "/fail":
        raise ValueError
    if path == "/hang":
        await asyncio.Event().wait()
    if path == "/nothing":
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if path == "/unfinished":
        return
    if path == "/large":
        await send({"type": "http.response.body", "body": b"x" * 200_000, "more_body": True})
        await send({"type": "http.response.body", "body": b"x" * 200_000, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})


async def websocket(path: str, receive: Any, send: Any) -> None:
    await receive()
    if path == "/nothing":
        return
    await send({"type": "websocket.accept"})
    if path == "/fail":
        raise ValueError
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["text"] == "bye":
            await send({"type": "websocket.close", "code": 4001})
            return
        await send({"type": "websocket.send", "text": message["text"]})


class Peer:
    def __init__(self, kind: str, *, limit: int | None = None, **values: Any) -> None:
        self.meter = Meter()
        settings = WebSockets(codec=lambda: CODECS["websockets"], ping_ticks=2, pong_ticks=2, max_size=100)
        self.service: Service = make_service(
            app, parser=kind, meter=self.meter, websockets=settings, **values
        )
        self.transport: ScriptedTransport = connect(self.service, limit=limit)

    async def feed(self, *pieces: bytes) -> list[tuple[str, str]]:
        for piece in pieces:
            self.transport.feed(piece)
            await turns()
        return self.meter.told

    async def ticks(self, count: int) -> list[tuple[str, str]]:
        for _ in range(count):
            self.service.deadlines.advance()
        await turns()
        return self.meter.told


@pytest.fixture(params=sorted(PARSERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


SMALL = RequestLimits(line=60, fields=3, field_bytes=200, body=10)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (GET, []),
        (b"GET / HTTP/1.1\r\n\r\n", [("error", "host")]),
        (b"GET / HTTP/3.1\r\nHost: a\r\n\r\n", [("error", "version")]),
        (b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", [("error", "target")]),
        (b"GET /" + b"x" * 60 + b" HTTP/1.1\r\nHost: a\r\n\r\n", [("limit", "request_line")]),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 3 + b"\r\n", [("limit", "header_fields")]),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 300 + b"\r\n\r\n", [("limit", "header_bytes")]),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", [("limit", "body")]),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n", None),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            [("error", "transfer_encoding")],
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", [("error", "chunked")]),
        (b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n", [("application", "")]),
        (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", [("application", "")]),
        (b"GET /unfinished HTTP/1.1\r\nHost: a\r\n\r\n", [("application", "")]),
    ],
)
async def test_what_is_told_of_a_request(
    kind: str, request_: bytes, told: list[tuple[str, str]] | None
) -> None:
    peer = Peer(kind, limits=SMALL)
    found = await peer.feed(request_)
    if told is None:  # a parser's own words
        assert [what for what, _ in found] == ["error"]
    else:
        assert found == told


async def test_requests_beyond_the_limits(kind: str) -> None:
    peer = Peer(kind, limit_concurrency=1, limit_requests=2)
    await peer.feed(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
    other = connect(peer.service)
    other.feed(GET)
    await turns()
    assert peer.meter.told == [("limit", "concurrency")]
    assert b" 503 " in other.written
    peer.transport.lose()
    await turns()
    connect(peer.service).feed(GET)
    await turns()
    assert peer.meter.told == [("limit", "concurrency"), ("limit", "max_requests")]
    for task in list(peer.service.tasks):
        task.cancel()
    await turns()


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"GET / HT", [("limit", "timeout_header")]),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab", [("limit", "timeout_body")]),
        (b"", []),  # an idle connection that is closed has met no limit
    ],
)
async def test_what_takes_too_long(kind: str, sent: bytes, told: list[tuple[str, str]]) -> None:
    peer = Peer(kind)
    if sent:
        await peer.feed(sent)
    assert await peer.ticks(25) == told


async def test_who_does_not_read(kind: str) -> None:
    peer = Peer(kind, limit=1000)
    await peer.feed(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    assert await peer.ticks(25) == [("limit", "timeout_read")]


async def test_connections_and_reuses(kind: str) -> None:
    peer = Peer(kind)
    await peer.feed(GET, GET + GET)
    connect(peer.service).feed(GET)
    await turns()
    assert (peer.service.accepted, peer.service.reuses, peer.service.requests) == (2, 2, 4)


# WebSockets.


def counted(service: Service) -> tuple[int, int, int, int]:
    return (
        service.open_websockets,
        service.accepted_websockets,
        service.received_messages,
        service.sent_messages,
    )


async def test_a_websocket_and_its_messages(kind: str) -> None:
    peer = Peer(kind)
    await peer.feed(handshake(), text("a") + text("b"))
    assert counted(peer.service) == (1, 1, 2, 2)
    await peer.feed(close(1000))
    assert peer.meter.told == [("closed", "1000")]
    assert counted(peer.service) == (0, 1, 2, 2)


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        ([text("bye"), close(4001)], [("closed", "4001")]),
        ([text("x" * 101)], [("limit", "websocket_message"), ("closed", "1009")]),
        ([frame(FIN | TEXT, b"x", mask=None)], [("error", "websocket_frame"), ("closed", "1002")]),
        ([], [("closed", "1006")]),
    ],
)
async def test_ends_of_a_websocket(kind: str, frames: list[bytes], told: list[tuple[str, str]]) -> None:
    peer = Peer(kind)
    await peer.feed(handshake(), *frames)
    peer.transport.lose()
    await turns()
    assert peer.meter.told == told


async def test_a_websocket_that_answers_no_ping(kind: str) -> None:
    peer = Peer(kind)
    await peer.feed(handshake())
    await peer.ticks(6)
    assert peer.meter.told == [("limit", "websocket_ping"), ("closed", "1006")]


async def test_a_handshake_that_is_none(kind: str) -> None:
    peer = Peer(kind)
    assert await peer.feed(handshake("/", "Sec-WebSocket-Version: 7")) == [("error", "websocket_handshake")]
    assert counted(peer.service) == (0, 0, 0, 0)


@pytest.mark.parametrize("target", ["/fail", "/nothing"])
async def test_an_application_that_fails_its_websocket(kind: str, target: str) -> None:
    peer = Peer(kind)
    assert (await peer.feed(handshake(target)))[:1] == [("application", "")]


# Reasons.


def reasons() -> set[str]:
    """Every reason that stands in the code as text."""
    found = set()
    for file in [*WIRE.glob("wire/*.py"), *WIRE.glob("net/*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "RequestError"
            ):
                reason = node.args[1]
                if isinstance(reason, ast.Constant):
                    found.add(str(reason.value))
    return found


def test_every_reason_is_counted_as_something_and_nothing_else_is() -> None:
    assert reasons() == set(_LIMITS) | set(_KINDS)


def test_a_parsers_own_words_are_counted_too() -> None:
    meter = Meter()
    count_refusal(meter, RequestError(400, "illegal header line"))
    assert meter.told == [("error", "other")]
