"""Slow clients on a scripted transport, with both parsers: who waits for whom, and how slow is too slow."""

from __future__ import annotations

import asyncio

import pytest

from pronghorn.net.service import Service
from pronghorn.types import Receive, Scope, Send
from tests.conformance.responses import read_responses
from tests.support.scripted import PARSERS, ScriptedTransport, connect, make_service, turns

TICKS = 20  # of a period; the service is given one more, for the tick that has begun
PACE = 100  # bytes in each period
LENGTH = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n"
CHUNKS = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=sorted(PARSERS))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Steps:
    """An application that takes the next event of the body whenever it is told to, and answers at the end of it."""

    def __init__(self, *, first: bool = True, early: bool = False) -> None:
        self._go = asyncio.Semaphore(int(first))
        self._early = early
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._early:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"so", "more_body": True})
        more = True
        while more:
            await self._go.acquire()
            event = await receive()
            self.events.append(event["type"])
            more = event.get("more_body", False)
        if event["type"] == "http.request":
            if not self._early:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

    async def take(self, count: int = 1) -> None:
        for _ in range(count):
            self._go.release()
        await turns()


def serve(app: Steps, parser: str, *, pace: int = PACE) -> tuple[Service, ScriptedTransport]:
    service = make_service(app, parser=parser, body_ticks=TICKS + 1, pace=pace)
    return service, connect(service)


def pass_ticks(service: Service, count: int) -> None:
    for _ in range(count):
        service.deadlines.advance()


def statuses(transport: ScriptedTransport) -> list[int]:
    return [answer.status for answer in read_responses(bytes(transport.written))]


async def test_a_client_is_not_blamed_while_the_application_takes_nothing(parser: str) -> None:
    app = Steps()
    service, transport = serve(app, parser)
    transport.feed(LENGTH + bytes(10))
    await turns()
    transport.feed(bytes(100_000))
    await turns()
    assert not transport.is_reading()
    pass_ticks(service, 10 * TICKS)
    assert app.events == ["http.request"]
    assert (bytes(transport.written), transport.closed) == (b"", False)
    # It is the client's turn again as soon as the server reads on.
    await app.take()
    assert transport.is_reading()
    pass_ticks(service, TICKS)
    assert transport.written == b""
    pass_ticks(service, 1)
    assert statuses(transport) == [408]
    await app.take()
    assert app.events[-1] == "http.disconnect"


async def test_nor_while_it_waits_to_be_told_to_go_on(parser: str) -> None:
    app = Steps(first=False)
    service, transport = serve(app, parser)
    transport.feed(LENGTH.replace(b"Host", b"Expect: 100-continue\r\nHost"))
    await turns()
    pass_ticks(service, 10 * TICKS)
    assert transport.written == b""
    await app.take()
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    pass_ticks(service, TICKS + 1)
    assert statuses(transport) == [100, 408]


async def test_it_is_not_waited_for_once_it_can_no_longer_be_told(parser: str) -> None:
    app = Steps(first=False, early=True)
    service, transport = serve(app, parser)
    transport.feed(LENGTH.replace(b"Host", b"Expect: 100-continue\r\nHost"))
    await turns()
    pass_ticks(service, 10 * TICKS)
    assert not transport.closed
    await app.take()
    pass_ticks(service, TICKS + 1)
    assert transport.aborted
    assert b" 100 " not in transport.written


@pytest.mark.parametrize("piece", [b"x", b"1\r\nx\r\n"], ids=["length", "chunks"])
async def test_a_body_that_trickles_is_408(parser: str, piece: bytes) -> None:
    app = Steps()
    service, transport = serve(app, parser)
    transport.feed(LENGTH if piece == b"x" else CHUNKS)
    for _ in range(3):
        transport.feed(piece)
        await app.take()
        pass_ticks(service, 7)
        assert transport.written == b""
    transport.feed(piece)
    assert statuses(transport) == [408]
    assert transport.eof_written
    await app.take()
    assert app.events[-1] == "http.disconnect"
    assert (service.active, len(service.connections)) == (0, 1)


async def test_a_head_request_is_refused_without_a_body(parser: str) -> None:
    service, transport = serve(Steps(), parser)
    transport.feed(LENGTH.replace(b"POST", b"HEAD") + b"x")
    await turns()
    pass_ticks(service, TICKS + 1)
    assert [one.status for one in read_responses(bytes(transport.written), bodiless=frozenset({0}))] == [408]
    assert service.observer.seen == [("/", 408, 1, 0)]  # type: ignore[attr-defined]


async def test_what_is_framing_does_not_count(parser: str) -> None:
    app = Steps()
    service, transport = serve(app, parser)
    transport.feed(CHUNKS + b"0\r\n")
    await turns()
    for _ in range(10):
        transport.feed(b"x: %b\r\n" % bytes(b"y" * PACE))
        pass_ticks(service, 7)
    assert statuses(transport) == [408]


async def test_a_body_that_keeps_the_pace_may_take_as_long_as_it_likes(parser: str) -> None:
    app = Steps()
    service, transport = serve(app, parser)
    transport.feed(LENGTH)
    for _ in range(100):
        transport.feed(bytes(PACE // 2))
        await app.take()
        pass_ticks(service, 10)
    assert transport.written == b""
    transport.feed(bytes(500_000 - 100 * (PACE // 2)))
    await app.take(100)
    assert statuses(transport) == [200]


@pytest.mark.parametrize(("early", "pace"), [(False, 0), (True, PACE)], ids=["any pace", "conversation"])
async def test_a_body_may_trickle(parser: str, early: bool, pace: int) -> None:
    """Where any pace will do; and once the response has begun, because then the two talk to each other."""
    app = Steps(early=early)
    service, transport = serve(app, parser, pace=pace)
    transport.feed(LENGTH)
    for _ in range(50):
        transport.feed(b"x")
        await app.take()
        pass_ticks(service, TICKS - 1)
    assert not transport.closed
    assert set(app.events) == {"http.request"}
    pass_ticks(service, TICKS + 1)
    assert transport.closed, "but it may not pause"


@pytest.mark.parametrize("taken", [PACE - 1, PACE])
async def test_a_reader_has_to_keep_the_pace_too(parser: str, taken: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(10_000)})

    service = make_service(app, parser=parser, body_ticks=TICKS + 1, pace=PACE)
    transport = connect(service, limit=1000)
    transport.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await turns()
    for _ in range(5):
        transport.read(taken)
        pass_ticks(service, TICKS + 1)
    assert transport.aborted is (taken < PACE)
