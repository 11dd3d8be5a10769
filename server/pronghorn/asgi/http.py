"""ONE request/response cycle, for every parser and every version of HTTP (ASGI HTTP specification, version 2.5, and the
extensions for files, early hints, pushes and trailers).

A cycle stands between one call of the application and a `ResponseWriter`. The request side is a small queue of body
pieces; the response side is the state machine of `asgi/states.py`:

* the head is not written when the application starts its response but together with the first piece of the body, so
  that a complete response is one write, and one that fails before it has a body can still become a 500;
* a head that is held while the application waits for something else is written at the end of the loop iteration, or
  at once for an event stream, where the head is what the client is waiting for.

`send` branches by hand for speed. `asgi/states.py` says the same as data, and a property test holds the two together.
"""

import asyncio
import contextlib
import logging
import time
from http import HTTPStatus
from typing import Any, Final, Protocol

from pronghorn.types import ASGIApplication, Message
from pronghorn.wire.headers import check_trailer
from pronghorn.wire.ports import FilePart, InvalidResponse, RequestHead, ResponseWriter

from .disconnect import ClientDisconnected, says_that_the_client_left
from .states import CLOSED, COMPLETE, FILE, HELD, HINTED, IDLE, OPEN, TRAILING

_EMPTY: Final[list[Any]] = []
_PLAIN: Final = (b"content-type", b"text/plain; charset=utf-8")


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
    what `time.perf_counter` said when the head was complete, in seconds, and `first_byte` when the first piece of the response was
    handed over; 0.0 for a response in one piece, whose first byte goes with its last. `request_id` is empty where requests have no
    name.
    """

    __slots__ = (
        "_body",
        "_body_taken",
        "_headers",
        "_hurried",
        "_observer",
        "_trailers",
        "_waiters",
        "_writer",
        "bytes_in",
        "bytes_out",
        "eager",
        "ended",
        "first_byte",
        "head",
        "launched",
        "logger",
        "request_id",
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
        self.request_id = head.request_id
        self.scope = scope
        self.started = started
        self.first_byte = 0.0
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
        self._headers: list[Any] = _EMPTY
        #: None unless the application has announced some.
        self._trailers: list[Any] | None = None
        self._body: list[bytes] = []
        self._body_taken = False
        #: Whether an application that waits for its client to leave is told so although it is the server that goes.
        self._hurried = False
        #: What tasks of the application wait for in `receive`, one as a rule; None if nobody does.
        self._waiters: list[asyncio.Future[None]] | None = None

    def __repr__(self) -> str:
        state = ("idle", "held", "hinted", "open", "file", "trailing", "complete", "closed")[self.state]
        return f"<HttpCycle {self.head.method} {self.head.target!r} {state} {self.status or '-'}>"

    @property
    def response_headers(self) -> list[Any]:
        """Those of the application; what the server adds is not among them."""
        return self._headers

    # The request side, called by the connection.

    def feed(self, data: bytes) -> None:
        """A piece of the request body arrived."""
        self.bytes_in += len(data)
        self.head.expects_continue = False  # the client did not wait to be asked
        self._body.append(data)
        if self._waiters is not None:
            self._wake()

    def feed_end(self) -> None:
        """The request is complete."""
        self.ended = True
        if self._waiters is not None:
            self._wake()

    def disconnect(self) -> None:
        """The peer is gone, or the response is given up: nothing more can be sent."""
        if self.state < COMPLETE:
            self.state = CLOSED
            self._observer.response_complete(self)
        if self._waiters is not None:
            self._wake()

    @property
    def endless(self) -> bool:
        """Whether this is a stream of events under way, which ends only when one side goes."""
        return self.state == OPEN and _is_event_stream(self._headers)

    def hurry(self) -> None:
        """The server is going: let an application that waits for its client to leave come to its end, if it has begun to answer."""
        if self.state >= OPEN and not self._hurried:
            self._hurried = True
            self._wake()

    def cut(self, task: asyncio.Task[Any] | None) -> None:
        """End a response that is `endless`, at the boundary between two of its messages, and then the application, which runs in `task`."""
        if not self.endless:
            return
        self.state = CLOSED
        self._writer.end()
        self._observer.response_complete(self)
        self._writer.done()
        self._wake()
        if task is not None:
            task.cancel("the server is shutting down")

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        if waiters is not None:
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def gather(self, limit: int) -> bytes | None:
        """Wait for the request's body, which stays here for the application; None if it is above `limit`, or the client left."""
        while not self.ended and self.state < COMPLETE and self.bytes_in <= limit:
            await self._wait()
        return b"".join(self._body) if self.state < COMPLETE and self.bytes_in <= limit else None

    # The application side.

    async def run(self, app: ASGIApplication) -> None:
        """Call the application and see to it that its request is answered, whatever it does."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as exc:
            if says_that_the_client_left(exc):
                self.logger.debug("The application stopped at a client that had left: %r", self)
            else:
                self.logger.exception("Exception in ASGI application")
                self.failed()
                self.fail()
        except BaseException:
            # Cancelled, or the interpreter is about to end. Either way nobody will complete this response.
            self.fail()
            raise
        else:
            if self.state < COMPLETE:
                what = "starting" if self.state == IDLE else "completing"
                self.logger.error("ASGI callable returned without %s response.", what)
                self.failed()
                self.fail()

    async def receive(self) -> Message:
        if self._body_taken or self.state >= COMPLETE:
            # The request is used up. What is left to tell is that the client went, or that the response is done, or
            # should be.
            while self.state < COMPLETE and not self._hurried:
                await self._wait()
            return {"type": "http.disconnect"}
        if not self.ended:
            if self.head.expects_continue and not self._body:
                self.head.expects_continue = False
                if self.state < OPEN:
                    self._writer.inform(100, _EMPTY)
                else:
                    self._writer.consumed(0)  # nothing can tell the client, but it is its turn
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
        # A future for each: an application may wait in several tasks at once, and cancelling one must not wake the others.
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        """Leave nothing behind: some applications look again and again whether the client is still there."""
        if self._waiters is not None and waiter in self._waiters:
            self._waiters.remove(waiter)

    async def send(self, message: Message) -> None:
        kind = message["type"]
        state = self.state
        if kind == "http.response.body":
            if HELD <= state <= OPEN:
                body = message.get("body", b"")
                if type(body) is not bytes:
                    body = as_bytes(body, "body of a response")
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
        elif HELD <= state <= TRAILING and await self._send_extension(kind, message):
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
        if "trailers" in message:
            self._trailers = [] if message["trailers"] else None
        self.state = HELD
        if not self.eager:
            self.hold()

    def hold(self) -> None:
        """The head is held: see that it is not held for longer than it is worth."""
        if _is_event_stream(self._headers):
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
        if self.state < OPEN:
            self.bytes_out += self._writer.begin(self.status, self._headers, body)
            self.first_byte = time.perf_counter()
            self.state = OPEN
        else:
            self.bytes_out += self._writer.chunk(body)

    def _send_last(self, body: bytes) -> None:
        writer = self._writer
        if self._trailers is not None:
            if self.state != TRAILING:
                self._send_piece(body)
                self.state = TRAILING
                return
            self.state = COMPLETE
            writer.end(self._trailers)
        elif self.state < OPEN:
            self.bytes_out = writer.respond(self.status, self._headers, body)
            self.state = COMPLETE
        else:
            if body:
                self.bytes_out += writer.chunk(body)
            self.state = COMPLETE
            writer.end()
        # Counted before it is handed over: whoever has an answer finds it counted, also if we are killed right after.
        self._observer.response_complete(self)
        writer.done()
        if self._body:
            # The application did not want it. The peer may send as much again, for the next request.
            writer.consumed(sum(map(len, self._body)))
            self._body = []
        if self._waiters is not None:
            self._wake()

    # Extensions.

    async def _send_extension(self, kind: Any, message: Message) -> bool:
        """What is neither a start nor a body; false if it may not be sent now, or means nothing."""
        state = self.state
        if kind == "http.response.trailers":
            if state != TRAILING or self._trailers is None:
                return False
            fields = list(message.get("headers", _EMPTY))
            for name, value in fields:
                check_trailer(name, value)
            self._trailers += fields
            if not message.get("more_trailers", False):
                self._send_last(b"")
            return True
        if state > OPEN:
            return False
        if kind == "http.response.early_hint":
            self._hint(list(message["links"]))
        elif kind == "http.response.push":
            if "http.response.push" in self.scope.get("extensions", ()):
                self._writer.push(message["path"], list(message.get("headers", _EMPTY)))
        elif kind == "http.response.pathsend":
            await self._send_file(self._writer.file(message["path"], 0, None), more=False)
        elif kind == "http.response.zerocopysend":
            part = self._writer.file(message["file"], message.get("offset"), message.get("count"))
            await self._send_file(part, more=message.get("more_body", False))
        else:
            return False
        await self._keep_pace()
        return True

    def _hint(self, links: list[Any]) -> None:
        """Send an early hint (RFC 8297), or none where it is too late for it or the extension was not declared.

        The head is held from now on until there is a body: hints may follow, and it would end them.
        """
        if self.state < OPEN:
            if links and "http.response.early_hint" in self.scope.get("extensions", ()):
                self._writer.inform(103, [(b"link", link) for link in links])
            self.state = HINTED

    async def _send_file(self, part: FilePart, *, more: bool) -> None:
        try:
            body = part.small()
            if body is not None:
                if more:
                    self._send_piece(body)
                else:
                    self._send_last(body)
                return
            if self.state < OPEN:
                headers = self._headers
                if not more and self._trailers is None:
                    headers = _with_length(headers, part.size)
                self._writer.begin(self.status, headers, b"")
                self.first_byte = time.perf_counter()
            self.state = FILE
            try:
                await self._writer.send_file(part, self._count)
            except BaseException:
                self.fail()
                raise
        finally:
            part.close()
        if self.state == FILE:
            self.state = OPEN
            if not more:
                self._send_last(b"")

    def _count(self, size: int) -> None:
        self.bytes_out += size

    async def _keep_pace(self) -> None:
        if self._writer.paused and self.state < COMPLETE:
            await self._writer.drain()
        if self.state == CLOSED:
            raise ClientDisconnected("the client closed the connection")

    def failed(self) -> None:
        """The application did not do what it should: for whoever counts that."""
        self._writer.failed()

    def fail(self) -> None:
        """The application will send nothing more. Answer in its place, or give the response up."""
        if self.state >= COMPLETE:
            return
        if self.state >= OPEN:
            self.state = CLOSED
            self._writer.abort()
            self._observer.response_complete(self)
            return
        self.refuse(500, [(b"connection", b"close")])

    def switched(self, status: int, headers: list[Any]) -> None:
        """The request was answered by leaving HTTP; what comes now is another protocol."""
        self.status = status
        self._headers = headers
        self.state = COMPLETE
        self._observer.response_complete(self)

    def refuse(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Answer in place of the application, with the phrase of the status as the body."""
        self.status = status
        self._headers = [_PLAIN, *headers]
        self._trailers = None
        self.state = HELD
        self._send_last(HTTPStatus(status).phrase.encode("ascii"))

    def _complaint(self, kind: Any) -> str:
        expected = {
            IDLE: "'http.response.start'",
            HELD: "'http.response.body'",
            HINTED: "'http.response.body'",
            OPEN: "'http.response.body'",
            FILE: "the end of the file that is being sent",
            TRAILING: "'http.response.trailers'",
        }.get(self.state)
        if expected is None:
            return f"Unexpected ASGI message {kind!r} sent, after response already completed."
        return f"Expected ASGI message {expected}, but got {kind!r}."


def _is_event_stream(headers: list[Any]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


def _with_length(headers: list[Any], size: int) -> list[Any]:
    if any(name.lower() == b"content-length" for name, _ in headers):
        return headers
    return [*headers, (b"content-length", b"%d" % size)]


def as_bytes(data: object, name: str) -> bytes:
    """What an application gave for bytes. Raises `TypeError` for anything else, which it calls by `name`."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"The {name} must be bytes, got {type(data).__name__}.")
