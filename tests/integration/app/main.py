"""The application the integration tests run behind the stack: each path shows one thing to whoever asks through nginx."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BLOCK = 64 * 1024


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Hands a request to the function of its path."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    assert scope["type"] in {"http", "websocket"}
    known, other = (PATHS, missing) if scope["type"] == "http" else (SOCKETS, denied)
    await known.get(scope["path"], other)(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def query(scope: Scope, name: str, default: str) -> str:
    values: dict[str, list[str]] = parse_qs(scope["query_string"].decode())
    return values.get(name, [default])[0]


async def start(send: Send, status: int, *headers: tuple[str, str]) -> None:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def answer(send: Send, value: Any, status: int = 200, *headers: tuple[str, str]) -> None:
    body = json.dumps(value).encode()
    length = ("content-length", str(len(body)))
    await start(send, status, ("content-type", "application/json"), length, *headers)
    await send({"type": "http.response.body", "body": body})


def described(scope: Scope) -> dict[str, Any]:
    """The scope as JSON takes it."""
    names = ("client", "server", "scheme", "http_version", "method", "path", "subprotocols")
    return {
        **{name: scope[name] for name in names if name in scope},
        "raw_path": scope["raw_path"].decode(),
        "query_string": scope["query_string"].decode(),
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
    }


async def scope_dump(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope as JSON: what the server made of what nginx sent."""
    await answer(send, described(scope))


async def process(scope: Scope, receive: Receive, send: Send) -> None:
    """Who the server is: user, groups, process id."""
    await answer(send, {"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid()})


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Length and SHA-256 of the body, without ever holding all of it."""
    digest, length, more = hashlib.sha256(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        digest.update(message.get("body", b""))
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, {"length": length, "sha256": digest.hexdigest()})


async def download(scope: Scope, receive: Receive, send: Send) -> None:
    """So many bytes, the n-th block all of the byte n modulo 251; with a pause between blocks where asked for."""
    size, pause = int(query(scope, "size", "0")), float(query(scope, "pause", "0"))
    await start(send, 200, ("content-type", "application/octet-stream"), ("content-length", str(size)))
    for number, begin in enumerate(range(0, size, BLOCK)):
        block = bytes([number % 251]) * min(BLOCK, size - begin)
        await send({"type": "http.response.body", "body": block, "more_body": True})
        await asyncio.sleep(pause)
    await send({"type": "http.response.body", "body": b""})


class Gate:
    """A stream that goes on only when another request says so: order is proved without measuring time."""

    def __init__(self) -> None:
        self.steps: asyncio.Queue[None] = asyncio.Queue()


GATES: dict[str, Gate] = {}


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Three pieces; the second and the third are sent when /step is asked for, if the client is still there. `sse=1`: events."""
    gate = GATES.setdefault(query(scope, "gate", ""), Gate())
    events = query(scope, "sse", "") == "1"
    kind = "text/event-stream" if events else "text/plain"
    await start(send, 200, ("content-type", kind), ("x-accel-buffering", "no"))
    gone = asyncio.ensure_future(disconnected(receive))
    for number in range(3):
        if number:
            step = asyncio.ensure_future(gate.steps.get())
            await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                return
        piece = f"data: {number}\n\n" if events else f"piece {number}\n"
        await send({"type": "http.response.body", "body": piece.encode(), "more_body": True})
    gone.cancel()
    await send({"type": "http.response.body", "body": b""})


async def disconnected(receive: Receive) -> None:
    """Comes back when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def step(scope: Scope, receive: Receive, send: Send) -> None:
    """Lets a stream send its next piece."""
    GATES.setdefault(query(scope, "gate", ""), Gate()).steps.put_nowait(None)
    await answer(send, "stepped")


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """Events without an end, twenty a second, from whoever is asked to go as well."""
    await start(send, 200, ("content-type", "text/event-stream"), ("x-accel-buffering", "no"))
    while True:
        await send({"type": "http.response.body", "body": b"data: more\n\n", "more_body": True})
        await asyncio.sleep(0.05)


#: Another one in the images of test_deploy.py.
VERSION = "1"


async def version(scope: Scope, receive: Receive, send: Send) -> None:
    """Which one answers."""
    await answer(send, VERSION)


SLEEPING: set[str] = set()


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after so many seconds; /sleeping tells which requests are in there."""
    number = query(scope, "number", "")
    SLEEPING.add(number)
    await asyncio.sleep(float(query(scope, "seconds", "1")))
    SLEEPING.discard(number)
    await answer(send, number)


async def sleeping(scope: Scope, receive: Receive, send: Send) -> None:
    """The numbers of the requests that /slow is serving now."""
    await answer(send, sorted(SLEEPING))


EATEN: list[bytes] = []


async def eat(scope: Scope, receive: Receive, send: Send) -> None:
    """Takes so many MiB, a piece at a time, and keeps them: the kernel has a say in how far it gets."""
    for _ in range(int(query(scope, "mebibytes", "1"))):
        # Written to, or the kernel would give no memory.
        EATEN.append(b"x" * (1 << 20))
        await asyncio.sleep(0)
    await answer(send, len(EATEN))


async def own_headers(scope: Scope, receive: Receive, send: Send) -> None:
    """An application with a mind of its own about headers that nginx has defaults for."""
    headers = [
        ("x-frame-options", "DENY"),
        ("x-request-id", "the application's"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ]
    await answer(send, "mine", 200, *headers)


async def own_error(scope: Scope, receive: Receive, send: Send) -> None:
    """A 502 and a 504 of the application's own must pass as they are."""
    await answer(send, "the application's own error", int(query(scope, "status", "502")))


SEEN: list[dict[str, Any]] = []


async def missing(scope: Scope, receive: Receive, send: Send) -> None:
    """Any other path: remembered for /seen, and told in the answer, so that nobody gets that of somebody else."""
    request = {"method": scope["method"], "path": scope["path"], "complete": False}
    SEEN.append(request)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        more = message.get("more_body", False)
    request["complete"] = True
    await answer(send, {"path": scope["path"]}, 404, ("x-seen", "yes"))


async def seen(scope: Scope, receive: Receive, send: Send) -> None:
    """The requests that came to no other path since this was last asked for."""
    told = SEEN.copy()
    SEEN.clear()
    await answer(send, told)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, after so many seconds where asked for, tells the scope first where asked for, and sends back all that comes."""
    assert (await receive())["type"] == "websocket.connect"
    await asyncio.sleep(float(query(scope, "seconds", "0")))
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    if query(scope, "tell", "") == "1":
        await send({"type": "websocket.send", "text": json.dumps(described(scope))})
    while (event := await receive())["type"] == "websocket.receive":
        kind = "text" if event.get("text") is not None else "bytes"
        await send({"type": "websocket.send", kind: event[kind]})


async def denied(scope: Scope, receive: Receive, send: Send) -> None:
    """Any other path: the application's own answer instead of a WebSocket."""
    assert (await receive())["type"] == "websocket.connect"
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"no socket here"})


SOCKETS = {"/echo": echo}


async def talk(scope: Scope, receive: Receive, send: Send) -> None:
    """Says something in every way that an application has, and does nothing about logging."""
    log = logging.getLogger("shop")
    log.info("An order\nin two lines", extra={"order": 7})
    log.debug("not shown")
    warnings.warn("That is old", UserWarning, stacklevel=2)
    thread = threading.Thread(target=lambda: 1 / 0, name="talker")
    thread.start()
    thread.join()
    raise LookupError("let through")


PATHS = {
    "/talk": talk,
    "/scope": scope_dump,
    "/process": process,
    "/upload": upload,
    "/download": download,
    "/stream": stream,
    "/step": step,
    "/events": events,
    "/version": version,
    "/slow": slow,
    "/sleeping": sleeping,
    "/eat": eat,
    "/own-headers": own_headers,
    "/own-error": own_error,
    "/seen": seen,
}
