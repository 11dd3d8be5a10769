"""Sockets that a service manager passes on, as systemd does it: to a real process, and what is said of those that are no use."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pronghorn.errors import StartupError
from pronghorn.net import activation
from pronghorn.net.sockets import describe
from tests.support.http_client import Client
from tests.support.process import PATIENCE, ServerProcess, command, running

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("served:app", "--app-dir", str(SUPPORT))


@contextlib.contextmanager
def activated(
    folder: Path, sockets: Sequence[socket.socket], *words: str, names: str = "", **options: Any
) -> Iterator[ServerProcess]:
    """The command with these sockets passed to it."""
    numbers = [sock.fileno() for sock in sockets]
    wrapper = [sys.executable, str(SUPPORT / "activated.py"), ":".join(map(str, numbers)), names]
    with running(folder, [*wrapper, *command(*words)], pass_fds=numbers, **options) as server:
        yield server


def get(family: int, address: Any) -> Any:
    with socket.socket(family) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address)
        return Client(sock).get("/scope")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def unix(socket_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(socket_path))
        sock.listen()
        yield sock


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_several_sockets_of_different_families(
    tmp_path: Path, listener: socket.socket, unix: socket.socket, loop: str
) -> None:
    host, port = listener.getsockname()
    path = unix.getsockname()
    # What the options say is for a start without a service manager.
    flags = ("--loop", loop, "--port", "1", "--host", "192.0.2.1")
    with activated(tmp_path, [listener, unix], *SERVED, *flags, names="web:local") as server:
        assert server.running_on() == f"socket web at {host}:{port}"
        assert server.running_on(2) == f"socket local at {path}"
        shown = get(socket.AF_INET, (host, port)).json()
        assert shown["server"] == ["tuple", repr((host, port))]
        assert shown["client"][1].startswith("('127.0.0.1', ")
        shown = get(socket.AF_UNIX, path).json()
        assert shown["server"] == ["tuple", repr((path, None))]
        assert shown["client"] == ["NoneType", "None"]
        assert server.stop() == -signal.SIGTERM
    assert Path(path).is_socket(), "it is the service manager's"


def test_a_request_waits_while_there_is_no_server(tmp_path: Path, listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname(), PATIENCE) as sock:
        client = Client(sock)
        client.request("GET", "/")
        with activated(tmp_path, [listener], *SERVED) as server:
            host, port = listener.getsockname()
            assert server.running_on() == f"socket {host}:{port}"
            assert client.response().text == "hello"


LEAKY = """
import os, subprocess, sys

CODE = "import os; print('open', *(n for n in range(3, 20) if os.path.exists(f'/proc/self/fd/{n}')))"
async def app(scope, receive, send):
    await receive()
    print("left", *(name for name in os.environ if name.startswith("LISTEN_")), flush=True)
    found = subprocess.run([sys.executable, "-c", CODE], close_fds=False, stdout=subprocess.PIPE, text=True, check=True)
    print(found.stdout.strip(), flush=True)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
"""


@pytest.mark.parametrize("flags", [[], ["--fd", "4"]], ids=str)
def test_what_the_application_starts_inherits_nothing(
    tmp_path: Path, listener: socket.socket, unix: socket.socket, flags: list[str]
) -> None:
    (tmp_path / "main.py").write_text(LEAKY)
    with activated(tmp_path, [listener, unix], "main:app", *flags, names="web:local") as server:
        server.running_on()
        server.stop()
        # 3 is the folder that the interpreter looks into.
        assert server.stdout.all() in (["left", "open"], ["left", "open 3"])


def test_one_of_them_can_be_chosen(tmp_path: Path, listener: socket.socket, unix: socket.socket) -> None:
    with activated(tmp_path, [listener, unix], *SERVED, "--fd", "4") as server:
        assert server.running_on() == f"socket {unix.getsockname()}"
        server.stop()
        assert sum("running on" in line for line in server.messages()) == 1


def test_what_is_for_another_process_is_not_taken(tmp_path: Path, listener: socket.socket) -> None:
    flags = ("--port", "0")
    with activated(tmp_path, [listener], *SERVED, *flags, environ={"LISTEN_PID": "1"}) as server:
        assert server.running_on().startswith("http://127.0.0.1:")
        assert server.port != listener.getsockname()[1]


def test_a_socket_that_is_no_use_ends_the_start_with_one_line(
    tmp_path: Path, listener: socket.socket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        datagram.bind(("127.0.0.1", 0))
        with activated(tmp_path, [listener, datagram], *SERVED, names="web:dns") as server:
            assert server.wait() == 3
            (line,) = server.stderr.all()
            assert line.startswith(
                "pronghorn: error: descriptor 4 of LISTEN_FDS, dns, is not a stream socket."
            )


def told(number: str, names: str = "", pid: int | None = None) -> dict[str, str]:
    return {"LISTEN_PID": str(pid or os.getpid()), "LISTEN_FDS": number, "LISTEN_FDNAMES": names, "HOME": "/"}


@pytest.mark.parametrize("number", ["", "x", "-1", "²", "1.0", "1" * 30])
def test_a_number_that_is_none(number: str) -> None:
    environ = told(number)
    with pytest.raises(StartupError, match=r"^LISTEN_FDS is not a number of descriptors: "):
        activation.take(environ)
    assert environ == {"HOME": "/"}


def test_descriptors_that_are_not_there() -> None:
    with pytest.raises(StartupError, match=r"^LISTEN_FDS is 100000, but descriptor \d+ is not open$"):
        activation.take(told("100000"))


@pytest.mark.parametrize("pid", ["", "1", "x"])
def test_variables_of_somebody_else_are_removed_and_that_is_all(pid: str) -> None:
    environ = told("100000", "a") | {"LISTEN_PID": pid, "LISTEN_PIDFDID": "7"}
    assert activation.take(environ) == []
    assert environ == {"HOME": "/"}


def test_none_at_all() -> None:
    assert activation.take(told("0")) == []


def test_names_are_for_people(listener: socket.socket) -> None:
    where = "{}:{}".format(*listener.getsockname())
    for name, shown in (("", ""), ("web", "web at "), ("\x1b[31m", "")):
        (adopted,) = activation.adopted([(listener.fileno(), name)], 1)
        assert describe(adopted, tls=False) == f"socket {shown}{where}"
        adopted.close()


def test_as_many_names_as_descriptors_or_none() -> None:
    reader, writer = os.pipe()
    aside = [os.dup(reader) for _ in range(4)]  # so that 3 and 4 are open, whatever they are
    try:
        before = [os.get_inheritable(number) for number in (3, 4)]
        assert activation.take(told("2", "a:b")) == [(3, "a"), (4, "b")]
        assert activation.take(told("2", "a:b:c")) == [(3, ""), (4, "")]
        assert activation.take(told("2")) == [(3, ""), (4, "")]
        for number, inheritable in zip((3, 4), before, strict=True):
            os.set_inheritable(number, inheritable)
    finally:
        for descriptor in (reader, writer, *aside):
            os.close(descriptor)
