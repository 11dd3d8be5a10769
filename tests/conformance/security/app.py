"""What the security suite is run against: it remembers every request that reaches it, and sends what it is told to.

It runs in the server's process. `GET /seen` tells what came since it was last asked, so that a test knows what never ran.
"""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.security.replies import REPLIES

SEEN: list[dict[str, Any]] = []


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/seen":
        told = json.dumps(SEEN).encode()
        SEEN.clear()
        await answer(send, told)
    elif scope["path"].startswith("/send/"):
        for event in REPLIES[scope["path"].removeprefix("/send/")].events:
            await send(event)
    else:
        await remember(scope, receive, send)


async def remember(scope: dict[str, Any], receive: Any, send: Any) -> None:
    request = {
        "method": scope["method"],
        "path": scope["path"],
        "client": scope["client"] and scope["client"][0],
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "body": "",
        "complete": False,
    }
    SEEN.append(request)
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        request["body"] += event["body"].decode("latin-1")
        more = event["more_body"]
    request["complete"] = True
    await answer(send, b"seen")


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
