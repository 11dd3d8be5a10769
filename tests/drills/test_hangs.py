"""The application hangs for some requests: these get an answer that says so, and nobody else waits."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.drills.drill import Drill

HANGING = 30
#: Longer than the 10 s that nginx waits here (tests/integration/nginx/proxy-timeouts.conf).
SECONDS = 14


@pytest.mark.drill(
    did="thirty requests for which the application does not answer in time",
    must="each gets 504 with the id that the log has, and is not asked again; nothing else is lost; ready all the time; nothing is left in flight",
)
async def test_slow_upstream(drill: Drill) -> None:
    async with drill.load():
        drill.begins()
        async with httpx.AsyncClient(base_url=drill.stack.url, timeout=60) as client:
            hanging = [client.get(f"/slow?seconds={SECONDS}&number={number}") for number in range(HANGING)]
            answers = await asyncio.gather(*hanging)
        await drill.answered()

        async def over() -> bool:
            # Events and the WebSocket of the load are the rest.
            return bool(sum(row["in_flight"] for row in await drill.watch.workers()) < HANGING // 2)

        await drill.watch.until(over, "the server has nothing of it in flight any more")
    assert [answer.status_code for answer in answers] == [504] * HANGING
    assert all(answer.json()["request_id"] == answer.headers["x-request-id"] for answer in answers)
    told = [record for record in drill.stack.log_records("nginx") if record.get("path") == "/slow"]
    assert {record["request_id"] for record in told} == {answer.headers["x-request-id"] for answer in answers}
    # One attempt each: what took too long once is not begun a second time.
    assert {record["upstream_status"] for record in told} == {"504"}
    drill.lost_at_most(0)
    assert not drill.watch.red, drill.watch.reasons
