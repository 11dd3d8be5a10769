"""Something runs out: file systems, descriptors, whoever reads the log. What needs none of it goes on, and all is well when it is back."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from contextlib import AsyncExitStack

import httpx
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.drills import inside
from tests.drills.drill import Drill
from tests.integration.sockets import connect, echoes
from tests.support import kernel

#: Writes until there is no room; the file is what takes it.
FILL = "dd if=/dev/zero of={0}/full bs=64k 2>/dev/null; dd if=/dev/zero of={0}/fuller bs=512 2>/dev/null; df {0} | tail -1"
FREE = "rm -f {0}/full {0}/fuller"


@pytest.mark.drill(
    did="/tmp and /dev/shm of the application's container are full; a worker is killed, another one wanted",
    must="nothing is lost but with that worker; it is replaced, for its counts have their room; the log says why there is no third",
)
async def test_app_tmpfs_full(drill: Drill) -> None:
    async with drill.load():
        for folder in ("/tmp", "/dev/shm"):
            assert " 100% " in await drill.execute("app", FILL.format(folder))
        await drill.answered()
        drill.lost_at_most(0)
        row = (await drill.watch.workers())[0]
        victim = await asyncio.to_thread(inside.of, drill.stack, "app", int(row["pid"]))
        nginx = await asyncio.to_thread(inside.master, drill.stack)
        server = await asyncio.to_thread(inside.server, drill.stack)
        drill.begins()
        victim.signal(signal.SIGSTOP)
        held = victim.held(nginx)
        victim.signal(signal.SIGKILL)
        await drill.workers_are(2)
        server.signal(signal.SIGTTIN)
        line = await drill.says("app", "no count file can be made", "No space left on device")
        for folder in ("/tmp", "/dev/shm"):
            await drill.execute("app", FREE.format(folder))
        await drill.workers_are(3)
        server.signal(signal.SIGTTOU)
        await drill.workers_are(2)
    assert json.loads(line)["level"] == "ERROR"
    drill.lost_at_most(held, "uploads", "events", "websocket")
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="/tmp of nginx' container is full, where uploads are collected",
    must="uploads alone are refused, each with an id in the log, which says why; they work again when there is room",
)
async def test_nginx_tmpfs_full(drill: Drill) -> None:
    async with drill.load():
        drill.begins()
        assert " 100% " in await drill.execute("nginx", FILL.format("/tmp"))
        await drill.says("nginx", "28: No space left on device")
        await drill.answered()
        await drill.execute("nginx", FREE.format("/tmp"))
        await drill.answered()
    assert drill.lost.keys() == {"uploads"}
    # nginx answers and closes while the client still sends, and some lose the connection before they have read the answer.
    told = [record for record in drill.stack.log_records("nginx") if record.get("path") == "/upload"]
    refused = [record for record in told if record["status"] == 500]
    assert len(drill.lost["uploads"]) <= len(refused)
    assert all(record["request_id"] for record in refused)
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="the server's workers may open no more files, and forty WebSockets come",
    must="who is in goes on; who is not let in is told so, with an id; ready all the time; no worker dies or spins; the log says why; all are let in again",
)
async def test_descriptors_exhausted(drill: Drill) -> None:
    url = drill.stack.url.replace("http", "ws") + "/echo"
    async with AsyncExitStack() as opened, drill.load():
        rows = await drill.watch.workers()
        workers = [await asyncio.to_thread(inside.of, drill.stack, "app", int(row["pid"])) for row in rows]

        async def enter(count: int) -> list[ClientConnection | BaseException]:
            return await asyncio.gather(
                *(opened.enter_async_context(connect(url)) for _ in range(count)), return_exceptions=True
            )

        early = [one for one in await enter(4) if isinstance(one, ClientConnection)]
        drill.begins()
        for one in workers:
            await _allow(drill, one, len(kernel.descriptors(one.pid)) + 5)
        late = await enter(40)
        used, since = [kernel.cpu(one.pid) for one in workers], time.monotonic()
        line = await drill.says("app", "New connections are refused: too many open files")
        assert await echoes(early, "early") == {"early"}
        elapsed = time.monotonic() - since
        spent = [(kernel.cpu(one.pid) - before) / elapsed for one, before in zip(workers, used, strict=True)]
        for one in workers:
            await _allow(drill, one)
        again = [one for one in await enter(40) if isinstance(one, ClientConnection)]
        assert await echoes(again, "again") == {"again"}
    refused = [one for one in late if not isinstance(one, ClientConnection)]
    assert refused
    assert len(early) == 4
    assert len(again) == 40
    for refusal in refused:
        assert isinstance(refusal, InvalidStatus)
        assert refusal.response.status_code == 502
        assert refusal.response.headers["x-request-id"]
    assert json.loads(line)["level"] == "ERROR"
    # To try again in each turn of the loop would be all of a processor.
    assert max(spent) < 0.8
    assert all(one.alive for one in workers)
    drill.each_is_named()
    assert not drill.watch.red, drill.watch.reasons


async def _allow(drill: Drill, worker: inside.Process, files: int | None = None) -> None:
    """So many descriptors; None is as many as the container allows. By the user of the worker, who may without a capability."""
    soft = "hard" if files is None else files
    script = (
        f"import resource as r; soft, hard = r.prlimit({worker.own}, r.RLIMIT_NOFILE); "
        f"r.prlimit({worker.own}, r.RLIMIT_NOFILE, ({soft}, hard))"
    )
    await drill.execute("app", f'python -c "{script}"')


@pytest.mark.drill(
    did="the log is a file on a file system that is full",
    must="nothing is lost but lines; they are counted; the other stream says so at once, and the file how many there were, once there is room",
    variant="log-file",
)
async def test_log_disk_full(drill: Drill) -> None:
    async with drill.load():
        drill.begins()
        await drill.says("app", "Access lines are lost", "No space left on device")
        before = drill.watch.total("pronghorn_log_lines_dropped_total")
        await drill.watch.until(
            lambda: drill.watch.total("pronghorn_log_lines_dropped_total") > before, "lost lines are counted"
        )
        await drill.answered()
        await drill.execute("app", ": >/logs/access.log")
        await drill.answered()

        async def told() -> str:
            return await drill.execute("app", "grep -h 'lines were lost' /logs/access.log || true")

        await drill.watch.until(told, "the file says how many lines were lost")
    drill.lost_at_most(0)
    assert not drill.watch.red, drill.watch.reasons


@pytest.mark.drill(
    did="SIGSTOP of the program that reads the log",
    must="nothing is lost but lines, and no answer waits; they are counted; the log says how many there were, when it is read again",
    variant="log-pipe",
)
async def test_log_reader_stopped(drill: Drill) -> None:
    async with drill.load():
        reader = next(
            one
            for one in await asyncio.to_thread(inside.processes, drill.stack, "app")
            if one.title.startswith("cat")
        )
        drill.begins()
        reader.signal(signal.SIGSTOP)
        # A pipe, and what waits in memory, take thousands of lines before one is lost.
        async with httpx.AsyncClient(base_url=drill.stack.url, timeout=30) as client:

            async def asked() -> bool:
                answers = await asyncio.gather(*(client.get(f"/process?{'x' * 4000}") for _ in range(50)))
                assert {answer.status_code for answer in answers} == {200}
                return drill.watch.total("pronghorn_log_lines_dropped_total") > 0

            await drill.watch.until(asked, "lost lines are counted", 120)
        await drill.answered()
        reader.signal(signal.SIGCONT)
        line = await drill.says("app", "lines were lost because nobody read stdout")
    assert re.search(r"\b[1-9]\d* lines were lost", line)
    drill.lost_at_most(0)
    assert not drill.watch.red, drill.watch.reasons
