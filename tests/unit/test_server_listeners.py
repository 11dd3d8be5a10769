"""Where a server listens: Unix sockets with their rights, and sockets that its parent opened."""

import os
import resource
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.support import kernel
from tests.support.http_client import Client
from tests.support.process import PATIENCE, serving
from tests.support.waiting import until

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("--app-dir", str(SUPPORT))
LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@LOOPS
def test_the_scope_over_a_unix_socket(tmp_path: Path, socket_path: Path, loop: str) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--uds", str(socket_path), "--loop", loop) as server:
        assert server.running_on() == f"unix socket {socket_path}"
        shown = server.get("/scope").json()
        assert shown["server"] == ["tuple", repr((str(socket_path), None))]
        assert shown["client"] == ["NoneType", "None"]


def test_a_unix_socket_is_open_to_everybody_by_default_as_uvicorn_has_it(
    tmp_path: Path, socket_path: Path
) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--uds", str(socket_path)):
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o666


def test_mode_and_group_of_the_unix_socket(tmp_path: Path, socket_path: Path) -> None:
    # Root may give the socket to any group; anybody else to one of his own.
    group = 4711 if os.geteuid() == 0 else os.getgroups()[-1]
    flags = ("--uds", str(socket_path), "--uds-mode", "660", "--uds-group", str(group))
    with serving(tmp_path, "served:app", *SERVED, *flags) as server:
        found = socket_path.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, group)
        assert server.get("/").text == "hello"


def test_a_relative_path_is_one_of_the_folder_it_was_started_in(short_path: Path) -> None:
    with serving(short_path, "served:app", *SERVED, "--uds", "app.sock") as server:
        assert server.get("/").text == "hello"
        assert server.get("/scope").json()["server"] == ["tuple", "('app.sock', None)"]
        server.stop()
        assert not (short_path / "app.sock").exists()


def test_a_socket_that_a_killed_server_left_behind_is_replaced(tmp_path: Path, socket_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--uds", str(socket_path)) as server:
        server.stop(signal.SIGKILL)
    assert socket_path.is_socket()
    with serving(tmp_path, "served:app", *SERVED, "--uds", str(socket_path)) as server:
        assert server.get("/").text == "hello"


def test_a_socket_in_use_is_not_taken_away(tmp_path: Path, socket_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--uds", str(socket_path)) as first:
        with serving(tmp_path, "served:app", *SERVED, "--uds", str(socket_path), ready=False) as second:
            assert second.wait() == 3
            (line,) = second.stderr.all()
            assert "--uds: another process is listening" in line
        assert first.get("/").text == "hello"


@LOOPS
def test_an_inherited_tcp_listener(tmp_path: Path, loop: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        flags = ("--fd", str(listener.fileno()), "--loop", loop)
        with serving(tmp_path, "served:app", *SERVED, *flags, pass_fds=[listener.fileno()]) as server:
            assert server.running_on() == f"socket {host}:{port}"
            shown = server.get("/scope").json()
            assert shown["server"] == ["tuple", repr((host, port))]
            assert shown["client"][1].startswith("('127.0.0.1', ")
            assert server.stop() == -signal.SIGTERM
        # It is the parent's, which may start the next server on it: whoever connects meanwhile only waits.
        with socket.create_connection((host, port), PATIENCE) as waiting:
            client = Client(waiting)
            client.request("GET", "/")
            with serving(tmp_path, "served:app", *SERVED, *flags, pass_fds=[listener.fileno()]):
                assert client.response().text == "hello"


@LOOPS
def test_an_inherited_unix_listener_is_never_unlinked(tmp_path: Path, socket_path: Path, loop: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(socket_path))
        listener.listen()
        flags = ("--fd", str(listener.fileno()), "--loop", loop)
        with serving(tmp_path, "served:app", *SERVED, *flags, pass_fds=[listener.fileno()]) as server:
            assert server.running_on() == f"socket {socket_path}"
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE)
                sock.connect(os.fspath(socket_path))
                shown = Client(sock).get("/scope").json()
            assert shown["server"] == ["tuple", repr((str(socket_path), None))]
            assert shown["client"] == ["NoneType", "None"]
            assert server.stop() == -signal.SIGTERM
        assert socket_path.is_socket()


def test_a_descriptor_that_is_no_socket(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        flags = ("--fd", str(file.fileno()))
        with serving(
            tmp_path, "served:app", *SERVED, *flags, pass_fds=[file.fileno()], ready=False
        ) as server:
            assert server.wait() == 3
            (line,) = server.stderr.all()
            assert "--fd" in line
            assert "is not a socket" in line


@LOOPS
def test_out_of_descriptors_the_server_goes_on_once_it_has_some_again(tmp_path: Path, loop: str) -> None:
    # asyncio logs a failing accept() with its traceback.
    with serving(tmp_path, "served:app", *SERVED, "--loop", loop, shameful=True) as server:
        assert server.get("/").status == 200
        used = len(kernel.descriptors(server.pid))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + 4, used + 4))
        crowd = [server.connect() for _ in range(10)]
        for client in crowd[:3]:
            assert client.get("/").status == 200
        for client in crowd:
            client.sock.close()
        # libuv resets who comes while there are none left; asyncio lets them wait.
        until(server.serves, "it did not recover")


def test_two_servers_share_a_port(tmp_path: Path) -> None:
    with serving(tmp_path, "served:app", *SERVED, "--reuse-port") as first:
        port = first.port
        with serving(tmp_path, "served:app", *SERVED, "--reuse-port", "--port", str(port)) as second:
            assert second.running_on() == first.running_on()
            for _ in range(64):
                assert first.get("/").text == "hello"
            counts = []
            for server in (first, second):
                assert server.stop() == -signal.SIGTERM
                counts.append(len(server.stdout.all()))
        # An access line each, and one of the lifespan. By a hash of the client's port: see test_sockets.py.
        assert sum(counts) == 64 + 2
        assert min(counts) > 1
