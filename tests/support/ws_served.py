"""The application that the tests of a whole server open WebSockets to: each path is one behaviour.

As with `served`, what a test cannot see from outside is printed, one line a fact.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.served import Receive, Scope, Send, lifespan, say

ACCEPT = {"type": "websocket.accept"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every message with itself; the subprotocol is the first one that is offered."""
    offered = scope["subprotocols"]
    await send({**ACCEPT, "subprotocol": offered[0] if offered else None})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})
    say("received", message)


async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    await send(ACCEPT)
    shown = {key: [type(value).__name__, repr(value)] for key, value in scope.items()}
    await send({"type": "websocket.send", "text": json.dumps(shown)})
    await send({"type": "websocket.close", "code": 3000, "reason": "shown"})


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close"})


async def deny(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"www-authenticate", b"Basic"), (b"content-type", b"text/plain")]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
    for piece in (b"who ", b"are "):
        await send({"type": "websocket.http.response.body", "body": piece, "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"you?"})


async def crash(scope: Scope, receive: Receive, send: Send) -> None:
    """Before it has accepted, or with ?later behind a message."""
    if scope["query_string"] == b"later":
        await send(ACCEPT)
        await receive()
    raise ValueError("on purpose")


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Send without end, a megabyte at a time."""
    await send(ACCEPT)
    number = 0
    try:
        while True:
            sending = asyncio.ensure_future(send({"type": "websocket.send", "bytes": bytes(1_048_576)}))
            await asyncio.wait([sending], timeout=0.3)
            if not sending.done():
                say("suspended in", number)
            await sending
            number += 1
    except OSError as exc:
        say("flood ended with", type(exc).__name__)


async def late(scope: Scope, receive: Receive, send: Send) -> None:
    """Take nothing before the file named by the query is there, and then tell how much there was up to an empty message."""
    await send(ACCEPT)
    name = scope["query_string"].decode()
    while not Path(name).exists():  # noqa: ASYNC110, ASYNC240  # another process makes it
        await asyncio.sleep(0.01)
    count = 0
    while (await receive()).get("text") != "":
        count += 1
    await send({"type": "websocket.send", "text": str(count)})


async def goodbye(scope: Scope, receive: Receive, send: Send) -> None:
    """Say when the end is told, and do something slow then."""
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        pass
    say("received", message)
    await asyncio.sleep(0.1)
    say("cleaned up")


async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
    """Never look at what is received."""
    await send(ACCEPT)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("cancelled")
        raise


async def told(scope: Scope, receive: Receive, send: Send) -> None:
    say("told")


ROUTES = {
    "/": echo,
    "/told": told,
    "/scope": show_scope,
    "/refuse": refuse,
    "/deny": deny,
    "/crash": crash,
    "/flood": flood,
    "/late": late,
    "/goodbye": goodbye,
    "/stubborn": stubborn,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"http"})
    else:
        first: Any = await receive()
        assert first == {"type": "websocket.connect"}
        await ROUTES[scope["path"]](scope, receive, send)
