"""An application whose capacity is known and not a matter of the machine: so many requests at a time, each for so long.

400 requests a second: 20 at a time, 50 ms each, as a pool of connections to a database gives. What is too much waits here, in memory, for
as long as it takes: an application does nothing about overload, and what is before it has to. $FIXED_SLOTS and $FIXED_SECONDS are
others.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

SLOTS = int(os.environ.get("FIXED_SLOTS", "20"))
SECONDS = float(os.environ.get("FIXED_SECONDS", "0.05"))

_free = asyncio.Semaphore(SLOTS)


async def app(
    scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Answers when it was its turn and its time has passed."""
    if scope["type"] != "http":
        raise NotImplementedError(f"{scope['type']}: {receive} has nothing to tell")
    async with _free:
        await asyncio.sleep(SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"done\n"})
