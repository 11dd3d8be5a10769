"""The client that counts every answer, against servers that misbehave: what it counts, it can tell apart."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.support.steady import Address, Counts, Fate, Load, Steady

KEPT = Load(kept=100, fresh=0, slow=0, uploads=0, connections=2, timeout=20)
FRESH = Load(kept=0, fresh=100, slow=0, uploads=0, timeout=20)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def request(reader: asyncio.StreamReader) -> bytes:
    """The next request, and the body that answers it rightly; empty at the end of the stream."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    number = head.partition(b"n=")[2].partition(b" ")[0]
    size = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
    await reader.readexactly(size)
    return b"77 %s %d" % (number, size)


def answer(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), more, body)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as the kernel does for a process that was killed."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@contextlib.asynccontextmanager
async def scripted(handler: Handler, path: Path | None = None) -> AsyncIterator[Address]:
    """A server whose connections do as the handler says."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    if path is None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        address: Address = server.sockets[0].getsockname()[:2]
    else:
        server, address = await asyncio.start_unix_server(handle, path), path
    try:
        yield address
    finally:
        server.close()


def a_few(counts: Counts) -> bool:
    return counts.sent >= 12


async def count(
    handler: Handler, load: Load, enough: Callable[[Counts], bool] = a_few, *, path: Path | None = None
) -> Counts:
    """What a load comes to that lasts until it is enough: by default until it has sent a few requests of each kind."""
    async with scripted(handler, path) as address:
        return await count_at(address, load, enough)


async def count_at(address: Address, load: Load, enough: Callable[[Counts], bool] = a_few) -> Counts:
    async with Steady(address, load) as steady, asyncio.timeout(20):
        while not enough(steady.counts()):  # noqa: ASYNC110 - a schedule tells nobody how far it is
            await asyncio.sleep(0.01)
    counts = steady.counts()
    assert counts.fates.total() == counts.sent == counts.answered + counts.failed
    assert len(counts.failures) == counts.failed
    assert len(counts.latencies) == counts.answered
    return counts


async def honest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while body := await request(reader):
        writer.write(answer(body))


# ---- What is no failure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "load", [KEPT, FRESH, Load(slow_for=0.01, upload_size=1000)], ids=["kept", "fresh", "all"]
)
async def test_right_answers_are_counted(load: Load) -> None:
    counts = await count(honest, load)
    assert counts.failed == 0
    assert counts.workers == {77: counts.sent}


async def test_a_unix_socket(socket_path: Path) -> None:
    assert (await count(honest, Load(slow_for=0.01, upload_size=1000), path=socket_path)).failed == 0


async def test_kept_connections_are_reused_and_fresh_ones_are_not() -> None:
    requests: Counter[object] = Counter()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while body := await request(reader):
            requests[writer] += 1
            writer.write(answer(body))

    def reused() -> int:
        return sum(number > 1 for number in requests.values())

    # One more for a single request is opened where a third is due before the first has its answer, as on a busy machine.
    assert (await count(handler, KEPT, lambda _: reused() == KEPT.connections)).failed == 0
    assert reused() == KEPT.connections
    requests.clear()
    assert (await count(handler, FRESH)).sent == len(requests) == requests.total()


async def test_a_connection_closed_between_two_requests_is_opened_anew() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await request(reader)))
        await writer.drain()

    # So far apart that the end of the connection is seen before the next one is due.
    load = Load(kept=2, fresh=0, slow=0, uploads=0, connections=1, timeout=20)
    counts = await count(handler, load, lambda counts: counts.reopened > 0)
    assert counts.failed == 0


async def test_connection_close_is_heeded() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await request(reader), more=b"Connection: close\r\n"))
        # Whoever sends a second request all the same never gets an answer.
        await reader.read()

    counts = await count(handler, KEPT)
    assert counts.failed == 0


# ---- What is one ----------------------------------------------------------------------------------------------------


def only(counts: Counts) -> Fate:
    """The one fate that all requests had."""
    assert len(counts.fates) == 1, counts
    return next(iter(counts.fates))


@pytest.mark.parametrize("load", [KEPT, FRESH], ids=["kept", "fresh"])
async def test_nobody_listens(load: Load, refusing: tuple[str, int]) -> None:
    counts = await count_at(refusing, load)
    assert only(counts) is Fate.REFUSED
    assert {failure.why for failure in counts.failures} == {"ECONNREFUSED"}


async def test_no_such_socket(socket_path: Path) -> None:
    assert only(await count_at(socket_path, FRESH)) is Fate.REFUSED


def leaving(sent: bytes, abruptly: bool) -> Handler:
    """Whoever asks gets so many bytes, and then the end of the connection."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(sent)
        if abruptly and not sent:
            reset(writer)

    return handler


@pytest.mark.parametrize("load", [KEPT, FRESH], ids=["kept", "fresh"])
@pytest.mark.parametrize("abruptly", [True, False], ids=["reset", "closed"])
async def test_the_end_without_an_answer(load: Load, abruptly: bool) -> None:
    counts = await count(leaving(b"", abruptly), load)
    assert only(counts) is Fate.UNANSWERED
    assert {failure.why for failure in counts.failures} == {"ConnectionResetError" if abruptly else "closed"}


@pytest.mark.parametrize("sent", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n", answer(b"77 1 0")[:-1]])
async def test_half_an_answer(sent: bytes) -> None:
    assert only(await count(leaving(sent, False), FRESH)) is Fate.BROKEN


@pytest.mark.parametrize("abruptly", [True, False], ids=["reset", "closed"])
async def test_a_reused_connection_that_ends_without_an_answer_has_its_own_name(abruptly: bool) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(await request(reader)))
        if await request(reader) and abruptly:
            reset(writer)

    counts = await count(handler, KEPT, lambda counts: counts.failed > 0)
    assert set(counts.fates) == {Fate.ANSWERED, Fate.RETRIABLE}
    # Each failure knows its connection: the port, and who answered on it before.
    assert {failure.worker for failure in counts.failures} == {77}
    assert all(failure.port for failure in counts.failures)


@pytest.mark.parametrize(
    "wrong",
    [
        answer(b"busy", b"503 Service Unavailable"),
        answer(b"77 999999 0"),
        answer(b"77 1"),
        answer(b""),
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"220 mail.example.com\r\n\r\n",
    ],
    ids=["503", "another's answer", "short", "empty", "no length", "not HTTP"],
)
async def test_a_wrong_answer(wrong: bytes) -> None:
    assert only(await count(leaving(wrong, False), FRESH)) is Fate.WRONG


async def test_an_upload_that_lost_a_byte_is_wrong() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await request(reader)
        writer.write(answer(body.replace(b"1000", b"999")))

    load = Load(kept=0, fresh=0, slow=0, uploads=100, upload_size=1000, timeout=20)
    assert only(await count(handler, load)) is Fate.WRONG


async def test_an_answer_that_nobody_asked_for_answers_nothing() -> None:
    opened = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while body := await request(reader):
            # The next request would find its connection with this in it.
            writer.write(answer(body) + answer(b"408", b"408 Request Timeout"))

    counts = await count(handler, KEPT)
    assert counts.failed == 0
    assert opened == counts.sent


# ---- The schedule ---------------------------------------------------------------------------------------------------


async def test_silence_is_a_timeout_and_does_not_slow_the_schedule() -> None:
    waiting = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        await waiting.wait()

    # More are sent than there are connections, though none comes back.
    counts = await count(handler, Load(kept=100, fresh=0, slow=0, uploads=0, connections=2, timeout=0.3))
    waiting.set()
    assert only(counts) is Fate.TIMEOUT
    assert counts.sent >= 12
    assert counts.worst == 0.0


async def test_a_latency_counts_from_the_moment_at_which_the_request_was_due() -> None:
    held = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while body := await request(reader):
            await held.wait()
            writer.write(answer(body))

    async with scripted(handler) as address, Steady(address, FRESH) as steady:
        while steady.counts().sent < 12:  # noqa: ASYNC110 - a schedule tells nobody how far it is
            await asyncio.sleep(0.01)
        assert steady.counts().answered == 0
        held.set()
    counts = steady.counts()
    assert counts.failed == 0
    # The first one was due a hundredth of a second before the second, and so on; all were answered at once.
    assert counts.worst >= 11 * 0.01
    assert counts.longest_gap >= 11 * 0.01


@pytest.fixture
def refusing() -> Iterator[tuple[str, int]]:
    """An address that is ours and at which nobody listens, until somebody does."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        host, port = bound.getsockname()
        yield host, port


async def test_the_gap_reaches_to_the_end_when_nothing_is_answered_any_more(
    refusing: tuple[str, int],
) -> None:
    async with Steady(refusing, FRESH) as steady:
        await asyncio.sleep(0.2)
    counts = steady.counts()
    assert counts.answered == 0
    assert counts.longest_gap >= 0.2


async def test_one_line_says_it_all() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await request(reader)
        writer.write(answer(body, b"500 Oops" if b" 3 " in body else b"200 OK"))

    line = str(await count(handler, FRESH))
    assert "1 failed (1 wrong answer)" in line
    assert "answered by 1 workers" in line
    assert "\n" not in line


async def test_a_defect_of_the_client_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: object, *arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Steady, "_open", broken)
    with pytest.raises(ZeroDivisionError):
        async with Steady(("127.0.0.1", 9), FRESH):
            await asyncio.sleep(0.05)
