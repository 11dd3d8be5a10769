"""Waiting for the next message, for an application's task, without a turn of the loop in between.

A future wakes its task through the loop: it puts the task's callback into the queue, and the loop calls that in its next turn.
Where the one who wakes is itself called by the loop, with nothing running around it, the task may as well go on right there:
what it answers then goes out with the same flush. An echoed message costs 3.7 us of processor time this way, and 4.0 us with a
future under uvloop, 5.4 us under asyncio, all without the kernel's part (docs/adr/0023-websockets.md).

Tasks take any object for a future that says so by `_asyncio_future_blocking` and has the few methods they call; see
`asyncio.isfuture`.
"""

import contextvars
from asyncio import AbstractEventLoop, CancelledError, current_task
from collections.abc import Callable, Generator
from typing import Any


class Waker:
    """What one task at a time awaits, again and again; `wake` lets it go on, at once where that is possible."""

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_cancelled",
        "_context",
        "_loop",
        "_message",
        "waiting",
    )

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._callback: Callable[[Any], object] | None = None
        self._context: contextvars.Context | None = None
        self._cancelled = False
        self._message: Any = None
        #: Whether a task waits.
        self.waiting = False

    def wake(self) -> None:
        """Let the task that waits, if there is one, go on."""
        callback, context = self._callback, self._context
        if callback is None or context is None:
            return
        self._callback = self._context = None
        self.waiting = False
        if current_task(self._loop) is None:
            context.run(callback, self)
        else:
            # From inside a task, which may be the application's own: one cannot run inside another.
            self._loop.call_soon(callback, self, context=context)

    def __await__(self) -> Generator["Waker", None, None]:
        self._asyncio_future_blocking = True
        self._cancelled = False
        yield self

    # What a task calls.

    def get_loop(self) -> AbstractEventLoop:
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: contextvars.Context) -> None:
        self._callback = callback
        self._context = context
        self.waiting = True

    def cancel(self, msg: Any = None) -> bool:
        callback, context = self._callback, self._context
        if callback is None or context is None:
            return False
        self._callback = self._context = None
        self.waiting = False
        self._cancelled = True
        self._message = msg
        self._loop.call_soon(callback, self, context=context)
        return True

    def result(self) -> None:
        if self._cancelled:
            self._cancelled = False
            raise CancelledError(*(() if self._message is None else (self._message,)))
