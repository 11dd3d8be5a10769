"""Graceful shutdown over real sockets: what is in flight is finished, what was sent is answered, and nothing else waits."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.http_client import Client
from tests.support.process import ServerProcess, serving
from tests.support.waiting import until

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("--app-dir", str(SUPPORT))

EVERYWHERE = pytest.mark.parametrize(
    "flags",
    [
        pytest.param((http, loop, kind), id=f"{http}-{loop}-{kind}")
        for http, loop in (("httptools", "uvloop"), ("h11", "asyncio"))
        for kind in ("tcp", "unix")
    ],
)
#: Enough for what does not depend on how a loop accepts.
PAIRED = pytest.mark.parametrize(
    "flags",
    [
        pytest.param(("httptools", "uvloop", "unix"), id="httptools-uvloop-unix"),
        pytest.param(("h11", "asyncio", "tcp"), id="h11-asyncio-tcp"),
    ],
)
KINDS = pytest.mark.parametrize("kind", ["tcp", "unix"])
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def arguments(http: str, loop: str, kind: str, socket_path: Path) -> list[str]:
    where = ["--uds", str(socket_path)] if kind == "unix" else ["--port", "0"]
    return [*SERVED, "--http", http, "--loop", loop, *where]


def stopped(server: ServerProcess) -> None:
    """SIGSTOP the server and wait until it really is."""
    server.send_signal(signal.SIGSTOP)
    until(lambda: kernel.state(server.pid) == "T", "it goes on")


@PAIRED
def test_a_request_in_flight_is_finished_and_told_to_be_the_last(
    tmp_path: Path, socket_path: Path, flags: tuple[str, str, str]
) -> None:
    with (
        serving(tmp_path, "served:app", *arguments(*flags, socket_path)) as server,
        server.connect() as client,
    ):
        client.request("GET", "/wait?go")
        server.stdout.wait_for("waits for go")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Waiting for connections to close. (CTRL+C to force quit)")
        (tmp_path / "go").touch()
        response = client.response()
        assert (response.status, response.text) == (200, "go")
        assert response["connection"] == "close"
        assert client.rest() == b""
        assert server.wait() == -signal.SIGTERM
        assert "app: lifespan.shutdown" in server.stdout.all()


@PAIRED
def test_a_connection_that_rests_is_closed(
    tmp_path: Path, socket_path: Path, flags: tuple[str, str, str]
) -> None:
    keep = ("--timeout-keep-alive", "300")
    with (
        serving(tmp_path, "served:app", *arguments(*flags, socket_path), *keep) as server,
        server.connect() as client,
    ):
        assert client.get("/").status == 200
        server.send_signal(signal.SIGTERM)
        assert client.rest() == b""
        assert server.wait() == -signal.SIGTERM


@EVERYWHERE
def test_requests_that_wait_to_be_accepted_are_answered(
    tmp_path: Path, socket_path: Path, flags: tuple[str, str, str]
) -> None:
    with serving(tmp_path, "served:app", *arguments(*flags, socket_path)) as server:
        assert server.get("/").status == 200
        stopped(server)
        clients = [server.connect() for _ in range(40)]
        for client in clients:
            client.request("GET", "/")
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGCONT)
        for client in clients:
            assert client.response().status == 200
            assert client.rest() == b""
        assert server.wait() == -signal.SIGTERM


@KINDS
@LOOPS
def test_a_request_that_was_sent_on_a_kept_connection_is_answered(
    tmp_path: Path, socket_path: Path, loop: str, kind: str
) -> None:
    """A proxy that takes a connection from its pool just before the signal must not lose the request."""
    with serving(tmp_path, "served:app", *arguments("httptools", loop, kind, socket_path)) as server:
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            assert client.get("/").status == 200
        stopped(server)
        for client in clients:
            client.request("GET", "/")
        server.send_signal(signal.SIGTERM)
        server.send_signal(signal.SIGCONT)
        for client in clients:
            assert client.response().status == 200
            assert client.rest() == b""
        assert server.wait() == -signal.SIGTERM


@KINDS
def test_a_pipelined_request_behind_one_that_is_answered_gets_no_answer_but_a_clean_end(
    tmp_path: Path, socket_path: Path, kind: str
) -> None:
    """RFC 9112 §9.6: after `connection: close` the client knows that what it sent behind was not processed."""
    with serving(tmp_path, "served:app", *arguments("httptools", "uvloop", kind, socket_path)) as server:
        client = server.connect()
        client.request("GET", "/wait?go")
        client.request("GET", "/wait?never")
        server.stdout.wait_for("waits for go")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Waiting for connections to close.")
        (tmp_path / "go").touch()
        assert client.response()["connection"] == "close"
        assert client.rest() == b""
        assert server.wait() == -signal.SIGTERM
        assert not any("waits for never" in line for line in server.stdout.all())


@KINDS
def test_a_connection_that_never_asked_for_anything_does_not_hold_the_end_up(
    tmp_path: Path, socket_path: Path, kind: str
) -> None:
    with (
        serving(tmp_path, "served:app", *arguments("httptools", "uvloop", kind, socket_path)) as server,
        server.connect() as client,
    ):
        assert server.get("/").status == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM
        assert client.rest() == b""


@KINDS
def test_an_upload_in_flight_is_taken_to_its_end(tmp_path: Path, socket_path: Path, kind: str) -> None:
    with (
        serving(tmp_path, "served:app", *arguments("httptools", "uvloop", kind, socket_path)) as server,
        server.connect() as client,
    ):
        client.send(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234")
        server.get("/")  # so that the head above has been read
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Waiting for connections to close.")
        client.send(b"56789")
        assert client.response().text == "0123456789"
        assert server.wait() == -signal.SIGTERM


def test_nobody_new_comes_once_the_drain_has_begun(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED) as server, server.connect() as client:
        client.request("GET", "/wait?go")
        server.stdout.wait_for("waits for go")
        server.send_signal(signal.SIGTERM)
        server.stderr.wait_for("Waiting for connections to close.")
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        (tmp_path / "go").touch()
        assert client.response().status == 200


@LOOPS
def test_the_socket_file_goes_with_the_server(tmp_path: Path, socket_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *arguments("httptools", loop, "unix", socket_path)) as server:
        assert socket_path.is_socket()
        assert server.stop() == -signal.SIGTERM
        assert not socket_path.exists()


@LOOPS
def test_a_socket_file_that_is_another_servers_stays(tmp_path: Path, socket_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *arguments("httptools", loop, "unix", socket_path)) as server:
        socket_path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(os.fspath(socket_path))
            successor.listen()
            assert server.stop() == -signal.SIGTERM
            assert socket_path.is_socket()
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(os.fspath(socket_path))


def test_a_rolling_restart_on_one_socket_path_refuses_nobody(tmp_path: Path, socket_path: Path) -> None:
    """The path is free as soon as the drain begins, so the next server can start while the old one still answers."""
    flags = arguments("httptools", "uvloop", "unix", socket_path)
    with serving(tmp_path, "served:app", *flags) as old, old.connect() as client:
        client.request("GET", "/wait?go")
        old.stdout.wait_for("waits for go")
        old.send_signal(signal.SIGTERM)
        old.stderr.wait_for("Waiting for connections to close.")
        with serving(tmp_path, "served:app", *flags) as new:
            assert new.get("/").text == "hello"
            (tmp_path / "go").touch()
            assert client.response().text == "go"
            assert old.wait() == -signal.SIGTERM
            assert new.get("/").text == "hello", "the old server left the new one's file alone"


def test_a_client_that_stops_reading_does_not_outlive_the_graceful_timeout(tmp_path: Path) -> None:
    flags = (*SERVED, "--timeout-graceful-shutdown", "1")
    with serving(tmp_path, "served:app", *flags) as server, server.connect() as client:
        assert isinstance(client, Client)
        client.request("GET", "/flood?50")
        server.stdout.wait_for("suspended")
        assert server.stop() == -signal.SIGTERM
