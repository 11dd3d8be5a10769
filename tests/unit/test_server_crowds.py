"""Thousands of connections that are slow, idle, broken off or half open: none of them costs the others anything.

The figures that these tests print are for people (``pytest -s``); what they assert is far from any of them.
"""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.process import PATIENCE, ServerProcess, serving
from tests.support.waiting import until

SERVED = ("--app-dir", str(Path(__file__).resolve().parent.parent / "support"), "--no-access-log")
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n"
KILOBYTE = 1024
# Knows how many connections there are in its process, dead ones that are held on to included.
SELF_AWARE = """
    import gc


    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        body = b"hello"
        if scope["path"] == "/connections":
            gc.collect()
            body = b"%d" % sum(type(item).__name__ == "H1Connection" for item in gc.get_objects())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""
#: Descriptors that a process needs beside its crowd.
SPARE = 200


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """As many descriptors as the machine allows, for this process and for the servers that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000 + SPARE
    if soft < wanted:
        with contextlib.suppress(ValueError):  # only root may have more than the hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def figures(text: str) -> None:
    sys.stdout.write(text + "\n")


class Crowd:
    """Many connections to one server; each sends `begin` at once, because to make all of them may take seconds."""

    def __init__(self, server: ServerProcess, size: int, begin: bytes = b"") -> None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        address = ("127.0.0.1", server.port)
        self.socks: dict[int, socket.socket] = {}
        self.poll = select.epoll()
        for _ in range(min(size, limit - SPARE)):
            sock = socket.create_connection(address, PATIENCE)
            sock.sendall(begin)
            sock.setblocking(False)
            self.socks[sock.fileno()] = sock
            self.poll.register(sock.fileno(), select.EPOLLIN)
        self.size = len(self.socks)
        #: What the server sent, and how many of the connections it has closed.
        self.received: dict[int, bytes] = dict.fromkeys(self.socks, b"")
        self.closed: set[int] = set()

    def send(self, data: bytes) -> None:
        for number, sock in self.socks.items():
            if number not in self.closed:
                with contextlib.suppress(ConnectionError):
                    sock.send(data)

    def listen(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> bool:
        """Take in what comes for so long, or until there is `enough`; whether there is."""
        end = time.monotonic() + seconds
        while not enough() and (left := end - time.monotonic()) > 0:
            for number, _ in self.poll.poll(left):
                try:
                    data = self.socks[number].recv(65_536)
                except ConnectionError:
                    data = b""
                if data:
                    self.received[number] += data
                else:
                    self.closed.add(number)
                    self.poll.unregister(number)
        return enough()

    def answered(self) -> int:
        return sum(map(bool, self.received.values()))

    def request(self) -> None:
        """One request on each, answered."""
        self.send(GET)
        assert self.listen(PATIENCE, lambda: self.answered() == self.size)

    def leave(self, *, reset: bool = False) -> None:
        for sock in self.socks.values():
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.poll.close()


@contextlib.contextmanager
def crowd(server: ServerProcess, size: int, begin: bytes = b"") -> Iterator[Crowd]:
    made = Crowd(server, size, begin)
    try:
        yield made
    finally:
        made.leave()


def idle_share(server: ServerProcess, seconds: float) -> float:
    """The share of one CPU that the server uses while nobody asks it for anything."""
    before, begun = kernel.cpu(server.pid), time.monotonic()
    time.sleep(seconds)
    return (kernel.cpu(server.pid) - before) / (time.monotonic() - begun)


def open_files(server: ServerProcess) -> int:
    return len(kernel.descriptors(server.pid))


def settle(server: ServerProcess, files: int) -> None:
    """Wait until the server has closed all that it opened since there were so many `files`."""
    until(lambda: open_files(server) <= files, "some stay open")


def slowest_of(server: ServerProcess, count: int) -> float:
    """Seconds that the slowest of so many requests took, each on a connection of its own."""
    slowest = 0.0
    for _ in range(count):
        begun = time.monotonic()
        assert server.get("/").text == "hello"
        slowest = max(slowest, time.monotonic() - begun)
    return slowest


@pytest.mark.parametrize(
    ("loop", "begin", "trickle"),
    [
        pytest.param("uvloop", GET[:1], GET[1:], id="uvloop-heads"),
        pytest.param("asyncio", GET[:1], GET[1:], id="asyncio-heads"),
        pytest.param("uvloop", POST, bytes(30), id="uvloop-bodies"),
    ],
)
def test_five_thousand_clients_of_one_byte_a_second(
    tmp_path: Path, loop: str, begin: bytes, trickle: bytes
) -> None:
    flags = (
        *("--loop", loop, "--timeout-header", "3", "--timeout-keep-alive", "3"),
        *("--timeout-body", "3", "--min-client-rate", "10"),
    )
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        usual = slowest_of(server, 50)
        files, before = open_files(server), server.memory()
        with crowd(server, 5_000, begin) as slow:
            begun, slowest, sent = time.monotonic(), 0.0, 0
            # The first byte starts the clock of a head, and no byte after it stops that. Of a body there has to be more.
            while len(slow.closed) < slow.size and time.monotonic() - begun < PATIENCE:
                slow.send(trickle[sent : sent + 1])
                sent += 1
                slowest = max(slowest, slowest_of(server, 10))
                slow.listen(0.8, lambda: len(slow.closed) == slow.size)
            lasted, most = time.monotonic() - begun, server.memory("VmHWM")
            assert len(slow.closed) == slow.size, "none of them outlives its deadline"
            assert sent < len(trickle), "and it was the deadline that ended them"
            # The answer may be lost to a client that goes on sending, but not to all of them.
            refused = sum(data.startswith(b"HTTP/1.1 408 ") for data in slow.received.values())
            assert refused > slow.size / 2
            assert not any(data and b" 408 " not in data for data in slow.received.values())
        each = (most - before) / slow.size
        figures(
            f"\n{slow.size} slow clients on {loop}: gone after {lasted:.1f} s, {refused} told 408, slowest other request"
            f" {slowest * 1e3:.0f} ms (alone {usual * 1e3:.0f} ms), {each / KILOBYTE:.1f} KiB each"
        )
        assert slowest < PATIENCE / 3, "others are served meanwhile"
        assert each < 64 * KILOBYTE
        settle(server, files)
        assert slowest_of(server, 50) < PATIENCE / 3


@LOOPS
def test_ten_thousand_idle_clients_cost_memory_alone(tmp_path: Path, loop: str) -> None:
    # Who was there first waits for the last one, and has sent nothing so far.
    flags = ("--loop", loop, "--timeout-keep-alive", "300", "--timeout-header", "300")
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        server.get("/")
        files, before = open_files(server), server.memory()
        with crowd(server, 10_000) as idle:
            idle.request()
            each = (server.memory() - before) / idle.size
            share = idle_share(server, 4)
            figures(
                f"\n{idle.size} idle clients on {loop}: {share:.2%} of a CPU, {each / KILOBYTE:.1f} KiB each"
            )
            assert not idle.closed
            assert share < 0.05
            assert each < 64 * KILOBYTE
            assert server.get("/").text == "hello"
        settle(server, files)


@LOOPS
def test_connections_that_are_reset_leave_nothing_behind(tmp_path: Path, loop: str) -> None:
    flags = ("--no-access-log", "--loop", loop, "--timeout-keep-alive", "3600")
    with serving(tmp_path, SELF_AWARE, *flags) as server:
        server.get("/")
        files, sizes = open_files(server), []
        for _ in range(5):
            many = Crowd(server, 1_000)
            many.request()
            many.leave(reset=True)
            settle(server, files)
            sizes.append(server.memory())
            # The one that asks. Which of them a number of open files was is not known.
            until(lambda: server.get("/connections").text == "1", "some are held on to")
        figures(f"\nreset connections on {loop}, MiB after each thousand: {[size >> 20 for size in sizes]}")
        # The first rounds fill the allocator's pools; were connections kept, all rounds together would add far more.
        assert sizes[-1] - sizes[1] < 4_000 * KILOBYTE


@LOOPS
def test_half_open_clients_turn_no_loop(tmp_path: Path, loop: str) -> None:
    flags = ("--loop", loop, "--timeout-header", "1", "--timeout-body", "1")
    parts = (b"", b"GET / HT", GET, b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        server.get("/")
        files = open_files(server)
        with crowd(server, 200) as half:
            for number, sock in enumerate(half.socks.values()):
                sock.send(parts[number % len(parts)])
                sock.shutdown(socket.SHUT_WR)
            share = idle_share(server, 2)
            figures(f"\n200 half-open clients on {loop}: {share:.2%} of a CPU")
            assert share < 0.25
            # Our end of each is still open, and the server's is not.
            settle(server, files)
        assert server.get("/").text == "hello"


@LOOPS
def test_out_of_descriptors_the_server_waits_and_does_not_spin(tmp_path: Path, loop: str) -> None:
    # asyncio logs a failing accept() with its traceback.
    with serving(tmp_path, "served:app", *SERVED, "--loop", loop, shameful=True) as server:
        server.get("/")
        files = open_files(server)
        hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (files + 10, hard))
        with crowd(server, 100):
            lines = len(server.stderr.so_far())
            share = idle_share(server, 3)
            told = len(server.stderr.so_far()) - lines
            figures(f"\nout of descriptors on {loop}: {share:.2%} of a CPU, {told} lines in 3 s")
            assert share < 0.25
            assert told < 200
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        until(server.serves, "it did not recover")
