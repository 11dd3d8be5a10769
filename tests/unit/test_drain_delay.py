"""`--drain-delay`: after SIGTERM all goes on for a while, but that nobody should come any more and that each answer is a connection's last.

Where a test looks at that time, it has 300 seconds, and a signal ends it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.admin import FREE, AdminListener
from tests.support.process import ServerProcess, serving
from tests.support.service_manager import Manager
from tests.support.waiting import until
from tests.support.ws import WsClient

ROOT = Path(__file__).resolve().parents[2]
SERVED = ("--app-dir", str(ROOT / "tests/support"), "--health-path", "/healthz")
LONG = (*SERVED, "--drain-delay", "300", "--timeout-keep-alive", "300")
#: One process, and a supervisor with several.
WAYS = pytest.mark.parametrize("way", [(), ("--workers", "2"), ("--workers", "2", "--preload")], ids=" ".join)
ANNOUNCED = " in 300 s"


def announce(server: ServerProcess) -> None:
    server.get()  # so that a worker is there to hear it
    server.send_signal(signal.SIGTERM)
    server.stderr.wait_for(ANNOUNCED)


def until_closing(server: ServerProcess) -> None:
    """Until each worker has heard it: the word of the supervisor's comes to one before the other."""
    closing = 0
    while closing < 20:
        with server.connect() as client:
            closing = closing + 1 if client.get("/")["connection"] == "close" else 0


@WAYS
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_it_serves_on_and_each_answer_is_the_last(
    tmp_path: Path, socket_path: Path, way: tuple[str, ...], kind: str
) -> None:
    where = ("--uds", str(socket_path)) if kind == "unix" else ("--port", "0")
    with serving(tmp_path, "served:app", *LONG, *way, *where) as server, server.connect() as kept:
        assert kept.get("/")["connection"] is None
        announce(server)
        until_closing(server)
        # On a connection from before, and on one that is new. Those many answers may all have been of one worker.
        until(lambda: kept.get("/")["connection"] == "close", "the other one does not hear of it")
        assert kept.rest() == b""
        until(lambda: server.get("/healthz").status == 503, "it is ready")
        server.send_signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
        assert not socket_path.exists()


@WAYS
def test_what_has_begun_has_both_times(tmp_path: Path, way: tuple[str, ...]) -> None:
    """A request from before the signal is answered after the delay."""
    flags = (*SERVED, "--drain-delay", "0.2", *way)
    with serving(tmp_path, "served:app", *flags) as server, server.connect() as client:
        client.request("GET", "/wait?go")
        server.stdout.wait_for("waits for go")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Waiting for connections to close.")
        (tmp_path / "go").touch()
        assert client.response().text == "go"
        assert server.wait() == -signal.SIGTERM


@WAYS
def test_an_interrupt_cuts_it_short(tmp_path: Path, way: tuple[str, ...]) -> None:
    """And is no reason to give up what has begun, as a second one would be."""
    with serving(tmp_path, "served:app", *LONG, *way) as server, server.connect() as client:
        client.request("GET", "/wait?go")
        server.stdout.wait_for("waits for go")
        announce(server)
        server.send_signal(signal.SIGINT)
        server.stderr.wait_for("Waiting for connections to close.")
        (tmp_path / "go").touch()
        assert client.response().text == "go"
        server.wait()


@WAYS
def test_an_interrupt_alone_knows_no_delay(tmp_path: Path, way: tuple[str, ...]) -> None:
    with serving(tmp_path, "served:app", *LONG, *way) as server:
        server.get()
        assert server.stop(signal.SIGINT) in {0, -signal.SIGINT, 130}
        assert not any(ANNOUNCED in line for line in server.stderr.all())


def test_a_worker_that_comes_late_is_told(tmp_path: Path) -> None:
    """Its predecessor died after the announcement: the one in its place serves, and says the same."""
    with serving(tmp_path, "served:app", *LONG, "--supervise") as server:
        announce(server)
        until_closing(server)
        first = server.stderr.wait_for("Started server process")
        os.kill(int(first.partition("[")[2].partition("]")[0]), signal.SIGKILL)
        server.stderr.wait_for("Application startup complete", count=2)
        until_closing(server)
        assert server.stop() == -signal.SIGTERM


def test_a_websocket_may_come_and_stays_until_the_drain(tmp_path: Path) -> None:
    with serving(tmp_path, "tests.support.ws_served:app", "--app-dir", str(ROOT), *LONG[2:]) as server:
        announce(server)
        with WsClient(server.connect(), target="/") as client:
            assert client.open, client.response
            client.send("still here")
            assert client.receive() == "still here"
            server.send_signal(signal.SIGTERM)
            assert client.closed()[0] == 1001
        assert server.wait() == -signal.SIGTERM


@WAYS
def test_a_service_manager_hears_of_it_at_once(
    tmp_path: Path, short_path: Path, way: tuple[str, ...]
) -> None:
    manager = Manager(f"{short_path}/notify")
    with (
        manager.sock,
        serving(tmp_path, "served:app", *LONG, *way, environ={"NOTIFY_SOCKET": manager.address}) as server,
    ):
        manager.heard_until("READY")
        announce(server)
        assert manager.heard_until("STOPPING")[-1] == {
            "STOPPING": "1",
            "STATUS": "Waiting for requests in progress",
        }
        server.send_signal(signal.SIGINT)
        server.wait()
        assert manager.silent()


def test_the_admin_listener_says_that_nobody_should_come(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *LONG, "--workers", "2", *FREE) as server:
        admin = AdminListener(server)
        admin.until("/readyz", 200)
        announce(server)
        assert "draining" in admin.until("/readyz?verbose", 503)
        server.send_signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
