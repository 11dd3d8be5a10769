"""Memory of each worker of a larger application, imported by every worker or once before they are forked."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass
from pathlib import Path

from tests.support import kernel
from tests.support.drill_servers import Server
from tests.support.drills import Run, started
from tests.support.steady import Load, Steady

#: Routes and models as a service of some size has them; the answers come from the drills' own application.
LARGE = """
from fastapi import FastAPI
from pydantic import create_model

from drill_app import app

api = FastAPI()
for number in range(100):
    model = create_model(f"Model{number}", name=(str, ...), size=(int, 0), tags=(list[str], []))

    def handler(item, number=number):
        return item

    handler.__annotations__ = {"item": model, "return": model}
    api.post(f"/{number}")(handler)
api.openapi()
"""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB: resident and own share (PSS) of a worker, on average, and the sum of all shares, the supervisor's included."""

    server: str
    preload: bool
    resident: float
    share: float
    total: float


def measure(server: Server, python: Path, *, preload: bool) -> Memory:
    """Start it, let each worker answer some requests, and look."""
    more = server.preload if preload else ""
    with started(server, "", python, more=more, app="large:app", source=LARGE) as run:
        return asyncio.run(_measure(run, preload))


async def _measure(run: Run, preload: bool) -> Memory:
    await run.begin()
    async with Steady(run.address, Load(slow=0, uploads=0)):
        await asyncio.sleep(2)
    of_workers = [kernel.memory(pid) for pid in run.workers()]
    of_all = [kernel.memory(pid) for pid, state in kernel.session(run.process.pid).items() if state != "Z"]
    return Memory(
        run.server.name,
        preload,
        statistics.mean(resident for resident, _ in of_workers) / _MIB,
        statistics.mean(share for _, share in of_workers) / _MIB,
        sum(share for _, share in of_all) / _MIB,
    )
