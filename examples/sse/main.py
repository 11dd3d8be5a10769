"""Server-sent events with a page: raw ASGI, no framework, no dependency.

make up APP=examples/sse

A stream has three things to get right behind a proxy. It says `X-Accel-Buffering: no`, or nginx collects it. It is never silent
for longer than the proxy's patience (60 s in nginx): comments keep it awake. And it ends, when the server stops or a
connection breaks: each event has an id, the browser comes back with the last one it got, and hears the rest.
"""

import asyncio
import contextlib
import json
from pathlib import Path
from urllib.parse import parse_qs

from ticker import Ticker

HEARTBEAT = 15

TYPES = {".html": b"text/html; charset=utf-8", ".js": b"text/javascript", ".css": b"text/css"}
FILES = {f"/{file.name}": file for file in (Path(__file__).parent / "page").iterdir()}
FILES["/"] = FILES.pop("/index.html")
PAGE = {path: (TYPES[file.suffix], file.read_bytes()) for path, file in FILES.items()}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] != "http":
        raise NotImplementedError(f"this example speaks HTTP only, not {scope['type']}")
    elif scope["method"] not in {"GET", "HEAD"}:
        await respond(send, 405, b"text/plain", b"GET and HEAD only\n")
    elif scope["path"] == "/events":
        await events(scope, receive, send)
    elif scope["path"] in PAGE:
        await respond(send, 200, *PAGE[scope["path"]])
    else:
        await respond(send, 404, b"text/plain", b"not found\n")


async def respond(send, status, kind, content):
    headers = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(content)),
        (b"content-security-policy", b"default-src 'self'; img-src data:"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def events(scope, receive, send, heartbeat=HEARTBEAT):
    """What was missed, then each tick as it comes, until the client goes or the server wants to stop."""
    ticker, told = scope["state"]["ticker"], last_event_id(scope)
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    # How many milliseconds the browser waits before it comes back; and, for the page to show, where this stream goes on.
    text = f"retry: 1000\nevent: hello\ndata: {json.dumps({'after': told})}\n\n"
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        while not gone.done():
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            if not ticker.since(told):
                await asyncio.wait({gone, ticker.next}, timeout=heartbeat, return_when="FIRST_COMPLETED")
            text = ": still here\n\n"
            # A client that reads slowly suspends the send above, and gets all that came meanwhile at once.
            if news := ticker.since(told):
                told = news[-1][0]
                text = "".join(
                    f"id: {number}\ndata: {json.dumps({'load': load})}\n\n" for number, load in news
                )
        await send({"type": "http.response.body"})
    finally:
        gone.cancel()


def last_event_id(scope):
    """A browser that comes back by itself sends a header; a page that starts anew can only write it into the address."""
    asked = parse_qs(scope["query_string"].decode("latin-1")).get("after", ["0"])[0]
    text = dict(scope["headers"]).get(b"last-event-id", asked.encode()).decode("latin-1")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else 0


async def disconnected(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def lifespan(scope, receive, send):
    """One ticker, in the state that every request gets."""
    await receive()
    scope["state"]["ticker"] = ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    ticking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await ticking
    await send({"type": "lifespan.shutdown.complete"})
