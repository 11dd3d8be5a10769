"""What is fuzzed of HTTP/2: whatever comes, a connection answers in frames as documented, or closes; and the server goes on.

In one process, on a transport that a test drives by hand, so that reads end where the test says.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, redirect_stdout
from pathlib import Path
from typing import Any, cast

from pronghorn.net.first_bytes import FirstBytes
from pronghorn.net.http2 import Http2
from pronghorn.net.service import Service
from pronghorn.wire.limits import RequestLimits
from tests.conformance.h2 import goldens
from tests.conformance.h2.app import app
from tests.conformance.h2.goldens import Golden
from tests.conformance.pieces import cut
from tests.support.h2_frames import PREFACE, Code, request, settings
from tests.support.h2_reader import Reader
from tests.support.scripted import ScriptedTransport, make_service, turns

#: Codes that a connection, or a stream, may end with.
CODES = {
    Code.NO_ERROR,
    Code.PROTOCOL_ERROR,
    Code.FLOW_CONTROL_ERROR,
    Code.STREAM_CLOSED,
    Code.FRAME_SIZE_ERROR,
    Code.REFUSED_STREAM,
    Code.CANCEL,
    Code.COMPRESSION_ERROR,
    Code.ENHANCE_YOUR_CALM,
}
CORPUS = Path(__file__).parent / "corpus"

STATUSES = {200, 400, 403, 404, 405, 408, 413, 414, 431, 501, None}
#: Ticks that no connection outlives on which nothing comes any more.
LONGEST = 60


def connect(service: Service) -> ScriptedTransport:
    transport = ScriptedTransport()
    transport.connect(FirstBytes(service))  # an asyncio protocol by its methods
    return transport


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    """A service; behind the block nothing is left of any connection, and no exception that nobody has seen."""
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    limits = RequestLimits(body=100_000)
    service = make_service(cast("Any", app), limits=limits, http2=Http2(limits=limits, clear=True), pace=100)
    with redirect_stdout(io.StringIO()):  # what the application tells
        yield service
        await turns(20)
    assert not problems, problems
    assert not service.connections
    assert service.active == 0
    assert not service.tasks


async def feed(transport: ScriptedTransport, pieces: Iterable[bytes]) -> Reader:
    """Send the pieces, as long as somebody listens, and read what comes; what a client sends by itself goes the same way."""
    reader = Reader(reply=lambda data: None if transport.closed else transport.feed(data))
    seen = 0
    for piece in pieces:
        while not transport.is_reading() and not transport.closed:
            await turns()
        if transport.closed:
            break
        transport.feed(piece)
        await turns(1)
    for _ in range(200):
        await turns(2)
        written = bytes(transport.written[seen:])
        if not written:
            break
        seen += len(written)
        reader.feed(written)
    assert not reader.received, "half a frame"
    return reader


async def play(one: Golden, pieces: Iterable[bytes]) -> None:
    async with serving() as service:
        transport = connect(service)
        reader = await feed(transport, pieces)
        one.check(reader)
        assert transport.closed or transport.eof_written or not one.error
        if not transport.closed:
            transport.lose()


async def _converse(pieces: Iterable[bytes], *, patient: bool) -> None:
    async with serving() as service:
        transport = connect(service)
        reader = await feed(transport, pieces)
        if patient and not transport.is_closing():
            for _ in range(LONGEST):
                service.deadlines.advance()
                await turns(2)
            # /stay answers nothing while its client is there, which here it is for ever.
            assert transport.is_closing() or service.active, "held open for nothing"
        if not transport.closed:
            transport.feed_eof()
            await turns(20)
        assert transport.closed
        assert {one.error_code for one in reader.goaways} <= CODES
        for stream in reader.streams.values():
            assert stream.code is None or stream.code in CODES, stream
            assert stream.status in STATUSES, stream
        # The server goes on: another connection is served.
        other = connect(service)
        answered = await feed(other, [PREFACE + settings() + request(1)])
        assert answered.streams[1].status == 200
        other.lose()


def h2(data: bytes, sizes: Sequence[int] = ()) -> None:
    """A whole connection, behind the preface and SETTINGS unless it brings its own."""
    if not data.startswith(PREFACE[:3]):
        data = PREFACE + settings() + data
    asyncio.run(_converse(cut(data, sizes), patient=len(data) % 2 == 1))


def seeds() -> list[bytes]:
    """Where every fuzzer starts from: golden connections, and what others have found."""
    found = [one.raw for one in goldens.ALL if len(one.raw) < 4096]
    return found + [path.read_bytes() for path in sorted(CORPUS.glob("*"))]
