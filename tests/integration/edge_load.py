"""Constant load through the edge while something happens to it: what was sent, what failed, and the longest gap between two answers.

A client of HTTP/1.1 that sends a request on a connection which the server is closing asks again on another one (RFC 9112, section
9.3.1), as browsers do; how often it had to is counted, and is no failure. It does so for GET alone.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.integration.sockets import connect
from tests.integration.stack import Stack

UPLOAD = bytes(200_000)
#: Between two requests of one client: enough of them to meet any gap, few enough for a machine with two cores.
PAUSE = 0.01
#: How often each kind of client is answered before and after.
ENOUGH = 5
#: What becomes of a request on a connection that the server is closing: it may be noticed while it is sent as well as afterwards.
CLOSING = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
#: The server says of itself that it goes: RFC 6455, section 7.4.1.
GOING_AWAY = 1001


class Refused(Exception):
    """An answer that is not the one that was wanted, with the id that names the request in every log."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status, headers.get("x-request-id", "without an id"))


class BrokenOff(Exception):
    """What had begun, a stream or a WebSocket, ended before its time; with the error, and the same id."""

    def __init__(self, error: Exception, headers: Mapping[str, str]) -> None:
        super().__init__(type(error).__name__, headers.get("x-request-id", "without an id"))


def served(answer: httpx.Response) -> httpx.Response:
    """The answer, which has to be 200."""
    if answer.status_code != 200:
        raise Refused(answer.status_code, answer.headers)
    return answer


@dataclass
class Row:
    """What one kind of client has seen."""

    kind: str
    sent: int = 0
    asked_again: int = 0
    failures: list[str] = field(default_factory=list)
    gap: float = 0.0
    #: When it was answered again after the last failure, by the monotonic clock; inf while it is not, 0 where nothing failed.
    recovered: float = 0.0

    def __str__(self) -> str:
        counted = f"{self.sent:6} sent {len(self.failures):4} failed {self.asked_again:4} asked again"
        return f"{self.kind:12} {counted} {self.gap * 1000:7.0f} ms longest gap"


class Load:
    def __init__(self, stack: Stack, trust: ssl.SSLContext) -> None:
        self.base, self.trust = stack.tls_url, trust
        self.socket = f"wss://127.0.0.1:{stack.tls_port}/echo"
        self.over = asyncio.Event()
        self.rows: list[Row] = []
        self.answered: asyncio.Queue[str] = asyncio.Queue()

    def client(self, *, http2: bool = False) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.base, verify=self.trust, http1=not http2, http2=http2, timeout=30
        )

    async def repeat(self, kind: str, ask: Callable[[Row], Awaitable[None]]) -> None:
        """One after the other until it is over; what fails is remembered, and goes on."""
        row = Row(kind)
        self.rows.append(row)
        last = time.monotonic()
        while not self.over.is_set():
            row.sent += 1
            try:
                await ask(row)
            except Exception as error:  # noqa: BLE001 - whatever it is, a client has seen it
                row.failures.append(repr(error))
                row.recovered = math.inf
            else:
                now = time.monotonic()
                row.gap, last = max(row.gap, now - last), now
                if row.recovered == math.inf:
                    row.recovered = now
            self.answered.put_nowait(kind)
            await asyncio.sleep(PAUSE)

    async def more(self) -> None:
        """Until each kind of client has been answered a few times more."""
        self.answered = asyncio.Queue()
        counts: Counter[str] = Counter()
        async with asyncio.timeout(60):
            while len(counts) < len(self.clients()) or min(counts.values()) < ENOUGH:
                counts[await self.answered.get()] += 1

    def clients(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        """One of every kind."""
        return [
            partial(self.kept, "keep-alive", http2=False),
            partial(self.kept, "HTTP/2", http2=True),
            self.fresh,
            self.uploads,
            self.events,
            self.sockets,
        ]

    async def kept(self, kind: str, *, http2: bool) -> None:
        async with self.client(http2=http2) as client:

            async def ask(row: Row) -> None:
                try:
                    answer = await client.get("/process")
                except CLOSING:
                    row.asked_again += 1
                    answer = await client.get("/process")
                served(answer)

            await self.repeat(kind, ask)

    async def fresh(self) -> None:
        async def ask(_: Row) -> None:
            async with self.client() as client:
                served(await client.get("/process", headers={"Connection": "close"}))

        await self.repeat("fresh", ask)

    async def uploads(self) -> None:
        async def ask(_: Row) -> None:
            async with self.client() as client:
                answer = served(await client.post("/upload", content=UPLOAD))
            assert answer.json()["length"] == len(UPLOAD)

        await self.repeat("uploads", ask)

    async def events(self) -> None:
        """Streams of three events, of which each is asked for when the one before has come."""

        async def ask(_: Row) -> None:
            gate = secrets.token_hex(4)
            async with self.client() as client, client.stream("GET", f"/stream?sse=1&gate={gate}") as answer:
                pieces = answer.aiter_text()
                for number in range(3):
                    if number:
                        async with self.client() as other:
                            served(await other.get(f"/step?gate={gate}"))
                    assert await anext(pieces) == f"data: {number}\n\n"

        await self.repeat("events", ask)

    async def sockets(self) -> None:
        """One that stays open all the time."""
        async with connect(self.socket, ssl=self.trust) as opened:

            async def ask(row: Row) -> None:
                await opened.send(str(row.sent))
                assert await opened.recv() == str(row.sent)

            await self.repeat("websocket", ask)


class Returning(Load):
    """Clients of what stays open come back when the server says that it goes: that is asked again, and no failure."""

    async def events(self) -> None:
        """A stream without an end, of which each event is an answer."""
        pieces: AsyncIterator[str] | None = None
        async with self.client() as client:

            async def pieces_of(answer: httpx.Response) -> AsyncIterator[str]:
                try:
                    async for piece in answer.aiter_text():
                        yield piece
                except httpx.HTTPError as error:
                    raise BrokenOff(error, answer.headers) from None

            async def ask(row: Row) -> None:
                nonlocal pieces
                if pieces is not None:
                    current, pieces = pieces, None  # should this one fail, the next is another one
                    async for piece in current:
                        assert piece.startswith("data: more\n\n")
                        pieces = current
                        return
                    row.asked_again += 1
                request = client.build_request("GET", "/events")
                answer = await client.send(request, stream=True)
                if answer.status_code != 200:
                    await answer.aclose()
                pieces = pieces_of(served(answer))

            await self.repeat("events", ask)

    async def sockets(self) -> None:
        opened: ClientConnection | None = None

        async def ask(row: Row) -> None:
            """One that was opened a moment ago may be broken off, or told to go, as well as any other."""
            nonlocal opened
            while True:
                current, opened = opened or await self.enter(), None
                try:
                    await self.say(current, row)
                except ConnectionClosed as closed:
                    if closed.rcvd is None or closed.rcvd.code != GOING_AWAY:
                        assert current.response is not None
                        raise BrokenOff(closed, current.response.headers) from None
                    row.asked_again += 1
                else:
                    opened = current
                    return

        await self.repeat("websocket", ask)
        if opened is not None:
            await opened.close()

    async def enter(self) -> ClientConnection:
        try:
            return await connect(self.socket, ssl=self.trust)
        except InvalidStatus as refused:
            raise Refused(refused.response.status_code, refused.response.headers) from None

    @staticmethod
    async def say(opened: ClientConnection, row: Row) -> None:
        await opened.send(str(row.sent))
        assert await opened.recv() == str(row.sent)


@asynccontextmanager
async def constant_load(
    stack: Stack, trust: ssl.SSLContext, kind: type[Load] = Load
) -> AsyncIterator[list[Row]]:
    """While this lasts, clients of every kind ask; each has been answered before it begins, and after it has ended."""
    load = kind(stack, trust)
    async with asyncio.TaskGroup() as group:
        for asking in load.clients():
            group.create_task(asking())
        await load.more()
        yield load.rows
        await load.more()
        load.over.set()
