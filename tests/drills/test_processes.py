"""A worker, the supervisor, a container is gone or hangs: what was in it is lost at most, and the rest never notices."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest

from tests.drills import inside
from tests.drills.drill import Drill
from tests.integration.stack import docker

#: Kinds of clients whose requests nginx may not send a second time, or that stay open: they have something to lose.
UNREPEATABLE = ("uploads", "events", "websocket")
#: GETs that are under way: so many that whichever worker has most has some.
WAITING = 24


async def _workers(drill: Drill) -> list[inside.Process]:
    rows = await drill.watch.workers()
    return [await asyncio.to_thread(inside.of, drill.stack, "app", int(row["pid"])) for row in rows]


@pytest.mark.drill(
    did="SIGKILL of one of two workers, in which GETs are under way",
    must="at most what was in it is lost, and no GET: another worker is asked; ready all the time; two workers again; the log says which died of what",
)
async def test_worker_killed(drill: Drill) -> None:
    async with drill.load(), httpx.AsyncClient(base_url=drill.stack.url, timeout=60) as client:
        workers, nginx = await _workers(drill), await asyncio.to_thread(inside.master, drill.stack)
        before = sum(one.held(nginx) for one in workers)
        under_way = [
            asyncio.create_task(client.get(f"/slow?seconds=5&number={one}")) for one in range(WAITING)
        ]
        await drill.watch.until(
            lambda: sum(one.held(nginx) for one in workers) >= before + WAITING // 2,
            "they are with the server",
        )
        # So that nginx has idle connections to both, and may take one of the dead worker's for another attempt.
        await asyncio.gather(*(client.get("/slow?seconds=0.1&number=0") for _ in range(WAITING)))
        victim = max(workers, key=lambda one: one.held(nginx))
        drill.begins()
        victim.signal(signal.SIGSTOP)
        held = victim.held(nginx)
        victim.signal(signal.SIGKILL)
        answers = await asyncio.gather(*under_way)
        line = await drill.says("app", f"[{victim.own}]", "died")
        await drill.workers_are(2)
        await drill.watch.until(
            lambda: drill.watch.counts.get('pronghorn_worker_exits_total{cause="signal"}'), "it is counted"
        )
    assert "SIGKILL" in line
    assert [answer.json() for answer in answers] == [str(number) for number in range(WAITING)]
    told = [
        record["upstream_status"]
        for record in drill.stack.log_records("nginx")
        if record.get("path") == "/slow"
    ]
    # Otherwise none of them was in there.
    assert "502, 200" in told
    drill.lost_at_most(held, *UNREPEATABLE)
    drill.each_is_named()
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="SIGSTOP of one of two workers, which then hangs",
    must="at most what was in it is lost; ready all the time; it is replaced; the log says which hung",
)
async def test_worker_hung(drill: Drill) -> None:
    async with drill.load():
        workers, nginx = await _workers(drill), await asyncio.to_thread(inside.master, drill.stack)
        # That which has most to lose.
        victim = max(workers, key=lambda one: one.held(nginx))
        drill.begins()
        victim.signal(signal.SIGSTOP)
        held = victim.held(nginx)
        await drill.says("app", "Killing child process", f"[{victim.own}]")
        await drill.workers_are(2)
    drill.lost_at_most(held)
    drill.each_is_named()
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="a request that eats more memory than the container may have",
    must="the kernel ends that worker alone; at most what was in it is lost, and no GET; ready all the time; two workers again",
)
async def test_memory_exhausted(drill: Drill) -> None:
    async with drill.load():
        workers = await _workers(drill)
        drill.begins()
        async with httpx.AsyncClient(base_url=drill.stack.url, timeout=60) as client:
            # A POST: a GET would be asked once more, of the other worker.
            answer = await client.post("/eat?mebibytes=800")
        await drill.says("app", "Child process", "died", "SIGKILL")
        await drill.workers_are(2)
    # On a busy machine the kernel may need longer than nginx waits.
    assert answer.status_code in {502, 504}
    assert sum(worker.alive for worker in workers) == 1
    # Nobody could look what was in it: one request of each such client is the most there can have been.
    drill.lost_at_most(len(UNREPEATABLE), *UNREPEATABLE)
    drill.each_is_named()
    assert not drill.watch.red, drill.watch.reasons
    assert drill.stack.inspect("app")["RestartCount"] == 0


async def _restarts(drill: Drill, service: str, more_than: int) -> None:
    def started() -> bool:
        found = drill.stack.inspect(service)
        return bool(
            found["RestartCount"] > more_than and found["State"].get("Health", {}).get("Status") == "healthy"
        )

    await drill.watch.until(lambda: asyncio.to_thread(started), f"{service} was started again", 90)


@pytest.mark.drill(
    did="SIGKILL of the supervisor, the first process of its container",
    must="the engine starts all of it again, over the socket left behind; red meanwhile and green again; each request refused has an id in the log",
)
async def test_supervisor_killed(drill: Drill) -> None:
    async with drill.load():
        before = await asyncio.to_thread(drill.stack.inspect, "app")
        victim = await asyncio.to_thread(inside.server, drill.stack)
        drill.begins()
        victim.signal(signal.SIGKILL)
        await _restarts(drill, "app", before["RestartCount"])
        await drill.workers_are(2)
    assert drill.watch.red
    assert drill.recovery > 0
    drill.each_is_named()
    # Whoever reads nginx' log learns that nobody listened.
    assert "111: Connection refused" in drill.log("nginx") or not drill.lost


@pytest.mark.drill(
    did="docker kill of the application's container; docker start once clients were refused",
    must="nginx answers 502 in JSON at once, with the id that its log has; red meanwhile and green again; nothing is in the way of the start",
)
async def test_app_container_killed(drill: Drill) -> None:
    async with drill.load():
        container = await asyncio.to_thread(drill.stack.container, "app")
        drill.begins()
        await asyncio.to_thread(docker, "kill", container)
        async with httpx.AsyncClient(base_url=drill.stack.url, timeout=60) as client:
            refused = await client.get("/process")
        await drill.answered()
        # The engine takes it for somebody's wish, and leaves it.
        state = (await asyncio.to_thread(drill.stack.inspect, "app"))["State"]
        await asyncio.to_thread(docker, "start", container)
        await drill.workers_are(2)
    assert (state["Status"], state["ExitCode"]) == ("exited", 128 + signal.SIGKILL)
    assert refused.status_code == 502
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert drill.watch.red
    # All kinds of clients were refused, and all of them are back.
    assert drill.lost.keys() == {row.kind for row in drill.rows}
    drill.each_is_named()


@pytest.mark.drill(
    did="docker restart of both containers at once",
    must="red meanwhile and green again; every kind of client is back",
)
async def test_both_restarted(drill: Drill) -> None:
    async with drill.load():
        containers = [await asyncio.to_thread(drill.stack.container, service) for service in ("app", "nginx")]
        drill.begins()
        # Three seconds for what is open.
        await asyncio.to_thread(docker, "restart", "--time", "3", *containers)
        await drill.workers_are(2)
    assert drill.watch.red
