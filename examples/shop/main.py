"""A shop of every kind of traffic: JSON, uploads, a download, a report that streams, events, and a chat. Raw ASGI, no dependency.

make up APP=examples/shop

It is what the load tests are for (docs/load-tests.md). Nothing is kept: an order gets a number and is forgotten. `/api` tells what there is.
"""

import asyncio
import contextlib
import hashlib
import itertools
import json
import time
from urllib.parse import parse_qs

from chat import chat

PRODUCTS = [
    {"id": number, "name": f"Product {number}", "price": 100 + number * 37 % 900, "stock": number % 50}
    for number in range(1, 501)
]
PAGE = 20
CATALOGUE = bytes(range(256)) * 4096  # 1 MiB
SOLD, EVERY = 20, 0.05  # rows of the report, and seconds that each takes to find
TICK = 0.5

orders = itertools.count(1)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await chat(scope, receive, send)
    else:
        method, path = scope["method"], scope["path"]
        known = PATHS.get(path)
        if known is None and path.startswith("/api/products/"):
            known = product
        if known is None:
            await answer(send, 404, {"error": "not found"})
        elif method not in (("POST",) if known in {order, upload} else ("GET", "HEAD")):
            await answer(send, 405, {"error": f"no {method} here"})
        else:
            # Whose client is gone has nobody to answer.
            with contextlib.suppress(GoneError):
                await known(scope, receive, send)


class GoneError(Exception):
    """The client left before its request was whole."""


async def answer(send, status, value):
    body = json.dumps(value).encode() + b"\n"
    await start(send, status, b"application/json", (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.body", "body": body})


async def start(send, status, kind, *more):
    headers = [(b"content-type", kind), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def overview(scope, receive, send):
    await answer(send, 200, {"paths": [*PATHS, "/chat"]})


async def products(scope, receive, send):
    text = parse_qs(scope["query_string"].decode("latin-1")).get("page", ["1"])[0]
    page = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 1
    first = (page - 1) * PAGE
    await answer(
        send, 200, {"page": page, "total": len(PRODUCTS), "products": PRODUCTS[max(first, 0) : first + PAGE]}
    )


async def product(scope, receive, send):
    text = scope["path"].removeprefix("/api/products/")
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if 1 <= number <= len(PRODUCTS):
        await answer(send, 200, PRODUCTS[number - 1])
    else:
        await answer(send, 404, {"error": "no such product"})


async def order(scope, receive, send):
    """Takes a product and a quantity, and gives a number."""
    body = b""
    async for piece in pieces(receive):
        body += piece
        if len(body) > 4096:
            await answer(send, 413, {"error": "that is no order"})
            return
    try:
        wanted = json.loads(body)
        known = 1 <= wanted["product"] <= len(PRODUCTS) and 1 <= wanted["quantity"] <= 99
    except (ValueError, LookupError, TypeError, RecursionError):
        known = False
    if known:
        await answer(send, 201, {"number": next(orders)})
    else:
        await answer(send, 422, {"error": "a product and a quantity, please"})


async def upload(scope, receive, send):
    """How much came, without ever holding all of it."""
    digest, length = hashlib.sha256(), 0
    async for piece in pieces(receive):
        digest.update(piece)
        length += len(piece)
    await answer(send, 200, {"length": length, "sha256": digest.hexdigest()})


async def pieces(receive):
    """Of the body, as they come."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def catalogue(scope, receive, send):
    await start(send, 200, b"application/octet-stream", (b"content-length", b"%d" % len(CATALOGUE)))
    await send({"type": "http.response.body", "body": CATALOGUE})


async def report(scope, receive, send):
    """A row each time one is found. Without the last field nginx would collect them."""
    await start(send, 200, b"text/csv; charset=utf-8", (b"x-accel-buffering", b"no"))
    await send({"type": "http.response.body", "body": b"product,sold\n", "more_body": True})
    for number in range(1, SOLD + 1):
        await asyncio.sleep(EVERY)
        await send(
            {"type": "http.response.body", "body": b"%d,%d\n" % (number, number * 7), "more_body": True}
        )
    await send({"type": "http.response.body"})


async def events(scope, receive, send):
    """Twice a second what has been sold, until the client goes or the server wants to stop."""
    await start(
        send, 200, b"text/event-stream", (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")
    )
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        while not gone.done():
            text = f"data: {json.dumps({'at': time.time(), 'sold': int(time.time()) % 100})}\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            await asyncio.wait({gone}, timeout=TICK)
        await send({"type": "http.response.body"})
    finally:
        gone.cancel()


async def disconnected(receive):
    while (await receive())["type"] != "http.disconnect":
        pass


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


PATHS = {
    "/": overview,
    "/api": overview,
    "/api/products": products,
    "/api/orders": order,
    "/uploads": upload,
    "/files/catalogue.bin": catalogue,
    "/reports/sales.csv": report,
    "/events": events,
}
