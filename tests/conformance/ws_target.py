"""What is fuzzed of WebSockets: whatever comes behind a handshake, a connection answers frame by frame, or closes with a code."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from pronghorn.net.ws_settings import WebSockets
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.ws_close import sendable
from tests.conformance.pieces import cut
from tests.support.scripted import connect, make_service, turns
from tests.support.ws import BINARY, CLOSE, CODECS, FIN, PONG, RSV1, TEXT, closing, handshake, read_frames

#: What a server of ours may begin a frame with.
FIRSTS = {FIN | TEXT, FIN | BINARY, FIN | RSV1 | TEXT, FIN | RSV1 | BINARY, FIN | CLOSE, FIN | PONG}


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    assert message["code"] == 1005 or sendable(message["code"]) or message["code"] == 1006


async def _talk(codec: str, pieces: Iterator[bytes]) -> None:
    problems: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))
    settings = WebSockets(codec=lambda: CODECS[codec], max_size=2000, max_queue=4)
    service = make_service(_echo, websockets=settings)
    transport = connect(service)
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    loop.call_soon(transport.feed, handshake("/", offer))
    await turns()
    head, _, rest = bytes(transport.written).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert rest == b""
    for piece in pieces:
        while not transport.is_reading() and not transport.closed:
            await turns()
        if transport.closed:
            break
        loop.call_soon(transport.feed, piece)
        await turns(2)
    await turns(20)
    frames = read_frames(bytes(transport.written).partition(b"\r\n\r\n")[2])
    assert {first for first, _ in frames} <= FIRSTS
    closes = [payload for first, payload in frames if first == FIN | CLOSE]
    assert closes in ([], [frames[-1][1]] if frames else []), "something behind a Close frame"
    if closes and closes[0]:
        assert sendable(closing(closes[0])[0])
    assert bool(closes) == (transport.closed or transport.eof_written)
    transport.lose()
    await turns()
    assert not problems, problems
    assert (service.active, service.connections, service.tasks) == (0, set(), set())


def websocket(data: bytes, sizes: Sequence[int] = ()) -> None:
    """With either codec, and no exception is left over."""
    for codec in CODECS:
        asyncio.run(_talk(codec, cut(data, sizes)))
