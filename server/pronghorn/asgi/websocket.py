"""ONE WebSocket cycle, for both codecs and every version of HTTP (ASGI WebSocket specification, version 2.5, and its denial
response).

A WebSocket begins as a request. Until it is accepted it has an `HttpCycle`, which knows how to refuse it: for an application that
closes (403), answers in its own words (`websocket.http.response`), fails (500), or does nothing at all. Once it is accepted it
has a `WebSocketChannel`, through which messages go out; those that come in wait here, up to a number and a size, and then the
peer has to wait.

`send` branches by hand for speed. `asgi/ws_states.py` says the same as data, and a property test holds the two together.
"""

import asyncio
from collections import deque
from typing import Any, Final, Protocol

from pronghorn.types import ASGIApplication, Message
from pronghorn.wire.ports import WebSocketChannel
from pronghorn.wire.ws_close import ABNORMAL, GOING_AWAY, INTERNAL_ERROR, NORMAL, sendable

from .disconnect import ClientDisconnected, says_that_the_client_left
from .http import HttpCycle, as_bytes
from .waker import Waker
from .ws_states import CONNECTING, DENYING, FINISHED, LOST, OPEN, REFUSED

#: Bytes, or characters, of messages that may wait for the application, beside their number.
QUEUED: Final = 65_536


class Opener(Protocol):
    """A connection that can turn into a WebSocket."""

    def open(self, subprotocol: str | None, headers: list[Any]) -> WebSocketChannel:
        """Answer the handshake. Raises `InvalidResponse`, or another `ValueError`, before anything is written."""


class WebSocketCycle:
    """One WebSocket, from its handshake to its end. `max_queue` is how many messages may wait for the application."""

    __slots__ = (
        "_channel",
        "_full",
        "_greeted",
        "_http",
        "_loop",
        "_max_queue",
        "_opener",
        "_others",
        "_queue",
        "_reason",
        "_size",
        "_waker",
        "code",
        "logger",
        "scope",
        "state",
        "target",
    )

    _channel: WebSocketChannel  # once it is open

    def __init__(self, http: HttpCycle, scope: dict[str, Any], opener: Opener, max_queue: int) -> None:
        self.logger = http.logger
        self.target = http.head.target
        self.scope = scope
        self.state = CONNECTING
        # These two until it is accepted, and then they go, and with them the connection that has read the handshake.
        self._http: HttpCycle | None = http
        self._opener: Opener | None = opener
        self._max_queue = max_queue
        self._greeted = False
        self._queue: deque[str | bytes] = deque()
        self._size = 0
        self._full = False
        self.code = ABNORMAL
        self._reason = ""
        self._loop = asyncio.get_running_loop()
        self._waker = Waker(self._loop)
        self._others: list[Waker] | None = None  # of an application that waits in several tasks

    def __repr__(self) -> str:
        state = ("connecting", "denying", "open", "refused", "finished", "lost")[self.state]
        return f"<WebSocketCycle {self.target!r} {state} {self.code if self.state > OPEN else '-'}>"

    # The peer's side, called by the connection.

    def feed(self, data: str | bytes) -> bool:
        """A message has come. False once there is no room for another."""
        queue = self._queue
        queue.append(data)
        self._size += len(data)
        self._waker.wake()
        if self._others is not None:
            self._wake()
        if len(queue) >= self._max_queue or self._size > QUEUED:
            self._full = True
            return False
        return True

    def disconnect(self, code: int, reason: str) -> None:
        """It is over. Messages that have come are still there for the application to take."""
        if self.state <= OPEN:
            self.state = LOST
            self.code = code
            self._reason = reason
            self._wake()

    def _wake(self) -> None:
        self._waker.wake()
        if self._others is not None:
            others, self._others = self._others, None
            for waker in others:
                waker.wake()

    # The application's side.

    async def run(self, app: ASGIApplication) -> None:
        """Call the application and see to it that its WebSocket comes to an end, whatever it does."""
        logger = self.logger
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as exc:
            if self.state == LOST and says_that_the_client_left(exc):
                logger.debug("The application stopped at a client that had left: %r", self)
            else:
                logger.exception("Exception in ASGI application")
                self._failed()
                self._end(INTERNAL_ERROR)
        except BaseException:
            self._end(GOING_AWAY)
            raise
        else:
            if self.state == CONNECTING:
                logger.error("ASGI callable returned without accepting or closing the WebSocket.")
                self._failed()
            elif self.state == DENYING:
                logger.error("ASGI callable returned without completing response.")
                self._failed()
            self._end(NORMAL)

    def _failed(self) -> None:
        if self._http is None:
            self._channel.failed()
        else:
            self._http.failed()

    def _end(self, code: int) -> None:
        """The application will do nothing more."""
        state = self.state
        if state == OPEN:
            self._finish(FINISHED, code, "")
            self._channel.close(code, "")
        elif state < OPEN:
            self._finish(REFUSED, ABNORMAL, "")
            self._request().fail()
        self._queue.clear()

    async def receive(self) -> Message:
        if not self._greeted:
            self._greeted = True
            return {"type": "websocket.connect"}
        queue = self._queue
        while not queue:
            if self.state > OPEN:
                return {"type": "websocket.disconnect", "code": self.code, "reason": self._reason}
            waker = self._waker
            if waker.waiting:
                waker = Waker(self._loop)
                if self._others is None:
                    self._others = []
                self._others.append(waker)
            await waker
        data = queue.popleft()
        self._size -= len(data)
        if self._full and len(queue) <= self._max_queue // 2 and self._size <= QUEUED // 2:
            self._full = False
            if self.state == OPEN:
                self._channel.resume()
        if type(data) is str:
            return {"type": "websocket.receive", "text": data}
        return {"type": "websocket.receive", "bytes": data}

    async def send(self, message: Message) -> None:
        kind = message["type"]
        state = self.state
        if state == OPEN:
            if kind == "websocket.send":
                data = message.get("bytes")
                if data is None:
                    text = message.get("text")
                    behind = self._channel.text(text if type(text) is str else _as_text(text))
                else:
                    behind = self._channel.binary(
                        data if type(data) is bytes else as_bytes(data, "bytes of a message")
                    )
                if behind:
                    await self._channel.drain()
                    if self.state == LOST:
                        raise ClientDisconnected("the client closed the connection")
                return
            if kind == "websocket.close":
                self._close(message)
                return
        elif state == CONNECTING:
            if kind == "websocket.accept":
                self._accept(message)
                return
            if kind == "websocket.close":
                self._finish(REFUSED, _code_of(message), _reason_of(message))
                self._request().refuse(403, [(b"connection", b"close")])
                return
            if kind == "websocket.http.response.start":
                await self._request().send({**message, "type": "http.response.start"})
                self.state = DENYING
                return
        elif state == DENYING and kind == "websocket.http.response.body":
            await self._request().send({**message, "type": "http.response.body"})
            if not message.get("more_body", False):
                self._finish(REFUSED, ABNORMAL, "")
            return
        if state == LOST:
            raise ClientDisconnected("the client closed the connection")
        raise RuntimeError(self._complaint(kind))

    def _accept(self, message: Message) -> None:
        assert self._opener is not None
        headers = list(message.get("headers") or ())
        self._channel = self._opener.open(message.get("subprotocol"), headers)
        self.state = OPEN
        self._http = self._opener = None

    def _request(self) -> HttpCycle:
        """What answers in place of a WebSocket that is not open."""
        assert self._http is not None
        return self._http

    def _close(self, message: Message) -> None:
        code, reason = _code_of(message), _reason_of(message)
        if not sendable(code):
            raise RuntimeError(
                f"{code} is no code that a WebSocket can be closed with (RFC 6455, section 7.4)."
            )
        self._finish(FINISHED, code, reason)
        self._queue.clear()
        self._channel.close(code, reason)

    def _finish(self, state: int, code: int, reason: str) -> None:
        self.state = state
        self.code = code
        self._reason = reason
        self._wake()

    def _complaint(self, kind: str) -> str:
        expected = {
            CONNECTING: "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
            DENYING: "'websocket.http.response.body'",
            OPEN: "'websocket.send' or 'websocket.close'",
        }.get(self.state)
        if expected is None:
            return f"Unexpected ASGI message {kind!r} sent, after the WebSocket was closed or refused."
        return f"Expected ASGI message {expected}, but got {kind!r}."


def _code_of(message: Message) -> int:
    code = message.get("code")
    return NORMAL if code is None else int(code)


def _reason_of(message: Message) -> str:
    reason = message.get("reason") or ""
    return reason if type(reason) is str else str(reason)  # FastAPI gives a list of what it finds invalid


def _as_text(text: object) -> str:
    if text is None:
        raise RuntimeError("A websocket.send event needs text or bytes.")
    if not isinstance(text, str):
        raise TypeError(f"The text of a message must be str, got {type(text).__name__}.")
    return text
