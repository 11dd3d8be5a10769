"""Requests that leave when they are due, whatever became of those before them: an open loop.

A crowd does not wait for the server. A generator that sends its next request when the last one is answered does: the slower the server,
the less it is asked, and the worst moments are hardly looked at (coordinated omission). Here arrivals are drawn beforehand, as a Poisson
process of the wanted rate, from a seed; a request whose turn has come takes an idle connection or opens one; and each latency counts from
the moment that the request was due, so that what this generator is late by is in the figure and not hidden. How late it was, and how much of
its processor it took, is counted as well (`Result.late`, `Result.busy`): whoever reads a figure can tell whether the generator made it.

One process with one epoll and no library, because that is what costs least; more of them where one is too slow (`drive`).
Each sends the same few requests, made once, in the name of many clients: a proxy that trusts this machine takes each for one of its own.
"""

from __future__ import annotations

import array
import contextlib
import errno
import gc
import random
import re
import resource
import select
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any, Final
from urllib.parse import urlsplit

#: Fates that are no status: no connection, one that ended before the answer did, no whole answer within the patience.
REFUSED, BROKEN, GAVE_UP = 1, 2, 3
FATES: Final = {REFUSED: "no connection", BROKEN: "broken off", GAVE_UP: "gave up waiting"}

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *\d", re.IGNORECASE)
#: Statuses of one who has too much to do, and who should say when to come again.
BUSY: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. `paths` are asked for in turn, by chance. `clients` is how many there seem to be, 0 for the one that there is."""

    host: str
    port: int
    name: str = "localhost"
    paths: tuple[str, ...] = ("/",)
    clients: int = 0

    @classmethod
    def of(cls, url: str, paths: Sequence[str] = (), clients: int = 0) -> Target:
        """What a URL names. Raises `ValueError` where that is not http://host[:port][/path]."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"{url} is not like http://host:port")
        found = tuple(paths) or (parts.path or "/",)
        return cls(parts.hostname, parts.port or 80, parts.netloc, found, clients)

    def requests(self) -> list[bytes]:
        """Every request there is, to choose from."""
        names = [
            f"X-Forwarded-For: 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}\r\n"
            for number in range(1, self.clients + 1)
        ]
        return [
            f"GET {path} HTTP/1.1\r\nHost: {self.name}\r\nAccept: */*\r\n{name}\r\n".encode("ascii")
            for path in self.paths
            for name in names or [""]
        ]


@dataclass(slots=True)
class Result:
    """What became of the requests of some seconds. Three numbers for each: seconds from the start to when it was due, seconds from then to its
    end, and the status or fate.
    """

    seconds: float
    due: array.array[float] = field(default_factory=lambda: array.array("d"))
    took: array.array[float] = field(default_factory=lambda: array.array("d"))
    fate: array.array[int] = field(default_factory=lambda: array.array("H"))
    #: By how many seconds requests left later than they were due.
    late: array.array[float] = field(default_factory=lambda: array.array("d"))
    #: The share of a processor that the generator took, the busiest of them.
    busy: float = 0.0
    #: Answers with a status of `BUSY` that did not say when to come again.
    silent: int = 0
    opened: int = 0

    def add(self, other: Result) -> None:
        """Take in what another generator has seen of the same seconds."""
        self.due += other.due
        self.took += other.took
        self.fate += other.fate
        self.late += other.late
        self.busy = max(self.busy, other.busy)
        self.silent += other.silent
        self.opened += other.opened

    def between(self, begin: float, end: float) -> Result:
        """Those that were due in these seconds."""
        found = Result(end - begin, late=self.late, busy=self.busy, silent=self.silent)
        for due, took, fate in zip(self.due, self.took, self.fate, strict=True):
            if begin <= due < end:
                found.due.append(due - begin)
                found.took.append(took)
                found.fate.append(fate)
        return found

    def latencies(self, wanted: Callable[[int], bool]) -> list[float]:
        """Seconds, sorted, of those whose status or fate is wanted."""
        return sorted(took for took, fate in zip(self.took, self.fate, strict=True) if wanted(fate))

    @property
    def fates(self) -> Counter[int]:
        return Counter(self.fate)


def served(fate: int) -> bool:
    """A right answer."""
    return 200 <= fate < 400


def quantile(values: Sequence[float], share: float) -> float:
    """Of sorted values, the one that `share` of them do not exceed; nan of none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


@dataclass(frozen=True, slots=True)
class Phase:
    """So many requests a second for so many seconds."""

    rate: float
    seconds: float


def arrivals(phases: Sequence[Phase], seed: int) -> Iterator[float]:
    """When the requests of these phases, one after the other, are due: a Poisson process of each one's rate."""
    chance = random.Random(seed)
    begin = 0.0
    for phase in phases:
        end = begin + phase.seconds
        if phase.rate:
            # What is due after the end belongs to another rate: the next phase draws anew, which a Poisson process allows.
            due = begin + chance.expovariate(phase.rate)
            while due < end:
                yield due
                due += chance.expovariate(phase.rate)
        begin = end


class _Connection:
    """A connection and the request that it carries, if any."""

    __slots__ = ("buffer", "carried", "due", "left", "request", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.request: bytes | None = None
        self.due = 0.0
        #: How many requests it has carried.
        self.carried = 0
        self.buffer = b""
        #: Bytes that are missing of a body whose head was read; None before that, -1 where only its last chunk tells the end.
        self.left: int | None = None


class Generator:
    """One process of load, for one run. `patience` is how many seconds a client waits for its answer."""

    def __init__(self, target: Target, patience: float, seed: int) -> None:
        self._patience, self._seed = patience, seed
        self._requests = target.requests()
        self._address: Any
        family, kind, _, _, self._address = socket.getaddrinfo(
            target.host, target.port, type=socket.SOCK_STREAM
        )[0]
        self._socket = (family, kind)
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        #: In the order in which they are due, which is that in which patience ends.
        self._asked: deque[tuple[float, _Connection, int]] = deque()
        self._under_way = 0
        self._start = 0.0
        self._status = 0
        self._closing = False

    def run(self, phases: Sequence[Phase], start: float | None = None) -> Result:
        """The load, until the last request has its fate. `start` is when it begins, by the monotonic clock."""
        result = self._result = Result(sum(phase.seconds for phase in phases))
        chance = random.Random(self._seed + 1)
        now, poll = time.monotonic, self._poll
        self._start = start = now() if start is None else start
        time.sleep(max(0.0, start - now()))
        began, cpu = now(), time.process_time()
        schedule = arrivals(phases, self._seed)
        due = next(schedule, None)
        busy_until = start + result.seconds
        while due is not None or self._under_way:
            elapsed = now() - start
            while due is not None and due <= elapsed:
                result.late.append(elapsed - due)
                self._send(due, chance.choice(self._requests))
                due = next(schedule, None)
                elapsed = now() - start
            self._give_up(elapsed)
            if due is not None:
                self._sleep(min(due - elapsed, 0.1))
            for fd, events in poll.poll(0 if due is not None else 0.05):
                self._on_event(self._connections[fd], events)
            if busy_until and now() >= busy_until:
                # What comes later is waiting for the last answers, which says nothing about the load.
                result.busy, busy_until = (time.process_time() - cpu) / (now() - began), 0.0
        for connection in list(self._connections.values()):
            self._drop(connection)
        poll.close()
        return result

    def _sleep(self, seconds: float) -> None:
        # epoll_wait(2) counts in milliseconds, which is what many an answer takes; select(2) on the epoll counts in microseconds.
        if seconds > 0:
            select.select([self._poll], [], [], seconds)

    # ---- Requests ----

    def _send(self, due: float, request: bytes) -> None:
        connection = self._idle.pop() if self._idle else self._open()
        if connection is None:
            self._count(due, REFUSED)
            return
        connection.due = due
        self._asked.append((due + self._patience, connection, connection.carried))
        self._under_way += 1
        if connection.request is None and connection.carried:
            self._write(connection, request)
        else:
            connection.request = request

    def _write(self, connection: _Connection, request: bytes) -> None:
        connection.request = request
        try:
            connection.sock.send(request)  # a few hundred bytes, to a peer that has read all before
        except OSError:
            self._fail(connection, BROKEN)

    def _give_up(self, elapsed: float) -> None:
        """Of those whose patience has ended."""
        asked = self._asked
        while asked and asked[0][0] <= elapsed:
            _, connection, number = asked.popleft()
            if connection.request is not None and connection.carried == number:
                self._fail(connection, GAVE_UP)

    def _fail(self, connection: _Connection, fate: int) -> None:
        self._under_way -= 1
        connection.request = None
        self._count(connection.due, fate)
        self._drop(connection)

    def _count(self, due: float, fate: int) -> None:
        self._result.due.append(due)
        self._result.took.append(time.monotonic() - self._start - due)
        self._result.fate.append(fate)

    # ---- Connections ----

    def _open(self) -> _Connection | None:
        try:
            sock = socket.socket(*self._socket)
        except OSError:  # out of descriptors
            return None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            sock.close()
            return None
        connection = _Connection(sock)
        self._connections[sock.fileno()] = connection
        self._poll.register(sock.fileno(), select.EPOLLOUT)
        self._result.opened += 1
        return connection

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.sock.fileno(), None) is not None:
            connection.sock.close()

    def _on_event(self, connection: _Connection, events: int) -> None:
        if events & select.EPOLLOUT:
            self._connected(connection)
            return
        try:
            data = connection.sock.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        request = connection.request
        if request is None:
            # An idle one that its peer closes, as it may.
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)
            self._drop(connection)
        elif not data:
            self._fail(connection, BROKEN)
        elif self._complete(connection, data):
            self._under_way -= 1
            self._count(connection.due, self._status)
            connection.request, connection.buffer, connection.left = None, b"", None
            connection.carried += 1
            if self._closing:
                self._drop(connection)
            else:
                self._idle.append(connection)

    def _connected(self, connection: _Connection) -> None:
        request = connection.request
        assert request is not None
        if connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._fail(connection, REFUSED)
            return
        self._poll.modify(connection.sock.fileno(), select.EPOLLIN)
        self._write(connection, request)

    def _complete(self, connection: _Connection, data: bytes) -> bool:
        """Whether all of the answer is there now."""
        if connection.left is None:
            connection.buffer = data = connection.buffer + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = data[: end + 2]
            self._status = status = int(head[9:12])
            self._closing = _CLOSE.search(head) is not None
            if status in BUSY and not _RETRY_AFTER.search(head):
                self._result.silent += 1
            length = _LENGTH.search(head)
            data = data[end + 4 :]
            connection.left = int(length[1]) if length else -1 if _CHUNKED.search(head) else 0
            connection.buffer = b""
        if connection.left < 0:
            connection.buffer = data = (connection.buffer + data)[-5:]
            return data.endswith(b"0\r\n\r\n")
        connection.left -= len(data)
        return connection.left <= 0


def _one(target: Target, phases: Sequence[Phase], patience: float, seed: int, start: float) -> Result:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Nothing here makes cycles, and a collection would be a pause.
    gc.collect()
    gc.disable()
    try:
        return Generator(target, patience, seed).run(phases, start)
    finally:
        gc.enable()


def drive(
    target: Target, phases: Sequence[Phase], *, patience: float = 5.0, generators: int = 1, seed: int = 1
) -> Result:
    """The load of these phases, by so many processes: parts of a Poisson process are such processes themselves."""
    if generators == 1:
        return _one(target, phases, patience, seed, time.monotonic())
    parts = [Phase(phase.rate / generators, phase.seconds) for phase in phases]
    with ProcessPoolExecutor(generators, get_context("spawn")) as pool:
        # Time for all of them to be there.
        start = time.monotonic() + 1.0
        asked = [
            pool.submit(_one, target, parts, patience, seed + 2 * number, start)
            for number in range(generators)
        ]
        whole, *others = [one.result() for one in asked]
    for other in others:
        whole.add(other)
    return whole
