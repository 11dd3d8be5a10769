"""Applications have their turn after everything that an iteration of the loop has brought was read, and not between two reads.

A read is a system call, and a processor comes back from one with less in its caches and branch predictors. An application that is called
from inside each read begins cold each time; called one behind the other, those of 64 connections take up to a fifth less of the processor
(docs/adr/0040-applications-in-turns.md). Where little is to be read there is nothing to gain, and waiting is a look at
the kernel more: requests are answered at once then.
"""

import asyncio
import sys
from typing import Final, Protocol

#: Requests of one iteration that are worth waiting for each other.
_WORTH: Final = 3
#: How many are answered at once after an iteration that brought fewer, before it is looked again.
_AT_ONCE: Final = 32


class Waiting(Protocol):
    """A connection that has a request for its application."""

    def advance(self) -> None:
        """Start what can be started."""

    def abort(self) -> None:
        """Close now, whatever is lost."""


class Rounds:
    """Who of one worker waits until this iteration of the loop has read everything."""

    __slots__ = ("_at_once", "_eager", "_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop, *, eager: bool = sys.version_info >= (3, 12)) -> None:
        """Without eager tasks an application has a turn of its own anyway, the next one."""
        self._loop = loop
        self._eager = eager
        self._waiting: list[Waiting] = []
        self._at_once = 0

    def join(self, connection: Waiting) -> None:
        """Call `connection.advance()`, now or once all is read. Twice does no harm."""
        if self._waiting:
            self._waiting.append(connection)
        elif self._at_once:
            self._at_once -= 1
            connection.advance()
        elif self._eager:
            self._waiting.append(connection)
            self._loop.call_soon(self._take)
        else:
            connection.advance()

    def _take(self) -> None:
        waiting, self._waiting = self._waiting, []
        if len(waiting) < _WORTH:
            self._at_once = _AT_ONCE
        for connection in waiting:
            try:
                connection.advance()
            except Exception as exc:  # noqa: BLE001 - a defect of ours, which is to cost its own connection and no other
                self._loop.call_exception_handler(
                    {"message": "A connection failed", "exception": exc, "protocol": connection}
                )
                connection.abort()
