"""The application of the drills: says who answered what, and can be made to hang, to spin and to leak.

`GET /?n=7` answers `<process id> 7 <bytes of body>`. Each process leaves a file with its id in $DRILL_FOLDER while it serves: the
file is there from the end of its start-up until its shutdown, and a process that was killed leaves it behind.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Turns of a loop in C that take about a second.
_TURNS = 200_000_000
# Only what is never given back leaks.
_LEAKED: list[bytes] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    words = dict(parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True))
    await _do(scope["path"], words)
    body = f"{os.getpid()} {words.get('n', 0)} {size}".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _do(path: str, words: dict[str, str]) -> None:
    seconds = float(words.get("for", 1))
    match path:
        case "/slow":
            await asyncio.sleep(seconds)
        case "/block":
            _tell_victim()
            time.sleep(seconds)  # noqa: ASYNC251 - the very defect that a supervisor has to notice
        case "/spin":
            # Never lets go of the interpreter: no other thread of this process runs meanwhile, and no signal handler.
            _tell_victim()
            collections.deque(itertools.repeat(None, int(seconds * _TURNS)), maxlen=0)
        case "/leak":
            _tell_victim()
            # Written to, or the kernel would give no memory.
            _LEAKED.append(b"x" * int(words["bytes"]))


def _tell_victim() -> None:
    (_folder() / "victim").write_text(str(os.getpid()))


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    mine = _folder() / str(os.getpid())
    mine.touch()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    mine.unlink(missing_ok=True)
    await send({"type": "lifespan.shutdown.complete"})


def _folder() -> Path:
    return Path(os.environ["DRILL_FOLDER"])
