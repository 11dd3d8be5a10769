"""The admin listener under a supervisor: a process of its own, which tells how the others are whatever those are at."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.admin import AdminListener
from tests.support.kernel import alive, mapped
from tests.support.process import ServerProcess, running, serving
from tests.support.waiting import until
from tests.unit.test_supervisor import APP, PLAIN, WAYS, all_of, generation

WAITS = """\
import asyncio
from pathlib import Path
async def app(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/wait":
        print("waits", flush=True)
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
"""


@contextmanager
def administered(
    folder: Path, socket_path: Path, *words: str, app: str = APP
) -> Iterator[tuple[ServerProcess, AdminListener]]:
    with serving(folder, app, *(words or PLAIN), "--admin", f"unix:{socket_path}") as server:
        yield server, AdminListener(server)


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_it_tells_of_each_worker(tmp_path: Path, socket_path: Path, way: tuple[str, ...]) -> None:
    with administered(tmp_path, socket_path, *way) as (server, admin):
        workers = all_of(server)
        until(
            lambda: {row["pid"] for row in admin.workers() if row["state"] == "ready"} == workers, "workers"
        )
        assert sorted(row["worker"] for row in admin.workers()) == [0, 1]
        assert admin.process() not in {server.pid, *workers}
        assert admin.ask("/livez?verbose").text == f"[+] supervisor: process {server.pid} looks after 2\nok\n"
        told = admin.json("/workers")
        assert (told["wanted"], told["ready"]) == (2, True)
        assert told["supervisor"] == {"pid": server.pid, "starts": 2, "exits": {}}
        page = admin.ask("/metrics").text
        assert 'pronghorn_workers{state="ready"} 2.0' in page
        assert "pronghorn_workers_wanted 2.0" in page
        administering = admin.process()
        assert server.stop() == -signal.SIGTERM
    assert not alive(administering)
    assert not socket_path.exists()
    assert not any("admin process" in message for message in server.messages())


def test_one_that_is_killed_comes_back_and_who_asks_meanwhile_waits(
    tmp_path: Path, socket_path: Path
) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        seen = [admin.process()]
        for _ in range(2):
            os.kill(seen[-1], signal.SIGKILL)
            server.stderr.wait_for(f"The admin process [{seen[-1]}] died: killed by SIGKILL")
            admin.until("/readyz", 200)
            until(lambda: admin.ask("/livez").status == 200, "it is not back")
            seen.append(admin.process())
        assert len(set(seen)) == 3
        assert server.stop() == -signal.SIGTERM


def test_one_that_is_stuck_is_replaced(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path, *PLAIN, "--timeout-worker-healthcheck", "2") as (server, admin):
        admin.until("/readyz", 200)
        stuck = admin.process()
        os.kill(stuck, signal.SIGSTOP)
        server.stderr.wait_for(f"Killing the admin process [{stuck}]: silent for ")
        server.stderr.wait_for(f"The admin process [{stuck}] died: killed by SIGKILL")
        assert admin.ask("/livez").status == 200
        assert admin.process() != stuck
        assert server.get().status == 200


def test_stopped_workers_are_seen_and_when_they_are_replaced_it_is_ready_again(
    tmp_path: Path, socket_path: Path
) -> None:
    with administered(tmp_path, socket_path, *PLAIN, "--timeout-worker-healthcheck", "3") as (server, admin):
        workers = all_of(server)
        until(lambda: len(admin.workers()) == 2, "workers")
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        admin.until("/readyz", 503, "no worker serves")
        assert admin.ask("/livez").status == 200
        admin.until("/readyz", 200)
        until(lambda: not workers & {row["pid"] for row in admin.workers()}, "they are told of for ever")
        until(lambda: admin.json("/workers")["supervisor"]["exits"] == {"killed": 2}, "two were not killed")


def test_it_stays_up_through_the_drain_and_says_not_ready(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path, app=WAITS) as (server, admin):
        with server.connect() as client:
            client.request("GET", "/wait")
            server.stdout.wait_for("waits")
            server.send_signal(signal.SIGTERM)
            admin.until("/readyz", 503, "draining")
            until(lambda: [row["state"] for row in admin.workers()] == ["leaving"], "one is left")
            assert admin.ask("/livez").status == 200
            (tmp_path / "go").touch()
            assert client.response().text == "done"
        assert server.wait() == -signal.SIGTERM


def test_a_restart_is_nothing_to_it(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        before, administering = all_of(server), admin.process()
        generation(tmp_path, 2)
        server.send_signal(signal.SIGHUP)

        def over() -> bool:
            assert admin.ask("/readyz").status == 200
            return not before & {row["pid"] for row in admin.workers()}

        until(over, "the old ones are still there")
        assert admin.process() == administering
        until(lambda: admin.json("/workers")["supervisor"]["exits"] == {"retired": 2}, "two have not ended")
        assert admin.json("/workers")["supervisor"]["starts"] == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_ends_are_counted_by_their_cause(tmp_path: Path, socket_path: Path, number: signal.Signals) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        os.kill(min(all_of(server)), number)
        until(lambda: admin.json("/workers")["supervisor"]["exits"] == {"signal": 1}, "nobody has ended")
        server.get("/")
        with pytest.raises((OSError, AssertionError)), server.connect() as client:
            client.get("/end")
        until(lambda: admin.json("/workers")["supervisor"]["exits"] == {"signal": 1, "exit": 1}, "it stays")


def test_interrupted_at_a_terminal_it_is_still_the_last(tmp_path: Path, socket_path: Path) -> None:
    """Ctrl+C reaches every process of the terminal."""
    with administered(tmp_path, socket_path) as (server, admin):
        administering = admin.process()
        os.kill(administering, signal.SIGINT)
        os.kill(administering, signal.SIGHUP)
        assert admin.ask("/livez").status == 200
        assert admin.process() == administering
        assert server.stop(signal.SIGINT) == 0


def test_it_goes_with_a_supervisor_that_is_killed(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        administering = admin.process()
        server.stop(signal.SIGKILL)
        until(lambda: not alive(administering), "it goes on without anybody to tell of")


def test_log_files_are_opened_anew_without_a_word(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        administering = admin.process()
        server.send_signal(signal.SIGUSR1)
        server.send_signal(signal.SIGTTIN)
        server.stderr.wait_for("3 child processes are wanted")
        admin.until("/livez?verbose", 200, "looks after 3")
        assert admin.process() == administering


def test_an_upgrade_takes_the_listener_over(tmp_path: Path, socket_path: Path) -> None:
    with administered(tmp_path, socket_path) as (server, admin):
        before = admin.process()
        server.send_signal(signal.SIGUSR2)
        line = server.stderr.wait_for("takes over when it is ready")
        successor = int(re.search(r"process \[(\d+)\]", line)[1])  # type: ignore[index]
        server.stderr.wait_for(f"Process [{successor}] serves; this one goes")
        server.wait()
        try:
            admin.until("/livez?verbose", 200, f"process {successor} looks after 2")
            assert not alive(before)
        finally:
            os.kill(successor, signal.SIGTERM)
            until(lambda: not alive(successor), "the successor stays")
    assert not socket_path.exists()


def test_the_folder_of_the_numbers_goes_with_the_server(tmp_path: Path, socket_path: Path) -> None:
    def folders() -> set[Path]:
        return {file.parent for file in mapped(server.pid) if file.suffix == ".counts"}

    with administered(tmp_path, socket_path) as (server, _):
        (folder,) = folders()
        assert folder.is_dir()
        server.stop()
        assert not folder.exists()


def test_a_server_with_a_program_around_it(tmp_path: Path, socket_path: Path) -> None:
    (tmp_path / "run.py").write_text(
        f"import pronghorn\npronghorn.run('main:app', workers=2, port=0, admin='unix:{socket_path}')\n"
    )
    (tmp_path / "main.py").write_text(APP)
    with running(tmp_path, [sys.executable, "run.py"]) as server:
        all_of(server)
        AdminListener(server).until("/readyz", 200)
        assert server.stop() == -signal.SIGTERM
