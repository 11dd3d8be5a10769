"""What the HTTP/2 suite talks to: each path is one behaviour. Those that are not here are tests/support/served.py's.

It runs in the server's process. `GET /seen` tells which requests came since it was last asked, so that a test knows what never
ran.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from tests.support import served
from tests.support.served import Receive, Scope, Send, answer, say, whole_body

SEEN: list[dict[str, Any]] = []


async def seen(scope: Scope, receive: Receive, send: Send) -> None:
    told = json.dumps(SEEN).encode()
    SEEN.clear()
    await answer(send, told)


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    """The request as the application sees it, behind its body."""
    body = await whole_body(receive)
    await answer(send, json.dumps({**described(scope), "body": body.decode("latin-1")}).encode())


async def stay(scope: Scope, receive: Receive, send: Send) -> None:
    """Take the body, and answer nothing for as long as the client is there."""
    say("stays")
    while (event := await receive())["type"] != "http.disconnect":
        say("took", len(event["body"]))
    say("left alone")


async def size(scope: Scope, receive: Receive, send: Send) -> None:
    """As many bytes as the query says, in one piece."""
    count = int(scope["query_string"])
    await answer(send, b"x" * count, 200, (b"content-length", b"%d" % count))


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """As much as the client takes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    say("endless")
    with contextlib.suppress(OSError):
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})


async def begin(scope: Scope, receive: Receive, send: Send) -> None:
    """A response that has begun, and goes on when the body is complete."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    await whole_body(receive)
    await send({"type": "http.response.body", "body": b", done"})


async def short(scope: Scope, receive: Receive, send: Send) -> None:
    """Less than is declared."""
    await answer(send, b"four", 200, (b"content-length", b"9"))


async def long(scope: Scope, receive: Receive, send: Send) -> None:
    """More than is declared."""
    await answer(send, b"four", 200, (b"content-length", b"2"))


async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
    """Fail in the middle of a response."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    raise ValueError("on purpose")


async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
    await send({"type": "http.response.body", "body": b"body"})
    fields = [(b"x-checksum", b"abc"), (b"x-more", b"1")]
    await send({"type": "http.response.trailers", "headers": fields})


async def only_trailers(scope: Scope, receive: Receive, send: Send) -> None:
    """As a gRPC server answers a call that failed."""
    headers = [(b"content-type", b"application/grpc")]
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await send({"type": "http.response.body"})
    await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"5")]})


async def early(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for link in (b"</a.css>; rel=preload", b"</b.css>; rel=preload"):
        await send({"type": "http.response.early_hint", "links": [link]})
    await send({"type": "http.response.body", "body": b"late"})


async def file(scope: Scope, receive: Receive, send: Send) -> None:
    """The file named by the query, in the current folder."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.pathsend", "path": scope["query_string"].decode()})


async def part_of_a_file(scope: Scope, receive: Receive, send: Send) -> None:
    """A hundred bytes of it, between others."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"<", "more_body": True})
    with open(scope["query_string"].decode(), "rb") as opened:  # noqa: ASYNC230, PTH123  # what is sent is an open file
        part = {"file": opened, "offset": 10, "count": 100, "more_body": True}
        await send({"type": "http.response.zerocopysend", **part})
    await send({"type": "http.response.body", "body": b">"})


async def push(scope: Scope, receive: Receive, send: Send) -> None:
    """Promise /mirror, where that can be, and say whether it could."""
    told = b"http.response.push" in [name.encode() for name in scope["extensions"]]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if told:
        await send({"type": "http.response.push", "path": "/mirror", "headers": [(b"x-pushed", b"1")]})
    await send({"type": "http.response.body", "body": b"pushed" if told else b"not pushed"})


async def connection_fields(scope: Scope, receive: Receive, send: Send) -> None:
    """What an application written for HTTP/1.1 may send."""
    fields = (
        (b"Connection", b"keep-alive"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Upgrade", b"h2c"),
        (b"X-Upper", b"Case"),
    )
    await answer(send, b"body", 200, *fields)


async def wide(scope: Scope, receive: Receive, send: Send) -> None:
    """A head that no single frame holds."""
    await answer(send, b"body", 200, *((b"x-%d" % number, b"v" * 1000) for number in range(40)))


async def bad_field(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"body", 200, (b"x", b"a\r\nx-smuggled: 1"))


ROUTES = {
    "/seen": seen,
    "/mirror": mirror,
    "/stay": stay,
    "/size": size,
    "/endless": endless,
    "/begin": begin,
    "/short": short,
    "/long": long,
    "/break-off": break_off,
    "/trailers": trailers,
    "/only-trailers": only_trailers,
    "/early": early,
    "/file": file,
    "/part-of-a-file": part_of_a_file,
    "/push": push,
    "/connection-fields": connection_fields,
    "/wide": wide,
    "/bad-field": bad_field,
}


def described(scope: Scope) -> dict[str, Any]:
    keys = ("type", "http_version", "scheme", "path", "root_path")
    told = {key: scope[key] for key in keys}
    told |= {key: scope[key].decode("latin-1") for key in ("raw_path", "query_string")}
    told["method"] = scope.get("method")
    told["client"] = scope["client"]
    told["extensions"] = sorted(scope["extensions"])
    told["headers"] = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
    return told


async def echo_messages(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket that sends back what comes; /refuse lets nobody in."""
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    subprotocols = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": subprotocols[0] if subprotocols else None})
    while (event := await receive())["type"] == "websocket.receive":
        if event.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
            return
        await send({**event, "type": "websocket.send"})
    say("websocket.disconnect", event["code"])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        SEEN.append(described(scope))
        await echo_messages(scope, receive, send)
        return
    route = ROUTES.get(scope.get("path", ""))
    if scope["type"] == "http" and route is not seen:
        SEEN.append(described(scope))
    if route is None:
        await served.app(scope, receive, send)
        return
    try:
        await route(scope, receive, send)
    except served.ClientLeftError:
        say("the client left", scope["path"])
    except asyncio.CancelledError:
        say("cancelled", scope["path"])
        raise
