"""ASGI 2 for a server that speaks ASGI 3: ``ASGI2Middleware(app)``.

An application of ASGI 2 is called with the scope, and what that returns with ``receive`` and ``send``. The messages are
the same, so the two calls are all there is to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pronghorn.types import Receive, Scope, Send

ASGI2Application = Callable[[Scope], Callable[[Receive, Send], Awaitable[None]]]


class ASGI2Middleware:
    """An ASGI 3 application made of one of ASGI 2."""

    def __init__(self, app: ASGI2Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make the instance of this scope and run it."""
        await self.app(scope)(receive, send)
