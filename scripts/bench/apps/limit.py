"""The limit of what Python can do: uvloop and httptools with a constant answer, neither ASGI nor a limit nor a deadline.

limit.py (--port PORT | --uds PATH)
"""

import argparse
import asyncio
from typing import Any

import httptools
import uvloop

HEAD = b"HTTP/1.1 200 OK\r\nserver: limit\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n"
ANSWERS = {
    path: HEAD % len(body) + body for path, body in ((b"/", b"Hello, world!"), (b"/10k", b"x" * 10_240))
}


class Connection(asyncio.Protocol):
    """Answers every request by its path alone."""

    def __init__(self) -> None:
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path = url

    def on_message_complete(self) -> None:
        self._transport.write(ANSWERS[self._path])


async def serve(port: int | None, socket: str | None) -> None:
    """Listen and never return."""
    loop = asyncio.get_running_loop()
    if socket is not None:
        server: asyncio.Server = await loop.create_unix_server(Connection, socket)
    else:
        server = await loop.create_server(Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--uds")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.uds))
