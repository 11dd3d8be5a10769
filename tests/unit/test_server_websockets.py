"""WebSockets over real sockets: with either codec, parser and loop, over TCP, TLS and a Unix socket, up to the end of the server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import websockets.sync.client

from tests.support.gunicorn_process import gunicorn
from tests.support.process import PATIENCE, ServerProcess, serving
from tests.support.waiting import until
from tests.support.ws import FIN, PING, PONG, TEXT, WsClient, close, frame, handshake, text

ROOT = Path(__file__).resolve().parents[2]
SERVED = ("--app-dir", str(ROOT))

# Every codec with every parser and loop once, and each kind of socket with each codec.
KINDS = {
    "websockets-httptools-uvloop-tcp": (),
    "websockets-h11-asyncio-unix": (),
    "wsproto-httptools-asyncio-tcp": (),
    "wsproto-h11-uvloop-unix": (),
}


def flags(kind: str) -> list[str]:
    ws, http, loop, where = kind.split("-")
    return ["--ws", ws, "--http", http, "--loop", loop, *(("--uds", "s") if where == "unix" else ())]


@contextlib.contextmanager
def served(folder: Path, kind: str, *more: str, **options: Any) -> Iterator[ServerProcess]:
    with serving(folder, "tests.support.ws_served:app", *SERVED, *flags(kind), *more, **options) as server:
        yield server


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    with served(
        tmp_path_factory.mktemp("ws"), request.param, "--health-path", "/healthz", shameful=True
    ) as running:
        yield running


def opened(server: ServerProcess, target: str = "/", *fields: str, **options: Any) -> WsClient:
    client = WsClient(server.connect(**options), *fields, target=target)
    assert client.open, client.response
    return client


def test_echo(server: ServerProcess) -> None:
    with opened(server, "/", "Sec-WebSocket-Protocol: chat, other") as client:
        assert client.response["sec-websocket-protocol"] == "chat"
        assert client.response["server"] == "pronghorn"
        for message in ("", "hello", "€" * 1000, b"", b"\xff" * 100_000):
            client.send(message)
            assert client.receive() == message
        client.client.send(frame(FIN | PING, b"p"))
        assert client.frame() == (FIN | PONG, b"p")
        client.client.send(close(1001, "done"))
        assert client.closed() == (1001, "")
        assert client.ended()
    server.stdout.wait_for("app: received {'type': 'websocket.disconnect', 'code': 1001, 'reason': 'done'}")


def test_a_library_for_clients_agrees(server: ServerProcess) -> None:
    """One that compresses, fragments and checks what comes back."""
    with (
        server.connect() as client,
        websockets.sync.client.connect("ws://localhost/", sock=client.sock) as talk,
    ):
        assert "permessage-deflate" in talk.protocol.extensions[0].name
        for message in ("hello", "x" * 300_000, b"\0" * 70_000, "€" * 5000):
            talk.send(message)
            assert talk.recv(PATIENCE) == message
        talk.send(["in ", "several ", "pieces"])
        assert talk.recv(PATIENCE) == "in several pieces"


def test_scope_and_close_of_the_application(server: ServerProcess) -> None:
    with opened(server, "/scope?a=b") as client:
        message = client.receive()
        assert client.closed() == (3000, "shown")
        client.client.send(close(3000))
        assert client.ended()
    scope = json.loads(message)
    assert sorted(scope) == sorted(
        [
            *("type", "asgi", "http_version", "scheme", "path", "raw_path", "query_string", "root_path"),
            *("headers", "client", "server", "subprotocols", "state", "extensions"),
        ]
    )
    assert scope["scheme"] == ["str", "'ws'"]


def test_refusals(server: ServerProcess) -> None:
    with WsClient(server.connect(), target="/refuse") as client:
        assert client.response.status == 403
        assert client.client.rest() == b"Forbidden"
    with server.connect() as raw:
        raw.send(handshake("/deny"))
        response = raw.response()
        assert (response.status, response.body, response["www-authenticate"]) == (
            401,
            b"who are you?",
            "Basic",
        )
        assert raw.rest() == b""
    with WsClient(server.connect(), target="/crash") as client:
        assert client.response.status == 500


def test_a_crash_is_told_in_a_close_frame(server: ServerProcess) -> None:
    with opened(server, "/crash?later") as client:
        client.send("go")
        assert client.closed() == (1011, "")


def test_access_log_and_health(server: ServerProcess) -> None:
    with opened(server, "/?logged=1") as client:
        assert '"GET /?logged=1 HTTP/1.1" 101' in server.stdout.wait_for("/?logged=1")
        client.client.send(close())
    with WsClient(server.connect(), target="/refuse?logged=2"):
        assert '"GET /refuse?logged=2 HTTP/1.1" 403' in server.stdout.wait_for("/refuse?logged=2")
    assert server.get("/healthz").body == b"ok"
    assert server.get("/").body == b"http"


def test_application_that_takes_nothing_holds_the_client_up(server: ServerProcess) -> None:
    """What the kernel takes is a few megabytes; what the server takes beside it is not."""
    name = f"go-{os.getpid()}"
    with opened(server, f"/late?{name}") as client:
        before = server.memory()
        piece = text("x" * 1000) * 500
        sent, rest = fill(client.client.sock, piece)
        assert sent < 200, "it took a hundred megabytes"
        assert server.memory() - before < 4_000_000
        (server.folder / name).touch()
        client.client.send(rest + text(""))
        assert client.receive() == str((sent + 1) * 500)


def fill(sock: socket.socket, piece: bytes) -> tuple[int, bytes]:
    """Send `piece` again and again until nothing more is taken; how often it was, and what is left of the last one."""
    sock.settimeout(0.5)
    count, at = 0, 0
    with contextlib.suppress(TimeoutError):
        while count < 200:
            at += sock.send(piece[at:])
            if at == len(piece):
                count, at = count + 1, 0
    sock.settimeout(PATIENCE)
    return count, piece[at:]


def test_client_that_does_not_read_suspends_send(server: ServerProcess) -> None:
    before = server.memory()
    with opened(server, "/flood"):
        server.stdout.wait_for("app: suspended in")
        assert server.memory() - before < 20_000_000
    server.stdout.wait_for("app: flood ended with ClientDisconnected")


def test_frames_behind_the_handshake(server: ServerProcess) -> None:
    with WsClient(server.connect(), early=text("early") + text("bird")) as client:
        assert (client.receive(), client.receive()) == ("early", "bird")


# Starting and stopping.


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_is_1001_and_the_application_gets_its_disconnect(
    tmp_path: Path, kind: str, stop: signal.Signals
) -> None:
    with served(tmp_path, kind) as server, opened(server, "/goodbye") as client:
        server.send_signal(stop)
        assert client.closed() == (1001, "")
        client.client.send(close(1001))
        assert client.ended()
        assert server.wait() == (0 if stop == signal.SIGINT else -stop)
        out = server.stdout.all()
    assert "app: received {'type': 'websocket.disconnect', 'code': 1001, 'reason': ''}" in out
    assert out.index("app: cleaned up") < out.index("app: lifespan.shutdown"), "it is waited for"


def test_client_that_does_not_say_goodbye_does_not_hold_up_the_shutdown(tmp_path: Path, kind: str) -> None:
    with served(tmp_path, kind) as server, opened(server, "/"):
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < PATIENCE / 3
        assert "app: lifespan.shutdown" in server.stdout.all()


def test_stubborn_application_is_cancelled_at_the_end(tmp_path: Path, kind: str) -> None:
    with (
        served(tmp_path, kind, "--timeout-graceful-shutdown", "1", shameful=True) as server,
        opened(server, "/stubborn") as client,
    ):
        server.send_signal(signal.SIGTERM)
        assert client.closed() == (1001, "")
        assert server.wait() == -signal.SIGTERM
        assert "app: cancelled" in server.stdout.all()


def test_nobody_new_while_the_last_ones_leave(tmp_path: Path) -> None:
    kind = "websockets-httptools-uvloop-tcp"
    with served(tmp_path, kind) as server, server.connect() as late, opened(server, "/goodbye") as client:
        # Who has said nothing is waited for a second, and who has begun as long as it takes.
        late.send(handshake()[:9])
        server.send_signal(signal.SIGTERM)
        client.closed()
        late.send(handshake()[9:])
        assert late.response().status == 503


def test_a_rolling_restart_is_1012(tmp_path: Path) -> None:
    kind = "websockets-httptools-uvloop-tcp"
    with served(tmp_path, kind, "--supervise") as server, opened(server, "/") as client:
        server.send_signal(signal.SIGHUP)
        assert client.closed() == (1012, "")
        with opened(server, "/") as again:
            again.send("there is another")
            assert again.receive() == "there is another"


def test_gunicorn(tmp_path: Path) -> None:
    with (
        gunicorn(
            tmp_path, "tests.support.ws_served:app", "--pythonpath", str(ROOT), "--access-logfile", "-"
        ) as server,
        opened(server, "/") as client,
    ):
        client.send("hello")
        assert client.receive() == "hello"
        assert '"GET / HTTP/1.1" 101' in server.stdout.wait_for(" 101 ")
        server.send_signal(signal.SIGTERM)
        assert client.closed()[0] == 1012
        client.client.send(close(1012))
        assert server.wait() == 0


# Options.


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("ws", ["websockets", "wsproto"])
def test_tls(tmp_path: Path, loop: str, ws: str) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "all.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with serving(
        tmp_path,
        "tests.support.ws_served:app",
        *SERVED,
        "--loop",
        loop,
        "--ws",
        ws,
        "--ssl-certfile",
        "all.pem",
    ) as server:
        with opened(server, "/scope", tls=context) as client:
            message = client.receive()
            assert isinstance(message, str)
            assert json.loads(message)["scheme"] == ["str", "'wss'"]
            assert "'tls'" in json.loads(message)["extensions"][1]
        with opened(server, "/", tls=context) as client:
            client.send("x" * 200_000)
            assert client.receive() == "x" * 200_000
            client.client.send(frame(FIN | TEXT, b"\xff"))
            assert client.closed()[0] == 1007


def test_behind_a_proxy_that_speaks_tls(tmp_path: Path) -> None:
    with served(tmp_path, "websockets-h11-asyncio-unix", "--forwarded-allow-ips", "unix:") as server:
        fields = ("X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.7")
        with opened(server, "/scope", *fields) as client:
            message = client.receive()
            assert isinstance(message, str)
            assert json.loads(message)["scheme"] == ["str", "'wss'"]
            assert json.loads(message)["client"] == ["tuple", "('192.0.2.7', 0)"]


def test_origins(tmp_path: Path, kind: str) -> None:
    allowed = ("--ws-origins", "https://a.example,https://b.example", "--ws-origins", "null")
    with served(tmp_path, kind, *allowed) as server:
        for origin, status in (
            ("https://a.example", 101),
            ("https://b.example", 101),
            ("null", 101),
            ("https://c.example", 403),
        ):
            with WsClient(server.connect(), f"Origin: {origin}") as client:
                assert client.response.status == status
        with opened(server):
            pass


def test_none_ignores_the_wish(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "tests.support.ws_served:app", *SERVED, "--ws", "none") as server,
        server.connect() as client,
    ):
        client.send(handshake())
        assert client.response().body == b"http"
        assert client.get().body == b"http", "and the connection goes on"


def test_pings_find_out_who_is_gone(tmp_path: Path, kind: str) -> None:
    pings = ("--ws-ping-interval", "0.5", "--ws-ping-timeout", "0.5")
    with served(tmp_path, kind, *pings) as server, opened(server, "/") as client:
        assert client.frame() == (FIN | PING, b"")
        client.client.send(frame(FIN | PONG, b""))
        assert client.frame() == (FIN | PING, b"")
        assert client.closed() == (1011, "keepalive ping timeout")
        server.stdout.wait_for("'code': 1006, 'reason': 'keepalive ping timeout'")


def test_a_codec_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from pronghorn.wire.ws_wsproto import WsprotoCodec as Codec\n")
    (tmp_path / "main.py").write_text(
        f"import sys; sys.path.append({str(ROOT)!r}); from tests.support.ws_served import app\n"
    )
    with serving(tmp_path, "main:app", "--ws", "mine:Codec") as server, opened(server, "/") as client:
        client.send("hello")
        assert client.receive() == "hello"


def test_limit_of_concurrency(tmp_path: Path, kind: str) -> None:
    with served(tmp_path, kind, "--limit-concurrency", "2") as server:
        with opened(server), opened(server):
            assert server.get("/").status == 503
            with WsClient(server.connect()) as third:
                assert third.response.status == 503
        until(lambda: server.get("/").status == 200, "none is let in again")
