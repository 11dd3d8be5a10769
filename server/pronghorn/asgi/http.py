"""ONE request/response cycle, for every parser and every version of HTTP (ASGI HTTP specification, version 2.5).

A cycle stands between one call of the application and a `ResponseWriter`. The request side is a small queue of body
pieces; the response side is the state machine of `TRANSITIONS`:

* the head is not written when the application starts its response but together with the first piece of the body, so
  that a complete response is one write, and one that fails before it has a body can still become a 500;
* a head that is held while the application waits for something else is written at the end of the loop iteration, or
  at once for an event stream, where the head is what the client is waiting for.

`send` branches by hand for speed. `TRANSITIONS` says the same as data, and a property test holds the two together.
"""

import asyncio
import contextlib
import logging
from http import HTTPStatus
from typing import Any, Final, Protocol

from pronghorn.types import ASGIApplication, Message
from pronghorn.wire.ports import Headers, InvalidResponse, RequestHead, ResponseWriter

#: Nothing was sent yet; the head is held; the head is out and the body goes on; the response is complete; or it never
#: will be, because the peer is gone or the response was given up.
IDLE: Final = 0
HELD: Final = 1
OPEN: Final = 2
COMPLETE: Final = 3
CLOSED: Final = 4

#: What the application may send in which state, and the state that follows. A pair that is not there is an error of
#: the application; in CLOSED it is told so with `ClientDisconnected` instead. "body+" is a body event with
#: ``more_body``, "body" one without.
TRANSITIONS: Final[dict[tuple[int, str], int]] = {
    (IDLE, "start"): HELD,
    (HELD, "body+"): OPEN,
    (HELD, "body"): COMPLETE,
    (OPEN, "body+"): OPEN,
    (OPEN, "body"): COMPLETE,
}

_EMPTY: Final[list[tuple[bytes, bytes]]] = []
_PLAIN: Final = (b"content-type", b"text/plain; charset=utf-8")


class ClientDisconnected(OSError):
    """Raised by ``send()`` once the client is gone, as the ASGI specification asks since version 2.4."""


class Observer(Protocol):
    """Told of every response that came to its end, whichever end that was."""

    def response_complete(self, exchange: "HttpCycle") -> None: ...


class NullObserver:
    """Nobody wants to know."""

    def response_complete(self, exchange: "HttpCycle") -> None:
        pass


class HttpCycle:
    """One request and its response.

    `status` is 0 until the application starts a response; `bytes_in` and `bytes_out` count body bytes; `started` is
    what the clock of the owner said when the head was complete, in seconds.
    """

    __slots__ = (
        "_body",
        "_body_taken",
        "_headers",
        "_observer",
        "_waiter",
        "_writer",
        "bytes_in",
        "bytes_out",
        "eager",
        "ended",
        "head",
        "launched",
        "logger",
        "scope",
        "started",
        "state",
        "status",
    )

    def __init__(
        self,
        head: RequestHead,
        scope: dict[str, Any],
        writer: ResponseWriter,
        observer: Observer,
        logger: logging.Logger,
        started: float,
    ) -> None:
        self.head = head
        self.scope = scope
        self.started = started
        self.logger = logger
        self.state = IDLE
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        #: Whether the whole request has arrived.
        self.ended = False
        #: Whether the application was called, and whether it still runs inside that first call.
        self.launched = False
        self.eager = False
        self._writer = writer
        self._observer = observer
        self._headers: Headers = _EMPTY
        self._body: list[bytes] = []
        self._body_taken = False
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        state = ("idle", "held", "open", "complete", "closed")[self.state]
        return f"<HttpCycle {self.head.method} {self.head.target!r} {state} {self.status or '-'}>"

    # The request side, called by the connection.

    def feed(self, data: bytes) -> None:
        """A piece of the request body arrived."""
        self.bytes_in += len(data)
        self.head.expects_continue = False  # the client did not wait to be asked
        self._body.append(data)
        if self._waiter is not None:
            self._wake()

    def feed_end(self) -> None:
        """The request is complete."""
        self.ended = True
        if self._waiter is not None:
            self._wake()

    def disconnect(self) -> None:
        """The peer is gone, or the response is given up: nothing more can be sent."""
        if self.state < COMPLETE:
            self.state = CLOSED
            self._observer.response_complete(self)
        if self._waiter is not None:
            self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # The application side.

    async def run(self, app: ASGIApplication) -> None:
        """Call the application and see to it that its request is answered, whatever it does."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as exc:
            if _says_that_the_client_left(exc):
                self.logger.debug("The application stopped at a client that had left: %r", self)
            else:
                self.logger.exception("Exception in ASGI application")
                self._fail()
        except BaseException:
            # Cancelled, or the interpreter is about to end. Either way nobody will complete this response.
            self._fail()
            raise
        else:
            if self.state == IDLE:
                self.logger.error("ASGI callable returned without starting response.")
                self._fail()
            elif self.state < COMPLETE:
                self.logger.error("ASGI callable returned without completing response.")
                self._fail()

    async def receive(self) -> Message:
        if self._body_taken or self.state >= COMPLETE:
            # The request is used up. What is left to tell is that the client went, or that the response is done.
            while self.state < COMPLETE:
                await self._wait()
            return {"type": "http.disconnect"}
        if not self.ended:
            if self.head.expects_continue and not self._body:
                self.head.expects_continue = False
                if self.state == IDLE:
                    self._writer.inform(100, _EMPTY)
            while not self._body and not self.ended:
                await self._wait()
                if self.state >= COMPLETE:
                    return {"type": "http.disconnect"}
        pieces = self._body
        if not pieces:
            body = b""
        else:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self._body = []
            self._writer.consumed(len(body))
        self._body_taken = self.ended
        return {"type": "http.request", "body": body, "more_body": not self.ended}

    async def _wait(self) -> None:
        waiter = self._waiter
        if waiter is None:
            waiter = self._waiter = asyncio.get_running_loop().create_future()
        # An application may wait in several tasks at once; cancelling one must not wake the others.
        await asyncio.shield(waiter)

    async def send(self, message: Message) -> None:
        kind = message["type"]
        state = self.state
        if kind == "http.response.body":
            if HELD <= state <= OPEN:
                body = message.get("body", b"")
                if type(body) is not bytes:
                    body = _as_bytes(body)
                if message.get("more_body", False):
                    self._send_piece(body)
                    if self._writer.paused:
                        await self._writer.drain()
                        if self.state == CLOSED:
                            raise ClientDisconnected("the client closed the connection")
                else:
                    self._send_last(body)
                return
        elif kind == "http.response.start" and state == IDLE:
            self._start(message)
            return
        if state == CLOSED:
            raise ClientDisconnected("the client closed the connection")
        raise RuntimeError(self._complaint(kind))

    def _start(self, message: Message) -> None:
        status = message["status"]
        if type(status) is not int:
            status = int(status)  # http.HTTPStatus and friends
        if not 200 <= status <= 599:
            raise RuntimeError(
                f"{status} is no final HTTP status (200 to 599); informational ones are not a response."
            )
        headers = message.get("headers", _EMPTY)
        self.status = status
        self._headers = headers if type(headers) is list else list(headers)
        self.state = HELD
        if not self.eager:
            self.hold()

    def hold(self) -> None:
        """The head is held: see that it is not held for longer than it is worth."""
        if any(
            name == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in self._headers
        ):
            self.flush_head()
        else:
            asyncio.get_running_loop().call_soon(self.flush_head)

    def flush_head(self) -> None:
        """Write a held head without waiting for the body."""
        if self.state == HELD:
            # An invalid head is not written, and the application hears of it where it can: when it sends the body.
            with contextlib.suppress(InvalidResponse):
                self._send_piece(b"")

    def _send_piece(self, body: bytes) -> None:
        if self.state == HELD:
            self.bytes_out += self._writer.begin(self.status, self._headers, body)
            self.state = OPEN
        else:
            self.bytes_out += self._writer.chunk(body)

    def _send_last(self, body: bytes) -> None:
        writer = self._writer
        if self.state == HELD:
            self.bytes_out = writer.respond(self.status, self._headers, body)
            self.state = COMPLETE
        else:
            if body:
                self.bytes_out += writer.chunk(body)
            self.state = COMPLETE
            writer.end()
        if self._body:
            # The application did not want it. The peer may send as much again, for the next request.
            writer.consumed(sum(map(len, self._body)))
            self._body = []
        self._observer.response_complete(self)
        if self._waiter is not None:
            self._wake()

    def _fail(self) -> None:
        """The application will send nothing more. Answer in its place, or give the response up."""
        if self.state >= COMPLETE:
            return
        if self.state == OPEN:
            self.state = CLOSED
            self._writer.abort()
            self._observer.response_complete(self)
            return
        self.refuse(500, [(b"connection", b"close")])

    def refuse(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer in place of the application, with the phrase of the status as the body."""
        self.status = status
        self._headers = [_PLAIN, *headers]
        self.state = HELD
        self._send_last(HTTPStatus(status).phrase.encode("ascii"))

    def _complaint(self, kind: str) -> str:
        expected = {
            IDLE: "'http.response.start'",
            HELD: "'http.response.body'",
            OPEN: "'http.response.body'",
        }.get(self.state)
        if expected is None:
            return f"Unexpected ASGI message {kind!r} sent, after response already completed."
        return f"Expected ASGI message {expected}, but got {kind!r}."


def _says_that_the_client_left(exc: BaseException) -> bool:
    """Whether an exception is ours of that meaning, or what a framework made of it: Starlette's ``ClientDisconnect``.

    Any other error that follows ours, in a clean-up for instance, is an error all the same.
    """
    if isinstance(exc, BaseExceptionGroup):
        return all(map(_says_that_the_client_left, exc.exceptions))
    if isinstance(exc, ClientDisconnected):
        return True
    origin = exc.__cause__ or exc.__context__
    if origin is None or "disconnect" not in type(exc).__name__.lower():
        return False
    return _says_that_the_client_left(origin)


def _as_bytes(body: object) -> bytes:
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    raise TypeError(f"The body of a response must be bytes, got {type(body).__name__}.")
