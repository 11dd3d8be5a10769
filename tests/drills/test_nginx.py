"""What befalls nginx: the server behind it is ready all the time, and only who was with what is gone has something to lose."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.drills import inside
from tests.drills.drill import Drill
from tests.integration.nginx_workers import nginx_workers, reload
from tests.integration.stack import docker


@pytest.mark.drill(did="three reloads of nginx", must="nothing is lost, and what is open stays open")
async def test_nginx_reloaded(drill: Drill) -> None:
    async with drill.load():
        for _ in range(3):
            await asyncio.to_thread(reload, drill.stack)
    drill.lost_at_most(0)
    again = {row.kind: row.asked_again for row in drill.rows}
    assert (again["events"], again["websocket"]) == (0, 0)
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="SIGKILL of each worker of nginx, one after the other",
    must="at most what each client had under way is lost; the master replaces them; the log says which ended of what",
)
async def test_nginx_worker_killed(drill: Drill) -> None:
    async with drill.load():
        old = await asyncio.to_thread(nginx_workers, drill.stack)
        drill.begins()
        for own in old:
            victim = await asyncio.to_thread(inside.of, drill.stack, "nginx", own)
            victim.signal(signal.SIGKILL)
            await drill.says("nginx", f"worker process {own} exited on signal 9")
            await drill.answered()

        def replaced() -> bool:
            now = nginx_workers(drill.stack).keys()
            return len(now) == len(old) and not now & old.keys()

        await drill.watch.until(lambda: asyncio.to_thread(replaced), "as many workers as before")
    # A client has one request under way, and the stream and the WebSocket are with one worker each.
    drill.lost_at_most(len(old) * len(drill.rows))
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="SIGKILL of nginx' master, the first process of its container",
    must="the engine starts it again; the server is ready all the time; every kind of client is back",
)
async def test_nginx_master_killed(drill: Drill) -> None:
    async with drill.load():
        before = await asyncio.to_thread(drill.stack.inspect, "nginx")
        victim = await asyncio.to_thread(inside.master, drill.stack)
        drill.begins()
        victim.signal(signal.SIGKILL)

        def started() -> bool:
            return bool(drill.stack.inspect("nginx")["RestartCount"] > before["RestartCount"])

        await drill.watch.until(lambda: asyncio.to_thread(started), "nginx was started again", 90)
        await drill.answered()
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="docker kill of nginx' container; docker start once clients were refused",
    must="the server is ready all the time, and has let go of whom nginx had; every kind of client is back",
)
async def test_nginx_container_killed(drill: Drill) -> None:
    async with drill.load():
        container = await asyncio.to_thread(drill.stack.container, "nginx")
        drill.begins()
        await asyncio.to_thread(docker, "kill", container)
        await drill.answered()

        async def deserted() -> bool:
            rows = await drill.watch.workers()
            return all(row["connections"] == row["in_flight"] == row["websockets"] == 0 for row in rows)

        await drill.watch.until(deserted, "the server has no connection any more")
        await asyncio.to_thread(docker, "start", container)
        await drill.answered()
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="docker restart of nginx, which has three seconds for what is open",
    must="the server is ready all the time; every kind of client is back",
)
async def test_nginx_restarted(drill: Drill) -> None:
    async with drill.load():
        container = await asyncio.to_thread(drill.stack.container, "nginx")
        drill.begins()
        await asyncio.to_thread(docker, "restart", "--time", "3", container)
        await drill.answered()
    assert not drill.watch.red, drill.watch.reasons
