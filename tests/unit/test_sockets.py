"""Listeners over the real kernel: what they are when they come back, and what each refusal says."""

import contextlib
import fcntl
import os
import select
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pronghorn.errors import StartupError
from pronghorn.net import unix_socket
from pronghorn.net.sockets import Listener, beside, describe, open_listeners

NOBODY = 65534


@pytest.fixture
def opened() -> Iterator[Callable[..., list[Listener]]]:
    with contextlib.ExitStack() as stack:

        def open_all(**options: Any) -> list[Listener]:
            listeners = open_listeners(**options)
            for listener in listeners:
                stack.callback(listener.close)
            return listeners

        yield open_all


def as_nobody(code: str, *arguments: object) -> str:
    """Run code without privileges (root may do everything) and return what it prints."""
    drop = f"import os; os.geteuid() or (os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY}))\n"
    # Imported before: the interpreter itself may live where only root may read. So may codecs, idna for one.
    imports = "import sys, encodings.idna\nfrom pronghorn.net import unix_socket\nfrom pronghorn.net.sockets import open_listeners\n"
    done = subprocess.run(
        [sys.executable, "-c", imports + drop + textwrap.dedent(code), *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == ""
    return done.stdout.strip()


OPEN_AND_PRINT = """
    try:
        open_listeners(**eval(sys.argv[1]))
    except Exception as exc:
        print(type(exc).__name__, exc)
    """


def echo_once(listener: Listener, client: socket.socket, address: Any) -> None:
    with client:
        client.settimeout(5)
        client.connect(address)
        listener.sock.setblocking(True)
        listener.sock.settimeout(5)
        peer, _ = listener.sock.accept()
        with peer:
            peer.sendall(b"x")
        assert client.recv(1) == b"x"


# --- TCP -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "family", "shown"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("::1", socket.AF_INET6, "[::1]"),
        ("[::1]", socket.AF_INET6, "[::1]"),
    ],
)
def test_tcp(opened: Callable[..., list[Listener]], host: str, family: int, shown: str) -> None:
    (listener,) = opened(host=host, port=0)
    port = listener.sock.getsockname()[1]
    assert listener.kind == "tcp"
    assert listener.sock.family == family
    assert listener.sock.gettimeout() == 0
    assert not listener.sock.get_inheritable()
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
    assert describe(listener, tls=False) == f"http://{shown}:{port}"
    assert describe(listener, tls=True) == f"https://{shown}:{port}"
    echo_once(listener, socket.socket(family), (host.strip("[]"), port))


def test_every_address_of_a_name_on_one_port(
    opened: Callable[..., list[Listener]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),  # /etc/hosts says it twice
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    first, second = opened(host="both.example", port=0)
    assert first.sock.getsockname()[1] == second.sock.getsockname()[1]
    assert [first.sock.family, second.sock.family] == [socket.AF_INET, socket.AF_INET6]


def test_an_address_of_a_name_that_is_not_here_is_passed_over(
    opened: Callable[..., list[Listener]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    (listener,) = opened(host="half.example", port=0)
    assert listener.sock.getsockname()[0] == "127.0.0.1"


def test_ipv6_any_leaves_ipv4_alone(opened: Callable[..., list[Listener]]) -> None:
    # Somebody else may have the port that was free in IPv6.
    for _ in range(20):
        (six,) = opened(host="::", port=0)
        with contextlib.suppress(StartupError):
            (four,) = opened(host="0.0.0.0", port=six.sock.getsockname()[1])
            break
    assert four.sock.family == socket.AF_INET


def test_port_in_use(opened: Callable[..., list[Listener]]) -> None:
    (listener,) = opened(port=0)
    port = listener.sock.getsockname()[1]
    with pytest.raises(StartupError) as raised:
        open_listeners(port=port)
    assert str(raised.value).startswith(f"--port: 127.0.0.1:{port} is already in use. Stop")


def test_a_picked_port_that_stays_taken_elsewhere_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same wildcard twice under different scope ids: the second always clashes with the first.
    twice = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0.0.0.0", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: twice)
    with pytest.raises(StartupError, match="already in use"):
        open_listeners(port=0)


def test_address_of_another_machine() -> None:
    with pytest.raises(StartupError) as raised:
        open_listeners(host="192.0.2.1", port=0)
    assert str(raised.value).startswith("--host: 192.0.2.1:0 is not an address of this machine. Use")


@pytest.mark.parametrize("host", ["no such host", "host.invalid", "a" * 300, "127.0.0.1.7"])
def test_name_that_does_not_resolve(host: str) -> None:
    with pytest.raises(StartupError, match=r"^--host: cannot resolve '") as raised:
        open_listeners(host=host)
    assert "\n" not in str(raised.value)


def test_low_port_without_privileges() -> None:
    floor = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    first_free = int(floor.read_text()) if floor.exists() else 1024
    said = as_nobody(OPEN_AND_PRINT, {"host": "127.0.0.1", "port": 1})
    if first_free > 1:
        assert said.startswith("StartupError --port: not allowed to listen on 127.0.0.1:1. Low ports")
    else:  # This kernel reserves no port; then it must simply work.
        assert said == ""


# --- Unix ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "mode"),
    [({}, 0o666), ({"uds_mode": 0o600}, 0o600), ({"uds_mode": 0o770}, 0o770), ({"uds_group": "0"}, 0o660)],
)
def test_unix(opened: Callable[..., list[Listener]], tmp_path: Path, options: Any, mode: int) -> None:
    path = tmp_path / "app.sock"
    before = os.umask(0o077)
    try:
        (listener,) = opened(uds=str(path), **options)
    finally:
        assert os.umask(before) == 0o077
    assert listener.kind == "unix"
    assert describe(listener, tls=False) == f"unix socket {path}"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert listener.sock.getsockname() == str(path)
    assert listener.sock.gettimeout() == 0
    assert not listener.sock.get_inheritable()
    assert list(tmp_path.iterdir()) == [path]
    echo_once(listener, socket.socket(socket.AF_UNIX), str(path))
    listener.close()
    assert not path.exists()
    listener.close()


def test_mode_and_group_are_set_before_anyone_can_connect(
    opened: Callable[..., list[Listener]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.sock"
    seen: list[str] = []

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            real(*args, **kwargs)
            with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
                client.connect(str(path))
            seen.append(name)

        return call

    monkeypatch.setattr(os, "chown", watched("chown", os.chown))
    monkeypatch.setattr(Path, "chmod", watched("chmod", Path.chmod))
    (listener,) = opened(uds=str(path), uds_mode=0o660, uds_group=str(os.getgid()))
    assert seen == ["chown", "chmod"]
    echo_once(listener, socket.socket(socket.AF_UNIX), str(path))


def test_group_by_name_and_number(opened: Callable[..., list[Listener]], tmp_path: Path) -> None:
    import grp

    name = grp.getgrgid(os.getgid()).gr_name
    (listener,) = opened(uds=str(tmp_path / "app.sock"), uds_group=name)
    assert (tmp_path / "app.sock").stat().st_gid == os.getgid()
    listener.close()


@pytest.mark.parametrize("group", ["no-such-group", "", "²"])
def test_unknown_group(tmp_path: Path, group: str) -> None:
    with pytest.raises(StartupError, match=r"^--uds-group: there is no group"):
        open_listeners(uds=str(tmp_path / "app.sock"), uds_group=group)
    assert list(tmp_path.iterdir()) == []


def test_group_of_which_we_are_no_member(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    path = tmp_path / "app.sock"
    said = as_nobody(OPEN_AND_PRINT, {"uds": str(path), "uds_group": "0"})
    assert said.startswith("StartupError --uds-group: not allowed to give the socket to group '0' as user ")
    assert not path.exists()


def test_folder_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    for parent in tmp_path.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    said = as_nobody(OPEN_AND_PRINT, {"uds": str(tmp_path / "app.sock")})
    assert said.startswith(f"StartupError --uds: not allowed to create a socket in {tmp_path} as user ")


def test_somebody_elses_socket(opened: Callable[..., list[Listener]], tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    path = tmp_path / "app.sock"
    opened(uds=str(path), uds_mode=0o600)
    said = as_nobody(OPEN_AND_PRINT, {"uds": str(path)})
    # Only root gets here with a socket of another user; otherwise it is our own, and live.
    refused = "connecting to it is not allowed" if os.geteuid() == 0 else "another process is listening"
    assert refused in said
    assert path.is_socket()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("missing/app.sock", "does not exist. Create it"),
        ("file/app.sock", "is not a folder"),
        ("file", "exists and is not a socket. Remove it"),
        ("link", "exists and is not a socket"),
        ("folder", "exists and is not a socket"),
    ],
)
def test_unusable_path(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(StartupError, match=r"^--uds: ") as raised:
        open_listeners(uds=str(tmp_path / path))
    assert said in str(raised.value)
    assert (tmp_path / "file").read_text() == "precious"
    assert (tmp_path / "link").is_symlink()


def test_path_length(opened: Callable[..., list[Listener]], tmp_path: Path) -> None:
    room = unix_socket._MAX_PATH - len(os.fsencode(tmp_path)) - 1
    longest = str(tmp_path / ("é" * (room // 2) + "x" * (room % 2)))
    opened(uds=longest)
    with pytest.raises(StartupError) as raised:
        open_listeners(uds=longest + "x")
    limit = unix_socket._MAX_PATH
    assert str(raised.value).startswith(
        f"--uds: the path of a Unix socket may have {limit} bytes, and this one has {limit + 1}: {tmp_path}"
    )


@pytest.mark.parametrize("path", ["", "\0abstract", "a\0b"])
def test_no_path_at_all(path: str) -> None:
    with pytest.raises(StartupError, match=r"^--uds: '.*' is not a path"):
        open_listeners(uds=path)


def test_a_relative_path_survives_chdir_and_a_deep_folder(
    opened: Callable[..., list[Listener]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    monkeypatch.chdir(deep)
    for _ in range(2):  # The second time over the first one's remains, which connect() must reach too.
        with socket.socket(socket.AF_UNIX) as dead:
            with contextlib.suppress(FileNotFoundError):
                Path("app.sock").unlink()
            dead.bind("app.sock")
        (listener,) = opened(uds="app.sock")
        monkeypatch.chdir(tmp_path)
        listener.close()
        assert not (deep / "app.sock").exists()
        monkeypatch.chdir(deep)


def test_a_dead_socket_is_replaced_and_a_live_one_is_not(
    opened: Callable[..., list[Listener]], tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    (listener,) = opened(uds=str(path))
    inode = path.stat().st_ino
    with pytest.raises(StartupError, match=r"^--uds: another process is listening on .*\. Stop it first"):
        open_listeners(uds=str(path))
    assert path.stat().st_ino == inode
    listener.sock.accept()[0].close()  # The probe's connection, which the server sees come and go.
    echo_once(listener, socket.socket(socket.AF_UNIX), str(path))


def test_a_live_socket_with_a_full_backlog_is_live(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        while True:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            if client.connect_ex(str(path)):
                break
        with pytest.raises(StartupError, match="another process is listening"):
            open_listeners(uds=str(path))


def test_a_datagram_socket_is_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram:
        datagram.bind(str(path))
        with pytest.raises(StartupError, match="another process is listening"):
            open_listeners(uds=str(path))


def test_closing_leaves_the_file_of_a_successor(
    opened: Callable[..., list[Listener]], tmp_path: Path
) -> None:
    path = tmp_path / "app.sock"
    (old,) = opened(uds=str(path))
    path.unlink()  # What an impatient operator does.
    (new,) = opened(uds=str(path))
    old.close()
    echo_once(new, socket.socket(socket.AF_UNIX), str(path))


def test_a_child_that_closes_its_copy_leaves_the_file(
    opened: Callable[..., list[Listener]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "app.sock"
    (listener,) = opened(uds=str(path))
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        listener.close()
    assert path.is_socket()


def test_two_at_once_wait_for_each_other(
    opened: Callable[..., list[Listener]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        os.close(folder)

    monkeypatch.setattr(time, "sleep", let_go)
    opened(uds=str(tmp_path / "app.sock"))
    assert len(waits) == 1


def test_a_folder_locked_for_good_stops_nobody(
    opened: Callable[..., list[Listener]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda _: None)
        (listener,) = opened(uds=str(tmp_path / "app.sock"))
    finally:
        os.close(folder)
    echo_once(listener, socket.socket(socket.AF_UNIX), str(tmp_path / "app.sock"))


# --- inherited -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_inherited(
    opened: Callable[..., list[Listener]], tmp_path: Path, family: int, listening: bool
) -> None:
    path = str(tmp_path / "app.sock")
    target: Any = {socket.AF_INET: ("127.0.0.1", 0), socket.AF_INET6: ("::1", 0)}.get(family, path)  # type: ignore[call-overload]
    with socket.socket(family) as given:
        given.bind(target)
        if listening:
            given.listen()
        (listener,) = opened(fd=given.fileno(), host="ignored", uds="ignored")
        name = given.getsockname()
        assert listener.kind == "fd"
        assert listener.sock.family == family
        assert listener.sock.gettimeout() == 0
        assert not listener.sock.get_inheritable()
        shown = path if family == socket.AF_UNIX else f"{'[::1]' if len(name) == 4 else name[0]}:{name[1]}"
        assert describe(listener, tls=True) == f"socket {shown}"
        echo_once(listener, socket.socket(family), name)
        listener.close()
        assert given.getsockname() == name, "the descriptor itself belongs to whoever gave it"
    assert family != socket.AF_UNIX or Path(path).is_socket(), "an inherited socket is never unlinked"


def test_inherited_abstract(opened: Callable[..., list[Listener]], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(f"\0{tmp_path}")
        (listener,) = opened(fd=given.fileno())
        assert describe(listener, tls=False) == f"socket @{tmp_path}"


def test_descriptors_that_are_no_listeners(tmp_path: Path) -> None:
    def refused(fd: int) -> str:
        with pytest.raises(StartupError) as raised:
            open_listeners(fd=fd)
        return str(raised.value)

    file = os.open(tmp_path, os.O_RDONLY)
    assert refused(file) == f"--fd: descriptor {file} is not a socket"
    os.close(file)
    assert refused(file).startswith(f"--fd: descriptor {file} is not open. The parent")
    assert refused(-1).startswith("--fd: descriptor -1 is not open")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        assert "is not a stream socket" in refused(datagram.fileno())
    with socket.socket(socket.AF_INET) as unbound:
        assert "is a socket that is not bound" in refused(unbound.fileno())
    with socket.socket(socket.AF_UNIX) as unbound:
        assert "is a socket that is not bound" in refused(unbound.fileno())
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as one,
    ):
        assert "is a connection, not a listening socket" in refused(one.fileno())


def test_an_inherited_descriptor_is_inherited_no_further(opened: Callable[..., list[Listener]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        given.set_inheritable(True)
        opened(fd=given.fileno())
        assert not given.get_inheritable()


# --- one address, several sockets ----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_listeners_beside_each_other_share_the_connections(
    opened: Callable[..., list[Listener]], host: str
) -> None:
    first = opened(host=host, port=0, reuse_port=True)
    second = beside(first, 64)
    address = first[0].sock.getsockname()
    assert second[0].sock.getsockname() == address
    assert describe(second[0], tls=False) == describe(first[0], tls=False)
    assert not second[0].sock.get_inheritable()
    taken = [0, 0]
    both = [first[0].sock, second[0].sock]
    # By a hash of the client's port: that one of two gets none has a chance of 2 to the -63.
    for _ in range(64):
        with socket.socket(first[0].sock.family) as client:
            client.connect(address)
            # The client may be done before the last packet of its handshake has reached the listener.
            for sock in select.select(both, [], [], 10)[0]:
                sock.accept()[0].close()
                taken[both.index(sock)] += 1
    assert sum(taken) == 64
    assert min(taken) > 0
    second[0].close()


def test_a_port_is_shared_only_among_those_who_say_so(opened: Callable[..., list[Listener]]) -> None:
    (alone,) = opened(port=0)
    with pytest.raises(StartupError) as raised:
        open_listeners(port=alone.sock.getsockname()[1], reuse_port=True)
    assert str(raised.value).endswith("To share it, the other one needs --reuse-port too, and the same user")
    with pytest.raises(StartupError, match="is already in use"):
        beside([alone], 64)


def test_beside_one_that_was_passed_in_is_the_same_socket(
    opened: Callable[..., list[Listener]], tmp_path: Path
) -> None:
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        given.listen()
        first = opened(fd=given.fileno())
        (second,) = beside(first, 64)
        assert second.sock.gettimeout() == 0
        assert describe(second, tls=False) == describe(first[0], tls=False)
        first[0].close()
        echo_once(second, socket.socket(socket.AF_UNIX), path)
        second.close()
    assert Path(path).is_socket()


def test_where_there_is_no_such_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(StartupError, match=r"^--reuse-port: this system has no SO_REUSEPORT$"):
        open_listeners(port=0, reuse_port=True)
