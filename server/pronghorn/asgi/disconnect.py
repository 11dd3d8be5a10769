"""What an application gets to know of a client that left: by its `send()`, and what a server makes of what it does then."""

import asyncio

from pronghorn.types import ASGIApplication, Message, Receive, Scope, Send


class ClientDisconnected(OSError):
    """Raised by ``send()`` once the client is gone, as the ASGI specification asks since version 2.4."""


class IgnoringSend:
    """An application whose ``send()`` does nothing once the client is gone, as before version 2.4.

    For applications that take the exception for an error of their own. They have to look at ``receive()`` to know when to
    stop, so a send that does nothing lets everybody else have a turn.
    """

    __slots__ = ("_app",)

    def __init__(self, app: ASGIApplication) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, _Ignoring(send))


class _Ignoring:
    __slots__ = ("_send",)

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        try:
            await self._send(message)
        except ClientDisconnected:
            await asyncio.sleep(0)


def says_that_the_client_left(exc: BaseException) -> bool:
    """Whether an exception is ours of that meaning, or what a framework made of it: Starlette's ``ClientDisconnect``.

    Any other error that follows ours, in a clean-up for instance, is an error all the same.
    """
    if isinstance(exc, BaseExceptionGroup):
        return all(map(says_that_the_client_left, exc.exceptions))
    if isinstance(exc, ClientDisconnected):
        return True
    origin = exc.__cause__ or exc.__context__
    if origin is None or "disconnect" not in type(exc).__name__.lower():
        return False
    return says_that_the_client_left(origin)
