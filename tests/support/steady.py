"""A constant, bounded load from a client that counts every answer.

    async with Steady(("127.0.0.1", port), Load(fresh=40)) as steady:
        os.kill(worker, signal.SIGKILL)
        await asyncio.sleep(3)
    print(steady.counts())

Requests leave on a schedule, whatever became of those before them (an open loop): a late answer does not slow the next
request down, and each latency is counted from the moment that the request was due. Nothing is ever sent a second time, which is
why this is no HTTP library: a retry behind our back would hide what is counted here.

What a request comes to is exactly one `Fate`. A connection that the server closes between two requests is opened anew, and
that is nobody's failure. RFC 9112 §9.3.1 lets a client send a request again when a reused connection ended before a byte of
the answer: that still is a failure here, but one with a name of its own, `RETRIABLE`.

The application answers with its process id, the number of the request and the bytes it read as body (drill_app.py).
"""

from __future__ import annotations

import asyncio
import enum
import errno
import itertools
import math
import re
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

Address = tuple[str, int] | Path

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_FRAMED = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n", re.IGNORECASE)
_CLOSING = re.compile(rb"\r\nconnection: *close *\r\n", re.IGNORECASE)
#: Pieces of an upload, and the pause between two: long enough that an event falls into some of them.
_PIECES, _PAUSE = 4, 0.05


class Fate(enum.StrEnum):
    """What became of a request."""

    ANSWERED = "answered"
    WRONG = "wrong answer"  # another status than 2xx, or another body
    REFUSED = "refused"  # no connection
    UNANSWERED = "unanswered"  # written to a new connection, which ended before a byte of the answer
    RETRIABLE = "unanswered on a reused connection"
    BROKEN = "broken off"  # in the middle of the answer
    TIMEOUT = "timed out"


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: requests a second of each kind. Seconds for `timeout` and `slow_for`, bytes for `upload_size`."""

    kept: float = 150.0
    fresh: float = 40.0
    slow: float = 5.0
    uploads: float = 5.0
    connections: int = 8
    slow_for: float = 1.0
    upload_size: int = 40_000
    timeout: float = 8.0

    @property
    def rate(self) -> float:
        """Requests a second, all kinds together."""
        return self.kept + self.fresh + self.slow + self.uploads


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that got no right answer. Times are of the monotonic clock, `sent` is inf without a connection.

    `port` is the client's, `worker` who answered on that connection before; 0 where it is not known.
    """

    fate: Fate
    kind: str
    due: float
    sent: float
    ended: float
    port: int
    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Counts:
    """What a load came to. Times in seconds; `lag` is how late this client itself was at worst, for a reader to judge by."""

    sent: int
    fates: Counter[Fate]
    failures: tuple[Failure, ...]
    longest_gap: float
    latencies: Sequence[float]
    lag: float
    reopened: int
    workers: Counter[int]

    @property
    def answered(self) -> int:
        return self.fates[Fate.ANSWERED]

    @property
    def failed(self) -> int:
        return self.fates.total() - self.answered

    @property
    def worst(self) -> float:
        """The longest that a right answer took, from the moment its request was due."""
        return max(self.latencies, default=0.0)

    def __str__(self) -> str:
        kinds = ", ".join(
            f"{count} {fate}" for fate, count in self.fates.items() if fate is not Fate.ANSWERED
        )
        return (
            f"{self.sent} sent, {self.answered} answered by {len(self.workers)} workers, {self.failed} failed"
            f"{f' ({kinds})' if kinds else ''}; longest gap {self.longest_gap * 1000:.0f} ms, worst latency "
            f"{self.worst * 1000:.0f} ms, client late by {self.lag * 1000:.0f} ms at most"
        )


class Connection(asyncio.Protocol):
    """One connection and at most one request on it at a time."""

    def __init__(self) -> None:
        self.answers = 0
        self.worker = 0
        self.port = 0
        self.pooled = False
        self.ended = False
        self.why = ""
        self.received = b""
        self._transport: asyncio.Transport | None = None
        self._changed: asyncio.Future[None] | None = None

    # ---- What the loop calls ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        name = transport.get_extra_info("sockname")
        self.port = name[1] if isinstance(name, tuple) else 0

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._wake()

    def eof_received(self) -> None:
        self._end("closed")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(type(exc).__name__ if exc is not None else "closed")

    def _end(self, why: str) -> None:
        self.ended, self.why = True, self.why or why
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    # ---- What a request calls ----

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: it is open, and nothing came that nobody asked for."""
        return not (self.ended or self.received)

    def write(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def _until(self, enough: Callable[[], bool]) -> bool:
        """Wait for more until it is enough; False when the connection ended before."""
        while not enough():
            if self.ended:
                return False
            self._changed = asyncio.get_running_loop().create_future()
            await self._changed
        return True

    async def answer(self) -> tuple[int, bytes, bool] | None:
        """Status, body and whether the connection may be used again; None when it ended before all of it was there."""
        if not await self._until(lambda: b"\r\n\r\n" in self.received):
            return None
        head, _, _ = self.received.partition(b"\r\n\r\n")
        start, framed = len(head) + 4, _FRAMED.search(head + b"\r\n")
        if framed is None:
            # Without a length the end of the connection is the end of the body, and chunks do not occur here.
            await self._until(lambda: False)
            body, reusable = self.received[start:], False
        else:
            size = int(framed[1])
            if not await self._until(lambda: len(self.received) >= start + size):
                return None
            body, self.received = self.received[start : start + size], self.received[start + size :]
            reusable = _CLOSING.search(head + b"\r\n") is None
        self.answers += 1
        status = _STATUS.match(head)
        return int(status[1]) if status else 0, body, reusable


@dataclass(slots=True)
class Request:
    """One request while it is under way."""

    kind: str
    number: int
    due: float
    size: int = 0
    sent: float = math.inf
    port: int = 0
    worker: int = 0
    why: str = ""

    def head(self, target: str, closing: bool) -> bytes:
        lines = [f"{'POST' if self.size else 'GET'} {target} HTTP/1.1", "Host: localhost"]
        if self.size:
            lines.append(f"Content-Length: {self.size}")
        if closing:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


@dataclass
class Steady:
    """The load, from entering the block until it is left, when the requests under way are waited for."""

    address: Address
    load: Load = field(default_factory=Load)

    def __post_init__(self) -> None:
        self._sent = 0
        self._fates: Counter[Fate] = Counter()
        self._failures: list[Failure] = []
        self._latencies: list[float] = []
        self._workers: Counter[int] = Counter()
        self._idle: deque[Connection] = deque()
        self._in_pool = 0
        self._reopened = 0
        self._lag = 0.0
        self._gap = 0.0
        self._last = 0.0
        self._leaving = False
        self._schedules: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._troubles: list[BaseException] = []

    async def __aenter__(self) -> Self:
        begun = self._last = time.monotonic()
        kinds: list[tuple[str, float, Callable[[Request], Awaitable[Fate]]]] = [
            ("kept", self.load.kept, self._kept),
            ("fresh", self.load.fresh, self._fresh),
            ("slow", self.load.slow, self._slow),
            ("upload", self.load.uploads, self._upload),
        ]
        self._schedules = [
            asyncio.create_task(self._schedule(kind, rate, begun, run)) for kind, rate, run in kinds if rate
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._succeeded_last(time.monotonic())
        self._leaving = True
        for task in self._schedules:
            task.cancel()
        # Each of them has its timeout.
        await asyncio.gather(*self._schedules, *self._under_way, return_exceptions=True)
        for connection in self._idle:
            connection.close()
        self._troubles += [
            trouble for task in self._schedules if not task.cancelled() and (trouble := task.exception())
        ]
        # A defect of this client must not pass for an answer.
        if self._troubles:
            raise self._troubles[0]
        assert self._fates.total() == self._sent, "a request without a fate"

    def counts(self) -> Counts:
        """What it came to so far; only after the block has every request its fate."""
        return Counts(
            sent=self._sent,
            fates=Counter(self._fates),
            failures=tuple(self._failures),
            longest_gap=self._gap,
            latencies=tuple(self._latencies),
            lag=self._lag,
            reopened=self._reopened,
            workers=Counter(self._workers),
        )

    # ---- The schedule ----

    async def _schedule(
        self, kind: str, rate: float, begun: float, run: Callable[[Request], Awaitable[Fate]]
    ) -> None:
        for turn in itertools.count():
            due = begun + turn / rate
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            self._lag = max(self._lag, time.monotonic() - due)
            self._sent += 1
            task = asyncio.create_task(self._one(Request(kind, self._sent, due), run))
            self._under_way.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if trouble := task.exception():
            self._troubles.append(trouble)

    async def _one(self, request: Request, run: Callable[[Request], Awaitable[Fate]]) -> None:
        try:
            async with asyncio.timeout_at(request.due + self.load.timeout):
                fate = await run(request)
        except TimeoutError:
            fate = Fate.TIMEOUT
        now = time.monotonic()
        self._fates[fate] += 1
        if fate is Fate.ANSWERED:
            self._latencies.append(now - request.due)
            self._workers[request.worker] += 1
            if not self._leaving:
                self._succeeded_last(now)
        else:
            self._failures.append(
                Failure(
                    fate,
                    request.kind,
                    request.due,
                    request.sent,
                    now,
                    request.port,
                    request.worker,
                    request.why,
                )
            )

    def _succeeded_last(self, now: float) -> None:
        self._gap, self._last = max(self._gap, now - self._last), now

    # ---- The kinds ----

    async def _kept(self, request: Request) -> Fate:
        return await self._ask(request, "/", await self._pooled(request))

    async def _fresh(self, request: Request) -> Fate:
        return await self._ask(request, "/", await self._open(request), closing=True)

    async def _slow(self, request: Request) -> Fate:
        return await self._ask(request, f"/slow?for={self.load.slow_for}", await self._either(request))

    async def _upload(self, request: Request) -> Fate:
        request.size = self.load.upload_size
        return await self._ask(request, "/", await self._either(request))

    async def _either(self, request: Request) -> Connection | None:
        return await (self._pooled(request) if request.number % 2 else self._open(request))

    # ---- Connections ----

    async def _pooled(self, request: Request) -> Connection | None:
        """The pool's connection that has been idle for longest, so that all are used in turn; a new one while it is not full.

        When all are in use it is one more, for this request alone: the schedule waits for nobody.
        """
        while self._idle and not self._idle[0].usable:
            self._idle.popleft().close()
            self._in_pool -= 1
            self._reopened += 1
        if self._in_pool >= self.load.connections:
            return self._idle.popleft() if self._idle else await self._open(request)
        self._in_pool += 1
        connection = None
        try:
            connection = await self._open(request)
        finally:
            if connection is None:
                self._in_pool -= 1
            else:
                connection.pooled = True
        return connection

    def _release(self, connection: Connection, again: bool) -> None:
        """It goes back to the pool it came from, or it is closed."""
        if connection.pooled and again and connection.usable:
            self._idle.append(connection)
            return
        connection.close()
        self._in_pool -= connection.pooled

    async def _open(self, request: Request) -> Connection | None:
        loop = asyncio.get_running_loop()
        try:
            if isinstance(self.address, Path):
                _, connection = await loop.create_unix_connection(Connection, str(self.address))
            else:
                _, connection = await loop.create_connection(Connection, *self.address)
        except OSError as error:
            request.why = errno.errorcode.get(error.errno or 0, str(error))
            return None
        return connection

    async def _ask(
        self, request: Request, target: str, connection: Connection | None, *, closing: bool = False
    ) -> Fate:
        if connection is None:
            return Fate.REFUSED
        request.port, request.worker = connection.port, connection.worker
        request.sent = time.monotonic()
        reused = connection.answers > 0
        again = False
        try:
            number = f"{'&' if '?' in target else '?'}n={request.number}"
            connection.write(request.head(target + number, closing))
            if request.size:
                await self._send_body(request.size, connection)
            answer = await connection.answer()
            if answer is None:
                request.why = connection.why
                untouched = not connection.received
                return Fate.BROKEN if not untouched else Fate.RETRIABLE if reused else Fate.UNANSWERED
            status, body, again = answer
            fields = body.split()
            expected = [b"%d" % request.number, b"%d" % request.size]
            if (
                not 200 <= status < 300
                or len(fields) != 3
                or fields[1:] != expected
                or not fields[0].isdigit()
            ):
                request.why, again = f"{status} {body[:80]!r}", False
                return Fate.WRONG
            request.worker = connection.worker = int(fields[0])
            return Fate.ANSWERED
        finally:
            self._release(connection, again and not closing)

    async def _send_body(self, size: int, connection: Connection) -> None:
        piece = -(-size // _PIECES)
        for start in range(0, size, piece):
            if start:
                # An answer that comes early is read all the same.
                await asyncio.sleep(_PAUSE)
            if connection.ended:
                return
            connection.write(b"x" * min(piece, size - start))
