"""The service of `examples/grpc`, and a method that tells what becomes of it. It runs in the server's process."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.support.served import say

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples/grpc"))
main, rpc = (importlib.import_module(name) for name in ("main", "rpc"))


async def linger(call: Any) -> AsyncIterator[bytes]:
    """Never answer."""
    why = (await call.message()).decode()
    say("lingers:", why)
    try:
        await asyncio.Event().wait()
    finally:
        say("had enough:", why)
    yield b""


async def give_up(call: Any) -> AsyncIterator[bytes]:
    """Fail after a message."""
    yield await call.message()
    raise rpc.Error(rpc.RESOURCE_EXHAUSTED, "no more")


app = rpc.serve({**main.METHODS, "/pronghorn.Demo/Linger": linger, "/pronghorn.Demo/GiveUp": give_up})
