"""Counters are exact under load while workers are killed and recycled: every answer that a client has is counted, and nothing twice."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from pronghorn.observe import metrics
from pronghorn.observe.reading import Reading
from tests.support.gunicorn_process import gunicorn
from tests.support.http_client import Client
from tests.support.process import ServerProcess, serving
from tests.support.waiting import until

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] != "http":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        return
    if scope["path"] == "/later":
        await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})
"""
#: Seconds after which what is waited for is taken never to come.
PATIENCE = 60
#: Answers that a client wants between two interruptions.
SOME = 50


class Clients:
    """Ask without a pause, on connections that stay, and count answers, and requests that got none."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in ("/", "/later", "/")]
        self.answered = 0
        #: Requests that were sent and not answered: they may have been counted, or not.
        self.cut = 0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Have the last answers, and ask no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, path: str) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError), self._server.connect() as client:
                while not self._stop.is_set() and self._one(client, path):
                    pass

    def _one(self, client: Client, path: str) -> bool:
        try:
            response = client.get(path)
        except (OSError, AssertionError):  # the connection ended before the answer did
            with self._lock:
                self.cut += 1
            return False
        with self._lock:
            self.answered += 1
        return response["connection"] != "close"

    def wait(self, true: Callable[[], bool]) -> None:
        """Until something is so, and some more answers have come."""
        until(true, "it never came")
        wanted = self.answered + SOME
        until(lambda: self.answered >= wanted, "no more answers")


def serving_pids(folder: Path) -> set[int]:
    return {row.pid for row in Reading.of(folder).workers if row.state == "ready"}


def retired(folder: Path) -> int:
    """How many workers have ended because they were told to, as the supervisor counts them."""
    supervisor = Reading.of(folder).supervisor
    return 0 if supervisor is None else supervisor.exits.get("retired", 0)


def check(folder: Path, clients: Clients) -> Reading:
    reading = Reading.of(folder)
    counted = sum(reading.requests.values())
    assert clients.answered <= counted <= clients.answered + clients.cut
    assert reading.duration.count == counted
    return reading


@contextlib.contextmanager
def under_load(server: ServerProcess) -> Iterator[Clients]:
    with Clients(server) as clients:
        clients.wait(lambda: True)
        yield clients


def kill_one(folder: Path, clients: Clients) -> int:
    """Kill a worker, and wait until another one serves in its place."""
    victim = max(serving_pids(folder))
    os.kill(victim, signal.SIGKILL)
    clients.wait(lambda: victim not in (now := serving_pids(folder)) and len(now) >= 2)
    return victim


def accidents(server: ServerProcess, folder: Path, clients: Clients) -> list[int]:
    """Two workers are killed, and all are replaced. Who was killed."""
    victims = []
    for _ in range(2):
        clients.wait(lambda: len(serving_pids(folder)) >= 2)
        victims.append(kill_one(folder, clients))
    clients.wait(lambda: len(serving_pids(folder)) >= 2)
    before = serving_pids(folder)
    server.send_signal(signal.SIGHUP)
    clients.wait(lambda: len(now := serving_pids(folder)) >= 2 and before.isdisjoint(now))
    return victims


def test_under_our_supervisor(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    arguments = ("--workers", "2", "--metrics-dir", str(folder), "--no-access-log")
    limits = ("--limit-max-requests", "300", "--limit-max-requests-jitter", "100")
    with serving(tmp_path, APP, *arguments, *limits) as server, under_load(server) as clients:
        victims = accidents(server, folder, clients)
        clients.wait(lambda: retired(folder) >= 2)
        clients.stop()
        reading = check(folder, clients)
    assert clients.answered > 200
    # One that was at its limit and had been told to go just before it was killed is one of the retired.
    log = "\n".join(server.stderr.all())
    serving_on = [pid for pid in victims if f"Retiring child process [{pid}]" not in log]
    assert reading.supervisor is not None
    assert reading.supervisor.exits["signal"] == len(serving_on)
    assert reading.total(metrics.LIMITS_HIT, "max_requests") >= 1
    # Two at a time, one more while it takes over, and those that a busy machine lets take their time to go.
    assert len(list(folder.glob("worker-*.counts"))) <= 6
    # The folder is the user's, and what is in it outlives the server: nothing was counted after the last answer.
    assert sum(Reading.of(folder).requests.values()) == sum(reading.requests.values())


def test_under_gunicorn(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    arguments = ("--workers", "2", "--max-requests", "300", "--max-requests-jitter", "100")
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    with (
        gunicorn(tmp_path, APP, *arguments, ready=2, environ=environ) as server,
        under_load(server) as clients,
    ):
        accidents(server, folder, clients)
        clients.stop()
        check(folder, clients)
    assert clients.answered > 200
    assert len(list(folder.glob("worker-*.counts"))) <= 7
