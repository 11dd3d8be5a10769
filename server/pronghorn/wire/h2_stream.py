"""One stream of HTTP/2, as the wire sees it: how far either side is, its windows, and what waits to be sent (RFC 9113 §5)."""

from collections import deque
from typing import Any


class Stream:
    """The state of a stream that is open or half-closed; one that is closed is forgotten by its connection.

    `expected` is the Content-Length that its request has declared. `pending` waits for a turn or for a window; behind it comes
    the end of the stream, if `ending` is set, with the `trailers` as the last block.
    """

    __slots__ = (
        "closed",
        "ending",
        "expected",
        "id",
        "incremental",
        "local_closed",
        "pending",
        "pending_size",
        "queued",
        "receive_window",
        "received",
        "remote_closed",
        "returned",
        "send_window",
        "sent",
        "trailers",
        "urgency",
    )

    def __init__(self, number: int) -> None:
        self.id = number
        self.local_closed = False
        self.remote_closed = False
        self.closed = False  # and nobody else is told any more
        # Receiving: what may still come, what of it was used up and not given back yet, and all bytes of the body so far.
        self.receive_window = 0
        self.returned = 0
        self.received = 0
        self.expected: int | None = None
        # Sending.
        self.send_window = 0
        self.sent = 0
        self.pending: deque[Any] = deque()  # of bytes and views of them
        self.pending_size = 0
        self.ending = False
        self.trailers = b""
        self.queued = False
        # RFC 9218 §4: from 0, the most urgent, to 7; and whether it is of use in parts, beside others of its urgency. Who
        # says nothing gets its turns like all the others.
        self.urgency = 3
        self.incremental = True

    def __repr__(self) -> str:
        remote = "closed" if self.remote_closed else "open"
        local = "closed" if self.local_closed else "open"
        return f"<{type(self).__name__} {self.id}, peer {remote}, we {local}, {self.pending_size} bytes wait>"

    # What the connection is told of, by whoever is derived from this.

    def on_data(self, data: bytes) -> None:
        """A piece of the request body."""

    def on_end(self) -> None:
        """The request is complete."""

    def on_reset(self, code: int) -> None:
        """The stream is gone: the peer has reset it, or we had to, or the connection is lost."""

    def on_answered(self) -> None:
        """All of the response went out, and the request is not complete yet."""

    def on_closed(self) -> None:
        """Nothing comes or goes any more. `on_reset` follows where that was not the peer's and our end of it."""

    def on_sent(self, size: int) -> None:
        """So much of `pending` went out."""


class Turns:
    """Whose turn it is to send a frame: the most urgent first, and those that are equally urgent one after the other."""

    __slots__ = ("_levels", "waiting")

    def __init__(self) -> None:
        self._levels: list[deque[Stream] | None] = [None] * 8
        #: How many there are; some may be gone by now.
        self.waiting = 0

    def add(self, stream: Stream) -> None:
        """Queue a stream that has something to send, behind the others."""
        level = self._levels[stream.urgency]
        if level is None:
            level = self._levels[stream.urgency] = deque()
        level.append(stream)
        stream.queued = True
        self.waiting += 1

    def again(self, stream: Stream) -> None:
        """Queue the stream that was taken last: it goes on at once if it is of no use in parts (RFC 9218 §10)."""
        self.add(stream)
        if not stream.incremental:
            level = self._levels[stream.urgency]
            assert level is not None
            level.rotate(1)

    def take(self) -> Stream | None:
        """The next one; None if nobody waits."""
        if not self.waiting:
            return None
        for level in self._levels:
            if level:
                self.waiting -= 1
                stream = level.popleft()
                stream.queued = False
                return stream
        return None
