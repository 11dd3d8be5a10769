"""What the clients talk to: the behaviours that a whole server is tested with, and those that only HTTP/2 shows.

It runs in the server's process; as there, what a test cannot see from outside is printed.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from tests.support import served, ws_served
from tests.support.served import Receive, Scope, Send, answer, lifespan, say, whole_body

HERE = Path(__file__).resolve().parent


async def describe(scope: Scope, receive: Receive, send: Send) -> None:
    """The size and the digest of what came, so that no piece can be missing or in another's place."""
    body = await whole_body(receive)
    await answer(send, f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode())


_WAITING: dict[int, asyncio.Barrier] = {}


async def together(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the client's port, once as many such requests are here as the query says."""
    count = int(scope["query_string"].partition(b"&")[0])
    await _WAITING.setdefault(count, asyncio.Barrier(count)).wait()
    await answer(send, b"%d" % scope["client"][1])


async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await whole_body(receive)
    say("has", *(name.decode() for name, _ in scope["headers"]))
    headers = [(b"trailer", b"x-checksum, x-late")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await send({"type": "http.response.body", "body": b"summed up"})
    for name, more in ((b"x-checksum", True), (b"x-late", False)):
        event = {"type": "http.response.trailers", "headers": [(name, b"17")], "more_trailers": more}
        await send(event)


async def hints(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for name in (b"style.css", b"script.js"):
        await send({"type": "http.response.early_hint", "links": [b"</%s>; rel=preload" % name]})
    await send({"type": "http.response.body", "body": b"hinted"})


async def push(scope: Scope, receive: Receive, send: Send) -> None:
    say("may push" if "http.response.push" in scope["extensions"] else "may not push")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.push", "path": "/pushed", "headers": [(b"x-pushed", b"yes")]})
    await send({"type": "http.response.body", "body": b"pushing"})


async def pushed(scope: Scope, receive: Receive, send: Send) -> None:
    asked = dict(scope["headers"]).get(b"x-pushed", b"no")
    say("pushed", scope["method"], asked.decode())
    await answer(send, b"pushed it")


async def file(scope: Scope, receive: Receive, send: Send) -> None:
    """A file of the server's folder, whole."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": scope["query_string"].decode()})


async def part(scope: Scope, receive: Receive, send: Send) -> None:
    """Half a megabyte of a file, from its thousandth byte."""
    with Path(scope["query_string"].decode()).open("rb") as opened:  # noqa: ASYNC230  # it is small, and on this machine
        await send({"type": "http.response.start", "status": 200, "headers": []})
        event = {"type": "http.response.zerocopysend", "file": opened, "offset": 1000, "count": 500_000}
        await send(event)


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Three events, and silence until the client leaves."""
    headers = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(3):
        event = f"data: {number} {scope['http_version']}\n\n".encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass
    say("nobody listens to events")


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """What a browser asks for by itself, an icon for instance."""
    await answer(send, b"nothing here", 404)


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"<!doctype html><title>page</title>", 200, (b"content-type", b"text/html"))


ROUTES = served.ROUTES | {
    "*": served.hello,  # `OPTIONS *`, with which nghttp asks for HTTP/2 before it uploads
    "/describe": describe,
    "/together": together,
    "/trailers": trailers,
    "/hints": hints,
    "/push": push,
    "/pushed": pushed,
    "/file": file,
    "/part": part,
    "/events": events,
    "/page": page,
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await ws_served.app(scope, receive, send)
    else:
        try:
            await ROUTES.get(scope["path"], nothing)(scope, receive, send)
        except served.ClientLeftError:
            say("the client left", scope["path"])
