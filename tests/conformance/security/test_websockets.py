"""The rows of security.md about WebSockets, over real sockets: both codecs, both parsers, TCP and Unix."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.ws_frames import ROWS, Row
from tests.support import kernel
from tests.support.process import PATIENCE, ServerProcess, serving
from tests.support.waiting import until
from tests.support.ws import FIN, PING, PONG, WsClient, closing, deflated, frame, handshake, read_frames, text

ROOT = Path(__file__).resolve().parents[3]
MAX_SIZE = 100_000
SUBJECTS = {
    f"{ws}-{http}-{where}": (
        *("--ws", ws, "--http", http, "--loop", "uvloop" if http == "httptools" else "asyncio"),
        *(("--uds", "app.sock") if where == "unix" else ()),
    )
    for ws in ("websockets", "wsproto")
    for http in ("httptools", "h11")
    for where in ("tcp", "unix")
}
COMPRESSED = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15"
LIMITS = (
    *("--ws-max-size", str(MAX_SIZE), "--limit-request-headers", "30"),
    *("--timeout-header", "1", "--timeout-body", "2", "--min-client-rate", "1000000"),
)


@pytest.fixture(scope="module", params=SUBJECTS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    flags = ("--app-dir", str(ROOT), *LIMITS, *SUBJECTS[request.param])
    with (
        tempfile.TemporaryDirectory(prefix="ph-", dir="/tmp") as name,
        serving(Path(name), "tests.support.ws_served:app", *flags) as running,
    ):
        yield running
        # Whatever came, it goes on.
        with opened(running) as client:
            client.send("hello")
            assert client.receive() == "hello"


def opened(server: ServerProcess, *fields: str, target: str = "/") -> WsClient:
    client = WsClient(server.connect(), *fields, target=target)
    assert client.open
    return client


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.calls[-1][0] == "violation"], ids=lambda row: row.name
)
def test_what_breaks_the_protocol(server: ServerProcess, row: Row) -> None:
    """A Close frame with the code that the row has, and the end; messages before it are answered."""
    with opened(server, *((COMPRESSED,) if row.deflate else ())) as client:
        with contextlib.suppress(ConnectionError):
            client.client.send(row.raw)
        answered = read_frames(client.client.rest())
    messages = [call[1].encode() for call in row.calls[:-1] if call[0] == "text"]
    assert [payload for _, payload in answered[:-1]] == messages
    first, payload = answered[-1]
    assert (first, closing(payload)[0]) == (FIN | 8, row.calls[-1][1])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Sec-WebSocket-Key:",), 400),
        (("Sec-WebSocket-Key: AAAA",), 400),
        (("Sec-WebSocket-Version: 8",), 426),
        (("Sec-WebSocket-Version:",), 426),
        (tuple(f"X-{number}: y" for number in range(30)), 431),
        (("Host:",), 400),
        (("Content-Length: 5",), 400),
    ],
)
def test_handshake(server: ServerProcess, fields: tuple[str, ...], status: int) -> None:
    with server.connect() as client:
        client.send(handshake("/told", *fields) + text("never read"))
        response = client.response()
        assert response.status == status
        assert response["connection"] == ("upgrade, close" if status == 426 else "close")
        assert (response["sec-websocket-version"] == "13") is (status == 426)
        with contextlib.suppress(ConnectionResetError):
            assert client.rest() == b"", "nothing behind it is answered"
    assert "app: told" not in server.stdout.so_far()


def test_handshake_that_is_never_completed(server: ServerProcess) -> None:
    with server.connect() as client:
        client.send(handshake()[:-2])
        assert client.response().status == 408


def test_bomb_in_pieces(server: ServerProcess) -> None:
    """50 MB in 50 KB, a few hundred bytes at a time: the server has had enough long before it has inflated it all."""
    before = server.memory("VmHWM")
    bomb = deflated(bytes(50_000_000), 0xC2)
    with opened(server, COMPRESSED) as client:
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(bomb), 500):
                client.client.send(bomb[at : at + 500])
        (answer,) = read_frames(client.client.rest())
        assert closing(answer[1])[0] == 1009
    assert server.memory("VmHWM") - before < 8_000_000


def test_ping_flood(server: ServerProcess) -> None:
    """It is answered, but not ping by ping; and a client that does not read the answers costs no memory."""
    pings = frame(FIN | PING, b"p" * 125) * 2000
    with opened(server) as client:
        before = server.memory()  # with all that the first WebSocket imports
        client.client.sock.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            for _ in range(20):
                client.client.send(pings)
        assert server.memory() - before < 4_000_000
    with opened(server) as client:
        client.client.send(pings + text("end"))
        pongs = 0
        while (got := client.frame())[0] == FIN | PONG:
            pongs += 1
        assert got == (FIN | 1, b"end")
        assert pongs < 1000


def test_a_message_in_a_million_fragments(server: ServerProcess) -> None:
    """What is kept of a message is its content, whatever number of frames it came in."""
    before = server.memory("VmHWM")
    with opened(server) as client:
        client.client.send(frame(1, b"a") + frame(0) * 50_000 + frame(0, b"b") * 50_000 + frame(FIN, b"c"))
        assert client.receive() == "a" + "b" * 50_000 + "c"
    assert server.memory("VmHWM") - before < 8_000_000


def test_client_that_never_reads_is_dropped(server: ServerProcess) -> None:
    """As slow readers of responses are: `send()` waits, and then it is over."""
    with opened(server, target="/flood") as client:
        server.stdout.wait_for("app: suspended in")
        server.stdout.wait_for("app: flood ended with ClientDisconnected")
        client.client.sock.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):
            while client.client.sock.recv(1 << 20):
                pass


def test_nothing_is_left_of_those_who_vanish(server: ServerProcess) -> None:
    before = len(kernel.descriptors(server.pid))
    for sent in (b"", text("x")[:5], frame(1, b"half"), frame(0x82, b"x" * 50_000)[:20_000]):
        clients = [opened(server) for _ in range(5)]
        for client in clients:
            client.client.send(sent)
            # With a reset, not with an end.
            client.client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.client.sock.close()
    until(lambda: len(kernel.descriptors(server.pid)) <= before, "some stay open")
