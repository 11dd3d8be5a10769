"""The applications behind every server: raw ASGI, one to a workload, so that the server is what is measured.

Messages are built once: what an application spends is the same behind every server, and as little as it can be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HELLO = b"Hello, world!"
PIECE = b"x" * 1024
PIECES = 10


def _start(length: int | None) -> Message:
    headers = [(b"content-type", b"text/plain")]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": 200, "headers": headers}


def _body(data: bytes, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def with_lifespan(answer: App, kind: str = "http") -> App:
    """The application that answers scopes of a kind with `answer` and completes the lifespan protocol."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == kind:
            await answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return

    return app


def constant(data: bytes) -> App:
    """The application that gives every request the same answer."""
    start, body = _start(len(data)), _body(data)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - the signature of ASGI
        await send(start)
        await send(body)

    return with_lifespan(answer)


_STREAM_START = _start(None)
_STREAM_PIECE = _body(PIECE, more=True)
_STREAM_LAST = _body(PIECE)


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    await send(_STREAM_START)
    for _ in range(PIECES - 1):
        await send(_STREAM_PIECE)
    await send(_STREAM_LAST)


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    data = b"".join(pieces)
    await send(_start(len(data)))
    await send(_body(data))


async def _count(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    data = str(size).encode()
    await send(_start(len(data)))
    await send(_body(data))


_HELLO_START = _start(len(HELLO))
_HELLO_BODY = _body(HELLO)


async def _wait(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    await asyncio.sleep(0.01)
    await send(_HELLO_START)
    await send(_HELLO_BODY)


_ACCEPT: Message = {"type": "websocket.accept"}


async def _echo_messages(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    await receive()  # websocket.connect
    await send(_ACCEPT)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is None:
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        else:
            await send({"type": "websocket.send", "text": text})


hello = constant(HELLO)
large = constant(PIECE * PIECES)
huge = constant(PIECE * 100)
stream = with_lifespan(_stream)
echo = with_lifespan(_echo)
count = with_lifespan(_count)
wait = with_lifespan(_wait)
websocket = with_lifespan(_echo_messages, "websocket")
