"""What is fuzzed: each target takes any bytes at all and raises when a promise is broken.

hypothesis drives them in `make test`, atheris in `make fuzz`; both start from the golden requests, or connections, and from a
corpus.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ports import RequestHead
from tests.conformance.disagreements import ALLOWED
from tests.conformance.h2.target import h2
from tests.conformance.h2.target import seeds as h2_seeds
from tests.conformance.kit import ALL, Recorded, describe
from tests.conformance.pieces import cut
from tests.conformance.responses import read_responses
from tests.conformance.ws_target import websocket
from tests.support.scripted import PARSERS, connect, make_service, turns

CORPUS = Path(__file__).parent / "corpus"

#: Every status that a parser may refuse a request with (docs/reference, security.md).
REFUSALS = {400, 405, 413, 414, 431, 501, 505}
#: Those of the limits.
TOO_LARGE = {413, 414, 431}

# Small, so that inputs of a few kilobytes reach them.
LIMITS = RequestLimits(line=512, fields=16, field_bytes=2048, body=4096)

# By name, since a compiled class has them in another way than one of Python.
ATTRIBUTES = [
    name for name in dir(RequestHead) if name[0] != "_" and not callable(getattr(RequestHead, name))
]

#: Ticks that no connection outlives on which nothing comes any more: a body, and what a client gets to see the answer.
LONGEST = 30

Requests = list[dict[str, Any]]


def seeds(target: str = "") -> Iterator[bytes]:
    """Where every fuzzer of a target starts from."""
    if target == "h2":
        yield from h2_seeds()
        return
    yield from (golden.raw for golden in ALL if len(golden.raw) < 4096)
    yield from (path.read_bytes() for path in sorted(CORPUS.glob("*")))


def outcome(parser: str, pieces: Sequence[bytes]) -> tuple[Requests, bool]:
    """The requests found, up to and including one that is not complete, and whether the bytes were refused."""
    inbound = Recorded()
    subject = PARSERS[parser](inbound, LIMITS)
    for piece in pieces:
        subject.feed(piece)
    subject.feed_eof()
    found = [describe(*seen) for seen in zip(inbound.heads, inbound.bodies, inbound.complete, strict=True)]
    if inbound.error is None:
        assert subject.idle
        assert all(inbound.complete)
    else:
        assert inbound.error.status in REFUSALS
        assert inbound.error.reason
    return found, inbound.error is not None


def parsers(data: bytes, sizes: Sequence[int] = ()) -> None:
    """Both parsers find the same requests, and the same ones however the bytes are cut."""
    whole = {parser: outcome(parser, [data]) for parser in PARSERS}
    pieces = list(cut(data, sizes))
    for parser in PARSERS:
        assert _settled(outcome(parser, pieces)) == _settled(whole[parser]), parser
    httptools, h11 = whole["httptools"], whole["h11"]
    if _settled(httptools) != _settled(h11):
        assert any(one.applies(*httptools, *h11) for one in ALLOWED), (httptools, h11)


def _settled(found: tuple[Requests, bool]) -> tuple[Requests, bool]:
    """An outcome without what depends on when a fault was noticed: how much of an incomplete body was handed on."""
    requests, refused = found
    return [one if one["complete"] else {**one, "body": None} for one in requests], refused


def reads(data: bytes, sizes: Sequence[int] = ()) -> None:
    """A parser finds the same in one read as in reads of a single byte, to the last attribute of a head.

    The first read of a message is where a parser may take a shorter way; the second and later ones are where it cannot.
    """
    for parser in PARSERS:
        whole = _calls(parser, [data])
        for pieces in (list(cut(data, (0,))), list(cut(data, sizes))):
            again = _calls(parser, pieces)
            assert again[0] == whole[0], parser
            # Of two faults that one input may have, the other one may be met first; only limits look ahead.
            assert again[1] == whole[1] or {again[1], whole[1]} & TOO_LARGE, (parser, again[1], whole[1])


def _calls(parser: str, pieces: Sequence[bytes]) -> tuple[list[Any], int]:
    """Each request with everything that its head says, and the status of a refusal or 0."""
    inbound = Recorded()
    subject = PARSERS[parser](inbound, LIMITS)
    for piece in pieces:
        subject.feed(piece)
    idle = subject.idle
    found = [
        (*(getattr(head, name) for name in ATTRIBUTES), complete, complete and body)
        for head, body, complete in zip(inbound.heads, inbound.bodies, inbound.complete, strict=True)
    ]
    return [*found, idle and inbound.error is None], inbound.error.status if inbound.error else 0


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer behind the body; or at once (/1), or begin to (/2), or take the body later than it comes (/3)."""
    path = scope["path"]
    if path == "/2":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"early", "more_body": True})
    elif path == "/3":
        await turns(7)
    more = path != "/1"
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        more = event["more_body"]
    if path != "/2":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": path.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"."})


async def _converse(parser: str, pieces: Sequence[bytes], *, patient: bool) -> None:
    """Send `pieces`, and then the end of the stream; or, if `patient`, nothing, until the server has had enough."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    methods: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        methods.append(scope["method"])
        await _app(scope, receive, send)

    service = make_service(app, parser=parser, limits=LIMITS, pace=100)
    transport = connect(service)
    for piece in pieces:
        if transport.closed:
            break
        transport.feed(piece)
        await turns(2)
        while not transport.is_reading() and not transport.closed:
            await turns()  # the application takes everything, so reading goes on
    await turns(20)
    if patient:
        for _ in range(LONGEST):
            service.deadlines.advance()
            await turns(2)
        assert transport.closed, "held open for ever"
    elif not transport.closed:
        transport.feed_eof()
    await turns(20)
    if not transport.closed:
        transport.close()  # as the deadline of a lingering connection does
        await turns(3)
    assert not problems, problems
    assert not service.connections
    assert service.active == 0
    # The answer to a HEAD request has no body even where it is refused for what follows its head.
    found, _ = outcome(parser, pieces)
    heads = frozenset(number for number, one in enumerate(found) if one["method"] == "HEAD")
    written = bytes(transport.written)
    if transport.aborted and not transport.eof_written:
        # A response that had begun, to a request that turned out to be broken: its client can tell that it is cut off.
        assert b"/2" in b"".join(pieces)
        written = written[: max(0, written.rfind(b"HTTP/1.1 200 "))]
    answers = [one for one in read_responses(written, bodiless=heads) if one.status != 100]
    answered = [one for one in answers if one.status == 200]
    assert len(answered) <= len(methods)
    for refusal in answers[len(answered) :]:
        assert refusal is answers[-1], "something behind a refusal"
        assert refusal.status in REFUSALS or (patient and refusal.status == 408)
        assert refusal.fields["connection"] == "close"
    # The server goes on: another connection is served.
    other = connect(service)
    other.feed(b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n")
    await turns(5)
    assert other.written.startswith(b"HTTP/1.1 200 ")
    other.feed_eof()
    await turns(3)


def connection(data: bytes, sizes: Sequence[int] = ()) -> None:
    """A whole connection answers whatever comes as documented, or closes; and no exception is left over."""
    for parser in PARSERS:
        asyncio.run(_converse(parser, list(cut(data, sizes)), patient=len(data) % 2 == 1))


TARGETS: dict[str, Callable[[bytes, Sequence[int]], None]] = {
    "parsers": parsers,
    "reads": reads,
    "connection": connection,
    "websocket": websocket,
    "h2": h2,
}


def quiet() -> None:
    """Logging off: a refused request is no news to a fuzzer."""
    logging.disable(logging.CRITICAL)
    gc.freeze()
