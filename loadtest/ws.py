"""A WebSocket for Locust's users, with what a person notices told as requests.

`open` is the handshake, `first message` goes from before it to what the server says first, `round trip` from sending to one's own
message coming back, and `close CODE` is how it ended: the time from our close frame to the server's where we ended it, and the time it
was open where the server did, which is a failure.

A greenlet for each WebSocket reads all the time: pings are answered, and no message waits for its reader, whatever the user is doing.
websocket-client blocks on plain sockets, which gevent has patched when Locust is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import websocket
from gevent.event import AsyncResult, Event
from locust import User

from loadtest.measured import Measure, measured, tell
from loadtest.target import PATIENCE, Target
from loadtest.user import TargetUser

#: RFC 6455, section 7.4.1: ended in good order, no code was given, no close frame came.
NORMAL, NO_CODE, LOST = 1000, 1005, 1006


class UnexpectedCloseError(Exception):
    """The server ended it, or ended it with another code."""


class WebSocket:
    """One of a user's. `answers(message)`: the token whose round trip a message ends, or None."""

    def __init__(self, user: User, group: str, target: Target, answers: Callable[[str], str | None]) -> None:
        self.user = user
        self.group = group
        self.target = target
        self.answers = answers
        #: Set once with the code that it ended with.
        self.closed: AsyncResult[int] = AsyncResult()
        self.received = 0
        self._first = Event()
        self._pending: dict[str, AsyncResult[tuple[float, int]]] = {}
        self._leaving = False
        self._reader: gevent.Greenlet[..., None] | None = None
        self._socket: websocket.WebSocket | None = None

    def open(self, path: str, patience: float = PATIENCE) -> bool:
        """The handshake and the first message; whether both came to pass. What went wrong is counted."""
        began = time.perf_counter()
        with measured(self.user, "WS", f"{self.group}: open") as handshake:
            self._socket = websocket.create_connection(
                self.target.websocket_url(path),
                timeout=PATIENCE,
                sslopt={"context": self.target.tls} if self.target.secure else None,
                # The reader answers pings while the user sends.
                enable_multithread=True,
            )
        if handshake.error is not None:
            return False
        self._reader = gevent.spawn(self._read, time.perf_counter())
        with measured(self.user, "WS", f"{self.group}: first message") as first:
            first.began = began
            self._wait(self._first, patience)
        return first.error is None

    def exchange(self, token: str, message: str, patience: float = 10) -> bool:
        """Sends, and waits until what it said comes back; whether it did. What went wrong is counted."""
        came: AsyncResult[tuple[float, int]] = AsyncResult()
        self._pending[token] = came
        try:
            with measured(self.user, "WS", f"{self.group}: round trip") as trip:
                self._opened.send(message)
                arrived, trip.length = self._wait(came, patience)
                # When it was there, not when this greenlet had its turn.
                trip.time = (arrived - trip.began) * 1000
        finally:
            self._pending.pop(token, None)
        return trip.error is None

    def close(self, code: int = NORMAL, patience: float = 10) -> None:
        """The closing handshake, from our side. It is counted, if the server has not ended it already."""
        if self._reader is None or self.closed.ready():
            return
        self._leaving = True
        measure = Measure(f"{self.group}: close {code}")
        try:
            self._opened.send_close(code)
            ended = self._wait(self.closed, patience)
            measure.name = f"{self.group}: close {ended}"
            if ended != code:
                measure.error = UnexpectedCloseError(f"closed with {ended} in answer to {code}")
        except (OSError, websocket.WebSocketException) as error:
            measure.error = error
        tell(self.user, "WS", measure)
        self.abandon()

    def abandon(self) -> None:
        """Without a word: for a user who is stopped. Nothing is counted."""
        self._leaving = True
        if self._reader is not None:
            self._reader.kill(block=False)
        if self._socket is not None:
            self._socket.shutdown()  # type: ignore[no-untyped-call]

    @property
    def _opened(self) -> websocket.WebSocket:
        assert self._socket is not None, "open() comes first"
        return self._socket

    def _wait(self, what: Event | AsyncResult[Any], patience: float) -> Any:
        """What it holds, once it is there. Raises `TimeoutError` for patience, `UnexpectedCloseError` where the end comes first."""
        gevent.wait([what, self.closed], timeout=patience, count=1)
        if what.ready():
            return what.get() if isinstance(what, AsyncResult) else None
        if self.closed.ready():
            raise UnexpectedCloseError(f"closed with {self.closed.get()} instead")
        raise TimeoutError(f"nothing in {patience:g} s")

    def _read(self, opened: float) -> None:
        """Until it has ended; then the code is there for whoever waits."""
        code, reason = LOST, "the connection was lost"
        try:
            code, reason = self._read_frames()
        except (OSError, websocket.WebSocketException) as error:
            reason = str(error) or type(error).__name__
        self.closed.set(code)
        if not self._leaving:
            ended = UnexpectedCloseError(f"ended by the server: {reason}")
            tell(self.user, "WS", Measure(f"{self.group}: close {code}", error=ended, began=opened))

    def _read_frames(self) -> tuple[int, str]:
        """Until a close frame comes, which is answered: its code and its reason."""
        parts: list[bytes] = []
        while True:
            frame = self._opened.recv_frame()  # type: ignore[no-untyped-call]
            if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
                if not self._leaving:
                    self._opened.send(frame.data, websocket.ABNF.OPCODE_CLOSE)
                return _close_frame(frame.data)
            if frame.opcode == websocket.ABNF.OPCODE_PING:
                self._opened.pong(frame.data)
            elif frame.opcode != websocket.ABNF.OPCODE_PONG:
                parts.append(frame.data)
                if frame.fin:
                    self._message(b"".join(parts))
                    parts.clear()

    def _message(self, data: bytes) -> None:
        now = time.perf_counter()
        self.received += 1
        self._first.set()
        token = self.answers(data.decode())
        waiting = self._pending.get(token) if token is not None else None
        if waiting is not None:
            waiting.set((now, len(data)))


def _close_frame(data: bytes) -> tuple[int, str]:
    """Code and reason of a close frame."""
    if len(data) < 2:
        return NO_CODE, "without a code"
    return int.from_bytes(data[:2]), data[2:].decode(errors="replace") or "without a reason"


class WebSocketUser(TargetUser):
    """A user with one WebSocket at a time. Below it: `group`, and tasks that use what `websocket` gives."""

    abstract = True
    group = ""
    _current: WebSocket | None = None

    def websocket(self, answers: Callable[[str], str | None]) -> WebSocket:
        """A new one, not yet open."""
        self._current = WebSocket(self, self.group, self.target, answers)
        return self._current

    def on_stop(self) -> None:
        """What is open when the test ends is left without a word."""
        if self._current is not None:
            self._current.abandon()
