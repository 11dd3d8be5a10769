"""WSGI for a server that speaks ASGI: ``WSGIMiddleware(app, threads=10)``. Needs a2wsgi.

a2wsgi makes the environ, runs each request on a thread of a pool and brings what the application yields back to the event
loop. What stands here around it is about its edges:

* a request body that breaks off raises `ClientGone` in ``read()``; it never looks like one that is complete;
* once the client is gone the application is not asked for more, and its iterable is closed;
* ``wsgi.input`` is a binary file as `io` makes them, with every method that PEP 3333 asks for and an end of its own, so
  that an application can read a body of unknown length;
* ``wsgi.errors`` is stderr, and over a Unix socket ``SERVER_NAME`` and ``SERVER_PORT`` are something a URL can be made of.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from a2wsgi import WSGIMiddleware as Bridge

from pronghorn.types import Message, Receive, Scope, Send

Environ = MutableMapping[str, Any]
WSGIApplication = Callable[[Any, Any], Iterable[bytes]]

_REQUEST = "pronghorn.request"


class ClientGone(OSError):
    """Raised by ``environ["wsgi.input"]`` when the client left in the middle of its request."""


class WSGIMiddleware:
    """An ASGI application made of a WSGI one, which works on `threads` requests at a time."""

    def __init__(self, app: WSGIApplication, threads: int = 10) -> None:
        self.app = app
        self._bridge = Bridge(self._call, workers=threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan, in which a WSGI application has no part."""
        if scope["type"] != "http":
            await self._bridge(scope, receive, send)  # type: ignore[arg-type]  # theirs are TypedDicts
            return
        request = _Request(asyncio.get_running_loop(), receive, send)
        scope = {**scope, _REQUEST: request}
        server = scope.get("server")
        if server is None or server[1] is None:
            scope["server"] = ("localhost", 443 if scope.get("scheme") == "https" else 80)
        try:
            await self._bridge(scope, receive, request.send)  # type: ignore[arg-type]
        except ClientGone:
            return
        finally:
            request.gone = True
        if request.error is not None:
            raise request.error

    def _call(self, environ: Any, start_response: Any) -> Iterator[bytes]:
        """Call the application; on the thread of its request."""
        request: _Request = environ["asgi.scope"].pop(_REQUEST)
        environ["wsgi.input"] = io.BufferedReader(_Body(request))
        environ["wsgi.input_terminated"] = True
        environ["wsgi.errors"] = sys.stderr
        pieces = self.app(environ, start_response)
        try:
            for piece in pieces:
                if request.gone:
                    return
                yield piece
        finally:
            if hasattr(pieces, "close"):
                pieces.close()


class _Request:
    """One request: what the thread and the event loop both know of it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive, send: Send) -> None:
        self._loop = loop
        self._receive = receive
        self._send = send
        #: Nobody waits for the rest of the response, because the client left or because of `error`.
        self.gone = False
        self.error: Exception | None = None

    async def send(self, message: Message) -> None:
        """Send, or forget what nobody waits for any more. The thread is not to be left waiting for its turn."""
        if self.gone:
            return
        try:
            await self._send(message)
        except OSError:
            self.gone = True
        except Exception as exc:  # noqa: BLE001  # raised again when the thread is done
            self.gone = True
            self.error = exc

    def receive(self) -> Message:
        """The next event; called on the thread."""
        message: Message = asyncio.run_coroutine_threadsafe(_awaited(self._receive), self._loop).result()
        if message["type"] == "http.disconnect":
            self.gone = True
            raise ClientGone("the client left before its request was complete")
        return message


class _Body(io.RawIOBase):
    """The request body as a raw file: each read waits for no more than the next piece."""

    def __init__(self, request: _Request) -> None:
        super().__init__()
        self._request = request
        self._piece = memoryview(b"")
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` from one piece; 0 at the end."""
        while not self._piece and self._more:
            message = self._request.receive()
            self._piece = memoryview(message.get("body", b""))
            self._more = message.get("more_body", False)
        size = min(len(buffer), len(self._piece))
        buffer[:size] = self._piece[:size]
        self._piece = self._piece[size:]
        return size


async def _awaited(receive: Receive) -> Message:
    return await receive()
