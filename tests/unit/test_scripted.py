"""The scripted transport against a real socket: the same protocol, the same steps, the same calls in the same order."""

import asyncio
import socket
from typing import Any

import pytest

from tests.support.scripted import ScriptedTransport, turns


class Protocol(asyncio.Protocol):
    """Keeps what it is told, and does one thing when it is spoken to."""

    def __init__(self, act: str) -> None:
        self.act = act
        self.seen: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.seen.append("made")

    def data_received(self, data: bytes) -> None:
        self.seen.append(f"data {data!r}")
        if self.act == "answer":
            self.transport.write(b"pong")
        elif self.act in ("close", "abort"):
            getattr(self.transport, self.act)()
            self.seen.append(f"closing {self.transport.is_closing()}")
        elif self.act == "half":
            self.transport.write(b"bye")
            self.transport.write_eof()
            self.seen.append(f"closing {self.transport.is_closing()}")

    def eof_received(self) -> bool | None:
        self.seen.append("eof")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.seen.append(f"lost {exc!r}")


async def really(act: str) -> tuple[list[str], bytes]:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        _, protocol = await loop.connect_accepted_socket(lambda: Protocol(act), ours)
        await loop.sock_sendall(theirs, b"ping")
        while len(protocol.seen) < 2:  # noqa: ASYNC110  # the transport is watched from outside
            await asyncio.sleep(0)
        received = b""
        if act == "answer":
            received = await loop.sock_recv(theirs, 100)
        theirs.shutdown(socket.SHUT_WR)
        while not protocol.seen[-1].startswith("lost"):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        if act == "half":
            received = await loop.sock_recv(theirs, 100)
    return protocol.seen, received


async def scripted(act: str) -> tuple[list[str], bytes]:
    protocol, transport = Protocol(act), ScriptedTransport()
    transport.connect(protocol)
    transport.feed(b"ping")
    if not transport.closed:
        transport.feed_eof()
    await turns()
    return protocol.seen, bytes(transport.written)


@pytest.mark.parametrize("act", ["answer", "close", "abort", "half"])
async def test_scripted_transport_behaves_as_a_socket_does(act: str) -> None:
    assert await scripted(act) == await really(act)


async def test_write_buffer_over_its_limit_is_reported_as_a_loop_reports_it() -> None:
    class Pausing(Protocol):
        def pause_writing(self) -> None:
            self.seen.append("pause")

        def resume_writing(self) -> None:
            self.seen.append("resume")

    def write_much(transport: Any) -> None:
        for _ in range(4):
            transport.write(bytes(1_000_000))

    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        _, real = await loop.connect_accepted_socket(lambda: Pausing(""), ours)
        write_much(real.transport)
        while real.seen[-1] != "resume":
            await loop.sock_recv(theirs, 1_000_000)
        real.transport.abort()
        await turns()

    fake, transport = Pausing(""), ScriptedTransport(limit=65_535)
    transport.connect(fake)
    write_much(transport)
    transport.read_all()
    assert fake.seen == real.seen[:3] == ["made", "pause", "resume"]
