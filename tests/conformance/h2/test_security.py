"""The rows of design/security.md about HTTP/2 that are floods and bombs: bounded in frames, in memory, and for everybody else.

What a single frame or message gets is in the table of cases. What each attack has cost is printed at the end of the run.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hyperframe.frame import DataFrame

from tests.conformance.h2.conftest import COSTS, Subject, started
from tests.conformance.h2.floods import BOUND, FLOODS, Flood
from tests.support.h2_frames import (
    LARGEST_WINDOW,
    Code,
    Setting,
    block,
    continuation,
    data,
    head,
    headers,
    literal,
    ping,
    request,
    reset,
)
from tests.support.h2_raw_client import Client
from tests.support.process import ServerProcess

MEGABYTE = 1 << 20
#: Resident memory that an attack may add. The kernel takes none of it back at once, so it is the most that there was.
MEMORY = 24 * MEGABYTE


def processor_time(server: ServerProcess) -> float:
    """Seconds that the server's thread has computed for."""
    return int(Path(f"/proc/{server.pid}/schedstat").read_text("ascii").split()[0]) / 1e9


@dataclass
class Watch:
    """What a server has spent since the beginning of an attack, and a client of it that behaves."""

    subject: Subject
    other: Client
    memory: int = 0
    seconds: float = 0.0
    frames: int = 0

    def __post_init__(self) -> None:
        self.serve()
        self.memory = self.subject.server.memory()
        self.seconds = processor_time(self.subject.server)

    def serve(self) -> None:
        """The other client is served."""
        assert self.other.get().status == 200

    def grown(self) -> int:
        return self.subject.server.memory() - self.memory

    def spent(self) -> float:
        return processor_time(self.subject.server) - self.seconds


@contextlib.contextmanager
def watched(subject: Subject, request: pytest.FixtureRequest) -> Iterator[Watch]:
    """Behind the block, the other client is served still, and the memory is bounded; the costs are told at the end."""
    with subject.connect() as other:
        watch = Watch(subject, other)
        yield watch
        watch.serve()
        grown = watch.grown()
        costs = f"{watch.spent() * 1000:7.1f} ms of a processor, {grown / MEGABYTE:+6.1f} MiB"
        if watch.frames:
            costs += f", {watch.frames:6} frames"
        request.config.stash.setdefault(COSTS, []).append((request.node.name, costs))
        assert grown < MEMORY, f"{grown / MEGABYTE:.1f} MiB"


def readable(client: Client) -> bool:
    return bool(select.select([client.sock], [], [], 0)[0])


def drain(client: Client) -> bool:
    """Read what is there; False once the connection is over."""
    while not client.error and readable(client):
        if client.read() is None:
            return False
    return not client.error


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A server of its own for each, because memory is looked at."""
    with started("--no-access-log") as subject:
        yield subject


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.id)
def test_a_flood(subject: Subject, flood: Flood, request: pytest.FixtureRequest) -> None:
    """The connection is over after a bounded number of frames, which a client that behaves does not notice."""
    batch = 100
    with watched(subject, request) as watch, subject.connect() as client:
        # Settings are acknowledged: nothing of ours comes between the frames of a block.
        assert client.barrier()
        client.send(flood.opening)
        sent = 0
        while sent * flood.frames < BOUND and drain(client):
            if not client.send(*(flood.unit(number) for number in range(sent, sent + batch))):
                break
            sent += batch
            watch.frames = sent * flood.frames
            if sent % (10 * batch) == 0:
                watch.serve()
        client.end()
        assert client.error, f"{sent * flood.frames} frames, and the connection is {client.told()}"
        assert client.error in flood.codes, client.told()
        assert sent * flood.frames < BOUND


# ---- Bombs ----------------------------------------------------------------------------------------------------------


def test_a_bomb_of_fields(subject: Subject, request: pytest.FixtureRequest) -> None:
    """CVE-2016-6581: 16 KB that stand for 64 MB, over and over. A list of fields is bounded by what it stands for."""
    entry = literal(b"x", b"y" * 4000, kind=0x40)
    with watched(subject, request) as watch, subject.connect() as client:
        number = client.request(b"/")
        client.response(number)
        client.send(headers(3, block(head()) + entry))
        client.response(3)
        statuses = []
        for stream in range(5, 45, 2):
            client.send(headers(stream, block(head()) + b"\xbe" * 16_000))
            client.until(lambda: bool(client.error) or client.stream(stream).over)  # noqa: B023  # called at once
            if client.error or client.closed:
                break
            statuses.append(client.stream(stream).status or client.stream(stream).code)
            watch.serve()
        assert client.error in (0, Code.ENHANCE_YOUR_CALM, Code.COMPRESSION_ERROR)
        assert set(statuses) <= {431, Code.PROTOCOL_ERROR, Code.ENHANCE_YOUR_CALM}
        assert statuses or client.error


def test_a_bomb_in_many_frames(subject: Subject, request: pytest.FixtureRequest) -> None:
    """The same through CONTINUATION, where no frame by itself is too much."""
    entry = literal(b"x", b"y" * 4000, kind=0x40)
    with watched(subject, request), subject.connect() as client:
        client.send(headers(1, block(head()) + entry, complete=False))
        for _ in range(64):
            if not client.send(continuation(1, b"\xbe" * 1000, complete=False)):
                break
        client.send(continuation(1))
        stream = client.stream(1)
        client.until(lambda: stream.over or bool(client.error))
        assert stream.status == 431 or client.error in (Code.ENHANCE_YOUR_CALM, Code.COMPRESSION_ERROR)


def test_tables_that_are_emptied_and_filled(subject: Subject, request: pytest.FixtureRequest) -> None:
    """Changes of the table's size are allowed two to a block (RFC 7541 §4.2); a block may be full of them all the same."""
    with watched(subject, request), subject.connect() as client:
        for stream in range(1, 21, 2):
            client.send(headers(stream, b"\x20\x3f\xe1\x1f" * 4000 + block(head())))
        assert client.barrier() or client.error in (Code.COMPRESSION_ERROR, Code.ENHANCE_YOUR_CALM)


# ---- Who takes, and gives nothing -----------------------------------------------------------------------------------


def test_responses_that_no_window_has_room_for(subject: Subject, request: pytest.FixtureRequest) -> None:
    """CVE-2019-9517 and its kin: a hundred endless responses wait, and `send()` with them."""
    with (
        watched(subject, request) as watch,
        subject.connect((Setting.INITIAL_WINDOW_SIZE, 0), generous=False) as client,
    ):
        numbers = [client.request(b"/endless") for _ in range(100)]
        assert client.until(lambda: all(client.streams[number].status == 200 for number in numbers))
        assert client.barrier()
        for _ in range(10):
            watch.serve()
        assert not any(isinstance(frame, DataFrame) and frame.data for frame in client.frames)


def test_responses_that_nobody_reads(subject: Subject, request: pytest.FixtureRequest) -> None:
    """Windows as wide as they get, and a socket that is left alone."""
    with (
        watched(subject, request) as watch,
        subject.connect((Setting.INITIAL_WINDOW_SIZE, LARGEST_WINDOW)) as client,
    ):
        client.open_window(0, LARGEST_WINDOW - 65_535)
        for _ in range(100):
            client.request(b"/endless")
        subject.server.stdout.wait_for("endless", count=100)
        for _ in range(20):
            watch.serve()


def test_pings_whose_answers_nobody_reads(subject: Subject, request: pytest.FixtureRequest) -> None:
    """CVE-2019-9512: answers pile up nowhere."""
    with watched(subject, request) as watch, subject.connect() as client:
        client.sock.setblocking(False)
        pings, sent = ping() * 1000, 0
        while sent < 64 * MEGABYTE:
            try:
                sent += client.sock.send(pings)
            except BlockingIOError:
                watch.serve()
                if not select.select([], [client.sock], [], 0.5)[1]:
                    break  # the server does not read any more either
            except ConnectionError:
                break
        client.sock.settimeout(30)


def test_bodies_that_no_application_reads(subject: Subject, request: pytest.FixtureRequest) -> None:
    """All windows full, of a hundred streams: no more is kept than the connection's window has room for."""
    with watched(subject, request) as watch, subject.connect() as client:
        numbers = [client.request(b"/late-count?never", method=b"POST", end=False) for _ in range(100)]
        assert client.barrier()
        for number in numbers:
            while (room := client.room(number)) > 0:
                client.send_body(number, min(room, 16_384), end=False)
        assert client.barrier()
        watch.serve()
        sent = sum(client.sent.values())
        assert sent <= 16 * MEGABYTE, f"the windows have room for {sent} bytes"


def test_many_connections(subject: Subject, request: pytest.FixtureRequest) -> None:
    """Three hundred that have had a response each, and wait."""
    with watched(subject, request) as watch, contextlib.ExitStack() as stack:
        for _ in range(300):
            client = stack.enter_context(subject.connect())
            assert client.get().status == 200
        each = watch.grown() / 300
        assert each < 80 * 1024, f"{each:.0f} bytes a connection"


def test_applications_that_go_on_for_requests_taken_back(
    subject: Subject, request: pytest.FixtureRequest
) -> None:
    """CVE-2023-44487 is about the work behind a server: an application that does not hear of a reset is not started any more."""
    with watched(subject, request) as watch, subject.connect() as client:
        first = client.request(b"/hang")
        subject.server.stdout.wait_for("hangs")  # one that is taken back in the read it came in never runs
        client.send(reset(first))
        for _ in range(299):
            client.send(reset(client.request(b"/hang")))
        assert client.barrier()
        watch.serve()
        hanging = sum("hangs" in line for line in subject.server.stdout.so_far())
        assert 1 <= hanging <= 100


# ---- Who is no attacker ---------------------------------------------------------------------------------------------


def test_a_page_that_is_left(subject: Subject) -> None:
    """A browser that cancels all it has asked for, again and again, with requests that it waits for in between."""
    with subject.connect() as client:
        for _ in range(5):
            numbers = [client.request(b"/stay") for _ in range(60)]
            client.send(*map(reset, numbers))
            for _ in range(20):
                assert client.get().status == 200
        assert client.error == 0


def test_a_client_that_asks_all_day(subject: Subject) -> None:
    """Three thousand requests on one connection, a hundred at a time, each with what clients send beside them."""
    with subject.connect() as client:
        for _ in range(30):
            numbers = [client.request(b"/", (b"x-number", b"%d" % number)) for number in range(100)]
            for number in numbers:
                assert client.response(number).status == 200
            assert client.barrier()


def test_small_pieces_of_a_body(subject: Subject) -> None:
    """Data in a thousand frames is no flood, though some of them are empty."""
    with subject.connect() as client:
        number = client.request(b"/count", method=b"POST", end=False)
        for at in range(1000):
            client.send(data(number, b"x" if at % 50 else b"", end=False))
        client.send(data(number))
        assert client.response(number).body == b"980"


def test_a_refused_request_leaves_the_others(subject: Subject) -> None:
    with subject.connect() as client:
        first = client.request(b"/begin", method=b"POST", end=False)
        client.send(request(3, (b"X", b"1")))
        client._next = 5
        assert client.get().status == 200
        client.send(data(first))
        assert client.response(first).status == 200
