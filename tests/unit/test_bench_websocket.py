"""The load of WebSocket messages: that each reply is compared, that trouble is said, and that it is held and let go.

The server is of the `websockets` library, which knows nothing of our frames.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from scripts.bench import load, ws_load
from scripts.bench.answers import ask
from scripts.bench.load import WebSockets
from scripts.bench.servers import BenchError
from scripts.bench.websocket import WebSocket, connect, frame
from scripts.bench.workloads import WORKLOADS, Workload
from tests.support import kernel

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


class Server:
    """Sends every message back, `/wrong` something else; `/ping` pings after each, `/once` closes at the second."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.messages = 0
        self.pongs = threading.Semaphore(0)
        self.connections = 0
        self._lock = threading.Lock()

    def handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        with self._lock:
            self.connections += 1
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                with self._lock:
                    self.messages += 1
                if path == "/once" and self.messages > 1:
                    return
                connection.send("wrong" if path == "/wrong" else message)
                if path == "/ping":
                    connection.ping(ack_on_close=True).wait()
                    self.pongs.release()
        with self._lock:
            self.connections -= 1


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    with serve(found.handle, "127.0.0.1", 0, ping_interval=None, max_size=None) as listening:
        found.port = listening.socket.getsockname()[1]
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            listening.shutdown()
            thread.join()


@contextlib.contextmanager
def websockets(server: Server, path: str, count: int = 3) -> Iterator[dict[int, WebSocket]]:
    found = ws_load.opened(server.port, path, count, "hello")
    try:
        yield found
    finally:
        for each in found.values():
            each.connection.close()


def after(calls: int) -> Iterator[bool]:
    """False so often, and then True."""
    yield from [False] * calls
    while True:
        yield True


# ---- Frames and replies ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("kind", ["text", "binary"])
def test_a_message_of_any_size_comes_back(server: Server, size: int, kind: str) -> None:
    message = "x" * size if kind == "text" else b"\x00\xff" * (size // 2) + b"y" * (size % 2)
    with connect(server.port) as connection:
        WebSocket(connection, "/", message).exchange()
    assert server.messages == 1


@pytest.fixture
def pair() -> Iterator[tuple[WebSocket, socket.socket]]:
    """A WebSocket, and the other end of its connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(ANSWER)
        websocket = WebSocket(ours, "/", "hello")
        assert theirs.recv(65_536).startswith(b"GET / HTTP/1.1\r\n")
        yield websocket, theirs


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "403"),
        (ANSWER.replace(b"s3p", b"S3p"), "wrong answer to the handshake"),
        (
            ANSWER[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "an extension that nobody offered",
        ),
        (b"HTTP/1.1 101 ", "it closed a connection"),
    ],
)
def test_a_wrong_handshake_is_an_error(answer: bytes, said: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(BenchError, match=said):
            WebSocket(ours, "/", "hello")


def test_a_reply_may_come_in_pieces(pair: tuple[WebSocket, socket.socket]) -> None:
    websocket, _ = pair
    reply = frame("hello", masked=False)
    assert [websocket.take(reply[at : at + 1]) for at in range(len(reply))] == [False] * 6 + [True]


@pytest.mark.parametrize("at", [0, 7])
def test_a_ping_is_answered_and_is_no_reply(pair: tuple[WebSocket, socket.socket], at: int) -> None:
    websocket, theirs = pair
    reply, ping = frame("hello", masked=False), b"\x89\x02ab"
    assert websocket.take(reply[:at] + ping[:1]) is bool(at)
    assert websocket.take(ping[1:3]) is False
    assert websocket.take(ping[3:] + reply[at:]) is not bool(at)
    # Masked with 37 fa, as section 5.7 has it.
    assert theirs.recv(100) == b"\x8a\x82\x37\xfa\x21\x3d" + bytes((0x61 ^ 0x37, 0x62 ^ 0xFA))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it closed a connection"),
        (b"\x88\x02\x03\xe8", "it closed a WebSocket"),
        (b"\x81\x05hellO", "wrong reply"),
        (b"\x82\x05hello", "wrong reply"),
        (b"\x81\x05hello\x81", "wrong reply"),
    ],
)
def test_anything_but_the_reply_is_an_error(
    pair: tuple[WebSocket, socket.socket], data: bytes, said: str
) -> None:
    websocket, _ = pair
    with pytest.raises(BenchError, match=said):
        websocket.take(data)


def test_the_first_right_answer_of_a_workload_is_an_echo(server: Server) -> None:
    ask(server.port, WORKLOADS["ws16k"])
    assert server.messages == 1
    with pytest.raises(BenchError, match="wrong reply"):
        ask(server.port, Workload("wrong", "wrong", path="/wrong", message="hello"))


# ---- The load -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/ping"])
def test_every_reply_is_counted(server: Server, path: str) -> None:
    with websockets(server, path) as found:
        replies = ws_load.echo(found, lambda: server.messages >= 50 + len(found))
    assert replies >= 50
    assert server.messages == len(found) + replies


def test_a_wrong_reply_ends_the_load(server: Server) -> None:
    with websockets(server, "/") as found:
        websocket = next(iter(found.values()))
        websocket.connection.sendall(frame("other", masked=True))
        with pytest.raises(BenchError, match="wrong reply"):
            ws_load.echo(found, lambda: server.messages >= 1000)


def test_idle_connections_answer_pings(server: Server) -> None:
    with websockets(server, "/ping") as found:
        assert ws_load.idle(found, lambda: server.pongs.acquire(blocking=False)) == len(found)


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\x81\x05hello", "nobody had asked"), (b"\x81\x01x", "wrong reply"), (b"", "it closed")],
)
def test_what_idle_connections_are_sent_is_an_error(
    pair: tuple[WebSocket, socket.socket], data: bytes, said: str
) -> None:
    websocket, theirs = pair
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(BenchError, match=said):
        ws_load.idle({websocket.connection.fileno(): websocket}, after(100).__next__)


def test_thousands_come_from_several_addresses(server: Server) -> None:
    with connect(server.port) as first, connect(server.port, 10_000) as last:
        assert first.getsockname()[0] == "127.0.0.1"
        assert last.getsockname()[0] == "127.0.0.3"


# ---- Its process ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", [WORKLOADS["ws"], WORKLOADS["ws16k"]], ids=lambda workload: workload.key)
def test_nothing_is_sent_before_the_first_turn_and_all_is_counted(server: Server, workload: Workload) -> None:
    with contextlib.closing(WebSockets(server.port, workload, None, connections=4)) as generator:
        generator.open()
        assert generator._process is not None
        assert kernel.state(generator._process.pid) == "T"
        assert server.messages == 4  # One each, to see that it works.
        generator.turn(0.05)
        os.waitid(os.P_PID, generator._process.pid, os.WSTOPPED | os.WNOWAIT)
        messages = generator.finish()
        assert server.messages == 4 + messages > 4
        assert server.connections == 4  # Their end is no part of the load.
    assert generator._process.returncode == -signal.SIGKILL


def test_idle_connections_are_let_go_at_once(server: Server) -> None:
    workload = Workload("idle", "idle", path="/ping", message="hello", kind="idle")
    with contextlib.closing(WebSockets(server.port, workload, None, connections=4, idle=True)) as generator:
        generator.open()
        for _ in range(4):
            assert server.pongs.acquire(timeout=20)
        assert generator.finish() == 4
    assert server.messages == 4


@pytest.mark.parametrize(("path", "said"), [("/wrong", "wrong reply"), ("", "refused")])
def test_trouble_at_its_opening_is_said(server: Server, path: str, said: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = server.port if path else nobody.getsockname()[1]
        workload = Workload("wrong", "wrong", path=path or "/", message="hello")
        with (
            contextlib.closing(WebSockets(port, workload, None)) as generator,
            pytest.raises(BenchError, match=said),
        ):
            generator.open()


def test_trouble_under_load_is_said(server: Server) -> None:
    workload = Workload("once", "once", path="/once", message="hello")
    with contextlib.closing(WebSockets(server.port, workload, None, connections=1)) as generator:
        generator.open()
        generator.turn(0)
        with pytest.raises(BenchError, match="it closed a WebSocket"):
            generator.finish()


def test_what_the_process_says_is_read() -> None:
    assert load.parse_ws_load("1234 messages\n") == 1234
    assert load.parse_ws_load("10000 idle\n") == 10_000
    with pytest.raises(BenchError, match="it closed a WebSocket"):
        load.parse_ws_load("ws_load: it closed a WebSocket\n")
    with pytest.raises(BenchError, match="without a word"):
        load.parse_ws_load("")
