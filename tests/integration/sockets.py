"""WebSockets of the integration tests: one, and a crowd of them, with the client of the websockets library."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import websockets
from websockets.asyncio.client import ClientConnection

from tests.integration.stack import Stack

Result = TypeVar("Result")

#: How many handshakes a crowd has under way at the same time: fewer than nginx and the server keep waiting (1,024 and 2,048).
AT_ONCE = 200
#: Descriptors that a process needs beside its crowd.
SPARE = 200


def connect(url: str, **options: Any) -> websockets.connect:
    """A client that neither compresses nor pings: a connection is silent when a test says nothing."""
    settings = {"compression": None, "ping_interval": None, "proxy": None, "open_timeout": 60} | options
    return websockets.connect(url, **settings)


def allow_descriptors(wanted: int) -> None:
    """So many connections from this process; whoever may not have them is told, instead of testing with fewer."""
    wanted += SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


@asynccontextmanager
async def crowd(stack: Stack, size: int) -> AsyncIterator[list[ClientConnection]]:
    """So many open sockets, straight to nginx's container.

    Not over the published port: on loopback that is a process of the engine's, which takes six descriptors a connection.
    """
    allow_descriptors(size)
    url = f"ws://{stack.address('nginx')}:8080/echo"
    door = asyncio.Semaphore(AT_ONCE)
    async with AsyncExitStack() as opened:

        async def enter() -> ClientConnection:
            async with door:
                return await opened.enter_async_context(connect(url))

        yield await gather(enter() for _ in range(size))


async def gather(tasks: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """The results of all; the first failure ends the others."""
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(task) for task in tasks]
    return [task.result() for task in running]


async def echoes(sockets: Iterable[ClientConnection], word: str) -> set[str | bytes]:
    """What comes back when each of them says the word with its place in the row; a socket that is gone raises."""

    async def ask(number: int, socket: ClientConnection) -> str | bytes:
        await socket.send(f"{word} {number}")
        answer = await socket.recv()
        assert answer == f"{word} {number}"
        return word

    return set(await gather(ask(number, socket) for number, socket in enumerate(sockets)))
