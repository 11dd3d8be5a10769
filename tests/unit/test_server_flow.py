"""Large bodies and slow sides, in clear text and over TLS: all bytes arrive, and waiting costs the server no memory."""

import contextlib
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.http_client import Client
from tests.support.process import ServerProcess, serving

SUPPORT = Path(__file__).resolve().parent.parent / "support"
SERVED = ("--app-dir", str(SUPPORT))

MEGABYTE = 1 << 20
#: What a server may take more while one client makes it wait: a piece of the application's, the buffers, and slack.
ROOM = 24 * MEGABYTE


@dataclass
class Served:
    server: ServerProcess
    context: ssl.SSLContext | None

    def connect(self) -> Client:
        return self.server.connect(self.context)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(
    scope="module",
    params=[("uvloop", False), ("asyncio", False), ("uvloop", True), ("asyncio", True)],
    ids=["uvloop-plain", "asyncio-plain", "uvloop-tls", "asyncio-tls"],
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA
) -> Iterator[Served]:
    loop, tls = request.param
    folder = tmp_path_factory.mktemp("flow")
    flags = [*SERVED, "--loop", loop, "--no-access-log"]
    context = None
    if tls:
        flags += certificate(folder, authority)
        context = trusting(authority)
    with serving(folder, "served:app", *flags) as server:
        yield Served(server, context)


def certificate(folder: Path, authority: trustme.CA) -> list[str]:
    """The flags of the handbook, for a certificate of `authority`."""
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(folder / "cert.pem", append=number > 0)
    return ["--ssl-keyfile", "key.pem", "--ssl-certfile", "cert.pem"]


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_ten_megabytes_go_down(served: Served) -> None:
    with served.connect() as client:
        assert client.get("/flood?10").body == b"x" * 10 * MEGABYTE
        assert client.get("/").text == "hello"


def test_ten_megabytes_go_up(served: Served) -> None:
    with served.connect() as client:
        client.request("POST", "/count", body=b"x" * 10 * MEGABYTE)
        assert client.response().text == str(10 * MEGABYTE)
        assert client.get("/").text == "hello"


def test_ten_megabytes_go_up_and_come_back_piece_by_piece(served: Served) -> None:
    piece, rounds = bytes(range(256)) * 1024, 40
    with served.connect() as client:
        client.request("POST", "/echo-pieces", f"Content-Length: {rounds * len(piece)}")
        for number in range(rounds):
            client.send(piece)
            if not number:
                assert client.head()["transfer-encoding"] == "chunked"
            assert client.chunked(len(piece)) == piece
        assert client.read(5) == b"0\r\n\r\n"
        assert client.get("/").text == "hello"


def test_a_reader_that_stops_suspends_the_application_and_costs_no_memory(served: Served) -> None:
    with served.connect() as client:
        server = served.server
        before, told = server.memory(), seen(server, "suspended")
        client.request("GET", "/flood?200")
        server.stdout.wait_for("suspended in", count=told + 1)
        assert server.memory() - before < ROOM
        with served.connect() as other:
            assert other.get("/").text == "hello", "nobody else is held up"
        head = client.head()
        assert head["content-length"] == str(200 * MEGABYTE)
        for _ in range(200):
            assert len(client.read(MEGABYTE)) == MEGABYTE
        server.stdout.wait_for("flooded")
        assert server.memory("VmHWM") - before < 2 * ROOM
        assert client.get("/").text == "hello"


def test_a_reader_that_leaves_ends_what_is_sent_to_him(served: Served) -> None:
    server = served.server
    told, ended = seen(server, "suspended"), seen(server, "flood ended")
    with served.connect() as client:
        client.request("GET", "/flood?200")
        server.stdout.wait_for("suspended in", count=told + 1)
    server.stdout.wait_for("flood ended", count=ended + 1)


def test_an_application_that_does_not_take_the_body_makes_the_client_wait(served: Served) -> None:
    server = served.server
    (server.folder / "take").unlink(missing_ok=True)
    size, told = 50 * MEGABYTE, seen(server, "lets wait")
    with served.connect() as client:
        before = server.memory()
        client.request("POST", "/late-count?take", f"Content-Length: {size}")
        server.stdout.wait_for("lets wait", count=told + 1)
        sent = send_until_it_has_to_wait(client, size)
        assert sent < size
        assert server.memory() - before < ROOM
        (server.folder / "take").touch()
        client.sock.settimeout(30)
        client.send(bytes(size - sent))
        assert client.response().text == str(size)
        assert server.memory("VmHWM") - before < 2 * ROOM


def seen(server: ServerProcess, text: str) -> int:
    return sum(text in line for line in server.stdout.so_far())


def send_until_it_has_to_wait(client: Client, size: int) -> int:
    """How many of `size` bytes could be sent before there was no progress for half a second."""
    sent = 0
    piece = bytes(65_536)
    client.sock.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while sent < size:
            sent += client.sock.send(piece[: size - sent])
    return sent


# TLS itself.


@pytest.fixture
def tls_flags(tmp_path: Path, authority: trustme.CA) -> list[str]:
    return [*SERVED, *certificate(tmp_path, authority)]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_https_is_told_and_connections_are_kept(
    tmp_path: Path, tls_flags: list[str], authority: trustme.CA, loop: str
) -> None:
    with serving(tmp_path, "served:app", *tls_flags, "--loop", loop) as server:
        assert server.running_on() == f"https://127.0.0.1:{server.port}"
        with server.connect(trusting(authority)) as client:
            shown = client.get("/scope").json()
            assert shown["scheme"] == ["str", "'https'"]
            assert shown["client"][1] == repr(client.sock.getsockname())
            assert [client.get("/").text for _ in range(5)] == ["hello"] * 5


@pytest.mark.parametrize(
    ("flags", "offered", "agreed"),
    [
        ((), ["h2", "http/1.1"], "h2"),
        ((), ["http/1.1"], "http/1.1"),
        ((), ["spdy/3"], None),
        (("--no-http2",), ["h2", "http/1.1"], "http/1.1"),
    ],
)
def test_what_alpn_agrees_on(
    tmp_path: Path,
    tls_flags: list[str],
    authority: trustme.CA,
    flags: tuple[str, ...],
    offered: list[str],
    agreed: str | None,
) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(offered)
    with serving(tmp_path, "served:app", *tls_flags, *flags) as server, server.connect(context) as client:
        sock: Any = client.sock
        assert sock.selected_alpn_protocol() == agreed
        if agreed != "h2":
            assert client.get("/").text == "hello"


def test_a_client_certificate_can_be_asked_for(
    tmp_path: Path, tls_flags: list[str], authority: trustme.CA
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    required = ("--ssl-ca-certs", "ca.pem", "--ssl-cert-reqs", "2")
    with serving(tmp_path, "served:app", *tls_flags, *required) as server:
        # In TLS 1.3 the client is done before the server has looked at its certificate, so it hears of it later.
        stranger = server.connect(trusting(authority))
        with pytest.raises(
            (OSError, AssertionError), match=r"(?i)certificate required|reset|ended|broken pipe"
        ):
            stranger.get("/")
        context = trusting(authority)
        authority.issue_cert("somebody@example.com").configure_cert(context)
        with server.connect(context) as client:
            assert client.get("/").text == "hello"


def test_a_client_that_does_not_speak_tls_is_no_trouble(
    tmp_path: Path, tls_flags: list[str], authority: trustme.CA
) -> None:
    with serving(tmp_path, "served:app", *tls_flags) as server:
        for _ in range(3):
            with server.connect() as client, contextlib.suppress(ConnectionError):
                client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                client.rest()
        assert server.get("/", tls=trusting(authority)).text == "hello"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_drain_over_tls_closes_what_rests_and_finishes_what_runs(
    tmp_path: Path, tls_flags: list[str], authority: trustme.CA, loop: str
) -> None:
    context = trusting(authority)
    with serving(tmp_path, "served:app", *tls_flags, "--loop", loop) as server:
        resting, working = server.connect(context), server.connect(context)
        assert resting.get("/").text == "hello"
        working.request("GET", "/wait?go")
        server.stdout.wait_for("waits for go")
        server.send_signal(signal.SIGTERM)
        assert resting.rest() == b""
        resting.sock.close()
        (tmp_path / "go").touch()
        assert working.response()["connection"] == "close"
        working.sock.close()
        assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_an_error_can_be_read_over_tls_by_a_client_that_is_still_sending(
    tmp_path: Path, tls_flags: list[str], authority: trustme.CA, loop: str
) -> None:
    flags = ("--loop", loop, "--limit-request-body", "1000")
    with serving(tmp_path, "served:app", *tls_flags, *flags) as server:
        client = server.connect(trusting(authority))
        client.request("POST", "/echo", "Content-Length: 20000000")
        with contextlib.suppress(OSError):
            for _ in range(8):
                client.send(bytes(65_536))
        assert client.response().status == 413
