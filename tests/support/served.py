"""The application that the tests of a whole server talk to: each path is one behaviour, for any request that asks for it.

It runs in the server's process. What a test cannot see from outside is printed, one line a fact; what a test decides
about comes as a file in the current folder, so that nothing has to be timed.
"""

import asyncio
import contextvars
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MEGABYTE = b"x" * 1_048_576
left_behind: contextvars.ContextVar[str] = contextvars.ContextVar("left_behind", default="nothing")


def say(*words: object) -> None:
    print("app:", *words, flush=True)  # noqa: T201  # it is how the test hears of it


async def file_appears(name: str) -> None:
    while not Path(name).exists():  # noqa: ASYNC110, ASYNC240  # another process makes it, and looking takes no time
        await asyncio.sleep(0.01)


class ClientLeftError(Exception):
    pass


async def whole_body(receive: Receive) -> bytes:
    pieces = []
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientLeftError
        pieces.append(event["body"])
        if not event["more_body"]:
            return b"".join(pieces)


async def answer(send: Send, body: bytes, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, b"hello", 200, (b"content-type", b"text/plain"))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, await whole_body(receive))


async def echo_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """Send each piece of the body as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    more = True
    while more:
        event = await receive()
        more = event["more_body"]
        await send({"type": "http.response.body", "body": event["body"], "more_body": more})


async def count(scope: Scope, receive: Receive, send: Send) -> None:
    """How many bytes of body came; takes them one event at a time and keeps none."""
    total = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ClientLeftError
        total += len(event["body"])
        if not event["more_body"]:
            break
    await answer(send, b"%d" % total)


async def late_count(scope: Scope, receive: Receive, send: Send) -> None:
    say("lets wait")
    await file_appears(scope["query_string"].decode())
    await count(scope, receive, send)


async def show_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope as JSON: for each key the name of its type, and its value in Python's notation."""
    shown = {key: [type(value).__name__, repr(value)] for key, value in scope.items()}
    await answer(send, json.dumps(shown).encode())


async def spoil_scope(scope: Scope, receive: Receive, send: Send) -> None:
    """Show what is in the scope, then leave something in every part of it that can be written to."""
    before = {
        "keys": sorted(scope),
        "asgi": sorted(scope["asgi"]),
        "state": {key: repr(value) for key, value in scope["state"].items()},
        "context": left_behind.get(),
    }
    left_behind.set(scope["query_string"].decode())
    scope["mine"] = scope["asgi"]["mine"] = scope["state"]["mine"] = 1
    scope["state"]["shared"].append(len(scope["state"]["shared"]))
    scope["headers"].append((b"x-mine", b"1"))
    await answer(send, json.dumps(before).encode())


async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for piece in (b"one", b"two", b"three"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def wait(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer once the file named by the query is there."""
    name = scope["query_string"].decode()
    say("waits for", name)
    await file_appears(name)
    await answer(send, name.encode())


async def late_receive(scope: Scope, receive: Receive, send: Send) -> None:
    """Do not ask for the body before the file named by the query is there."""
    say("reached", scope["path"])
    await file_appears(scope["query_string"].decode())
    await answer(send, await whole_body(receive))


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without a look at the body."""
    await answer(send, b"no", 403)


async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    say("hangs")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError as exc:
        say("cancelled:", exc)
        raise


async def listen(scope: Scope, receive: Receive, send: Send) -> None:
    """Start a response that never ends, and tell how the client's leaving shows."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begin", "more_body": True})
    while (event := await receive())["type"] != "http.disconnect":
        pass
    say("received", event)
    try:
        await send({"type": "http.response.body", "body": b"more", "more_body": True})
    except OSError as exc:
        say("send raised", type(exc).__name__, "which is an OSError")
        raise


class FrameworksDisconnectError(Exception):
    pass


async def renamed(scope: Scope, receive: Receive, send: Send) -> None:
    """Make another exception of the one that send() raises, as frameworks do."""
    try:
        await listen(scope, receive, send)
    except OSError:
        raise FrameworksDisconnectError  # noqa: B904  # that is how they do it


async def clumsy(scope: Scope, receive: Receive, send: Send) -> None:
    """Have a bug in what is done when the client has left."""
    try:
        await listen(scope, receive, send)
    except OSError:
        raise KeyError("on purpose")  # noqa: B904  # as a bug would


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """Stream as many megabytes as the query says, telling which of them is being sent."""
    total = int(scope["query_string"])
    say("floods")
    headers = [(b"content-length", b"%d" % (total * len(MEGABYTE)))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for number in range(total):
        sending = asyncio.ensure_future(
            send({"type": "http.response.body", "body": MEGABYTE, "more_body": number < total - 1})
        )
        await asyncio.wait([sending], timeout=0.3)
        if not sending.done():
            say("suspended in", number)
        try:
            await sending
        except OSError:
            say("flood ended")
            raise
    say("flooded")


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("on purpose")


async def bodiless(scope: Scope, receive: Receive, send: Send) -> None:
    """The status named by the query, and a body that it must not have."""
    status = int(scope["query_string"])
    await answer(send, b"not for you", status, (b"content-length", b"11"))


async def own_headers(scope: Scope, receive: Receive, send: Send) -> None:
    headers = ((b"server", b"mine"), (b"date", b"today"), (b"x-app", b"yes"))
    await answer(send, b"", 200, *headers)


ROUTES = {
    "/": hello,
    "/echo": echo,
    "/echo-pieces": echo_pieces,
    "/count": count,
    "/late-count": late_count,
    "/scope": show_scope,
    "/spoil": spoil_scope,
    "/pieces": pieces,
    "/wait": wait,
    "/late-receive": late_receive,
    "/refuse": refuse,
    "/hang": hang,
    "/listen": listen,
    "/renamed": renamed,
    "/clumsy": clumsy,
    "/flood": flood,
    "/fail": fail,
    "/bodiless": bodiless,
    "/own-headers": own_headers,
}


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    scope["state"]["name"] = "from the lifespan"
    scope["state"]["shared"] = []
    await send({"type": "lifespan.startup.complete"})
    await receive()
    say("lifespan.shutdown")
    await send({"type": "lifespan.shutdown.complete"})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
        return
    path = scope["path"].removeprefix(scope["root_path"])
    route = ROUTES.get(path)
    if route is None:
        await answer(send, b"nothing here", 404)
    else:
        try:
            await route(scope, receive, send)
        except ClientLeftError:
            say("the client left", path)
