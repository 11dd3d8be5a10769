"""How many connections a worker accepts in a turn of the loop: one, and as many more as requests were served since the one before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pronghorn.net.service import Service
from pronghorn.net.sockets import Listener, open_listeners
from pronghorn.types import Receive, Scope, Send
from pronghorn.worker.listening import accept
from tests.support.scripted import make_service, turns

WAITING = 40

Test = Callable[[Path], Coroutine[Any, Any, None]]
LOOPS = pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


@contextlib.asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[tuple[Service, Listener, list[socket.socket]]]:
    """A service that accepts, and as many as wait for it."""
    service = make_service(app)
    (listener,) = open_listeners(uds=str(folder / "app.sock"), backlog=2 * WAITING)
    peers = [socket.socket(socket.AF_UNIX) for _ in range(WAITING)]
    server = await accept(listener, service, backlog=2 * WAITING)
    try:
        for peer in peers:
            peer.settimeout(10)
            peer.connect(str(folder / "app.sock"))
        yield service, listener, peers
    finally:
        # All of them come in before they leave, so that nothing is left half open.
        while service.accepted < WAITING:
            await turns(1)
        for peer in peers:
            peer.close()
        while service.connections:
            await turns(1)
        server.close()
        await turns()
        listener.close()


async def first_turn(service: Service) -> None:
    """Until the first of them is in."""
    async with asyncio.timeout(10):
        while not service.accepted:
            await turns(1)


@LOOPS
def test_a_server_with_little_to_do_takes_one_in_a_turn(
    tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def test() -> None:
        async with listening(tmp_path) as (service, _, _):
            await first_turn(service)
            before = service.accepted
            await turns(10)

            assert service.accepted <= before + 11

    run(test())


@LOOPS
def test_a_busy_server_lets_in_as_many_as_it_has_served(
    tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def test() -> None:
        async with listening(tmp_path) as (service, _, peers):
            service.requests = 20
            await first_turn(service)
            await turns(6)

            # One by one there would be seven.
            assert 20 <= service.accepted < WAITING
            loop = asyncio.get_running_loop()
            for peer in peers:
                peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answers = await asyncio.gather(*(loop.run_in_executor(None, peer.recv, 1000) for peer in peers))

            assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}
            assert service.accepted == WAITING

    run(test())


@LOOPS
def test_no_more_than_there_are_or_than_a_turn_allows(
    tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    async def test() -> None:
        async with listening(tmp_path) as (service, _, _):
            service.requests = 10_000
            await first_turn(service)
            await turns(5)

            assert 33 <= service.accepted < WAITING
            async with asyncio.timeout(10):
                while service.accepted < WAITING:
                    await turns(1)

    run(test())
