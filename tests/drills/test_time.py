"""The wall clock jumps, as when a machine wakes, or its clock is set: what is measured in seconds does not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.drills.drill import Drill
from tests.integration.stack import ROOT

HOURS = 6
#: Seconds within which what was just said was said.
NEAR = 120


def _library() -> Path:
    """libfaketime of this machine, which Debian's scripts/ensure brings; older than the containers' C library, so that it loads there."""
    subprocess.run([ROOT / "scripts/ensure", "faketime", "faketime"], check=True)
    [found] = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return found


def _offset(hours: int) -> str:
    """As libfaketime takes it, always as long, so that one write replaces it: half of it would be another time."""
    return f"{hours:+06d}h"


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Path]:
    """The file that both containers' clocks are read from."""
    tmp_path.chmod(0o755)
    file = tmp_path / "offset"
    file.write_text(_offset(0))
    settings = {"FAKETIME_LIBRARY": str(_library()), "DRILL_CLOCK": str(file)}
    os.environ.update(settings)
    yield file
    for name in settings:
        del os.environ[name]


@pytest.mark.drill(
    did="the wall clocks of both containers are set six hours ahead, then twelve back",
    must="nothing is lost, and what is open stays open; Date and log follow the clock; no duration, timeout or limit does; ready all the time",
    variant="clock",
)
async def test_clock_jump(clock: Path, drill: Drill) -> None:
    async with drill.load():
        for hours in (HOURS, -HOURS):
            drill.begins()
            with clock.open("r+") as file:
                file.write(_offset(hours))
            async with httpx.AsyncClient(base_url=drill.stack.url, timeout=30) as client:

                async def follows(client: httpx.AsyncClient = client, hours: int = hours) -> bool:
                    told = parsedate_to_datetime((await client.get("/process")).headers["date"]).timestamp()
                    return abs(told - (time.time() + hours * 3600)) < NEAR

                await drill.watch.until(follows, "Date follows the clock")
            # Longer than the server's pings, its heartbeats and its keep-alive checks take to misjudge it.
            await asyncio.sleep(6)
            await drill.answered()
        workers = await drill.watch.workers()
    drill.lost_at_most(0)
    again = {row.kind: row.asked_again for row in drill.rows}
    assert (again["events"], again["websocket"]) == (0, 0)
    assert not drill.watch.red, drill.watch.reasons
    assert len(workers) == 2
    records = [
        record for record in drill.stack.log_records("app") if record.get("logger") == "pronghorn.access"
    ]
    assert all(0 <= record["duration_ms"] < NEAR * 1000 for record in records)
    # Both leaps are in the times of the log.
    assert len({record["time"][:13] for record in records}) >= 3
