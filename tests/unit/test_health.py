"""The endpoint as an ASGI application, and the probe against real sockets."""

import asyncio
import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pronghorn.net.tls import create_context
from pronghorn.observe.health import HealthEndpoint
from pronghorn.observe.probe import probe
from pronghorn.types import Message, Receive, Scope, Send


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "application"})


def ask(path: str, method: str = "GET", *, ready: bool = True, root_path: str = "") -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("the request body is nobody's business here")

    scope: Scope = {"type": "http", "method": method, "path": path, "root_path": root_path}

    async def main() -> None:
        await HealthEndpoint(application, "/healthz", lambda: ready)(scope, receive, send)

    asyncio.run(main())
    return sent


@pytest.mark.parametrize(
    ("method", "ready", "status", "body", "length"),
    [
        ("GET", True, 200, b"ok", b"2"),
        ("HEAD", True, 200, b"", b"2"),
        ("GET", False, 503, b"draining", b"8"),
        ("HEAD", False, 503, b"", b"8"),
        ("POST", True, 405, b"method not allowed", b"18"),
    ],
)
def test_answers(method: str, ready: bool, status: int, body: bytes, length: bytes) -> None:
    start, end = ask("/healthz", method, ready=ready)
    headers = dict(start["headers"])
    assert (start["status"], end["body"]) == (status, body)
    assert headers[b"content-length"] == length
    assert headers[b"cache-control"] == b"no-store"
    assert headers.get(b"allow") == (b"GET, HEAD" if status == 405 else None)


def test_the_root_path_may_stand_before_it() -> None:
    assert ask("/api/healthz", root_path="/api")[0]["status"] == 200
    assert ask("/healthz", root_path="/api")[0]["status"] == 200


@pytest.mark.parametrize("path", ["/", "/healthz/", "/healthz2", "/other/healthz", "/HEALTHZ", "healthz"])
def test_other_paths_are_the_applications(path: str) -> None:
    assert ask(path) == [{"type": "application"}]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_are_the_applications_own_coroutine(kind: str) -> None:
    marker = object()
    endpoint = HealthEndpoint(lambda *_: marker, "/healthz", lambda: True)  # type: ignore[arg-type]
    unused: Any = None
    assert endpoint({"type": kind, "path": "/healthz"}, unused, unused) is marker
    assert endpoint({"type": "http", "path": "/", "method": "GET"}, unused, unused) is marker


@contextlib.contextmanager
def answering(listener: socket.socket, answer: bytes, tls: Any = None) -> Iterator[list[bytes]]:
    """Answer one connection with these bytes, once its request is there; give the requests seen."""
    seen: list[bytes] = []

    def serve() -> None:
        sock, _ = listener.accept()
        sock.settimeout(10)
        with contextlib.suppress(OSError):
            stream = tls.wrap_socket(sock, server_side=True) if tls else sock
            with stream:
                seen.append(stream.recv(65536))
                if answer:
                    stream.sendall(answer)
                else:
                    stream.recv(1)  # Silent until the client gives up.
        sock.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with listener:
            yield seen
    finally:
        thread.join()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
def test_tcp(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:1")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with answering(listener, OK) as seen:
        result = probe(host=host, port=port, uds=None, path="/healthz", timeout=10)
    assert result == (True, f"healthy: http://127.0.0.1:{port} answered 200 ok to /healthz")
    assert seen[0].startswith(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:")


def test_tcp_ipv6() -> None:
    listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    port = listener.getsockname()[1]
    with answering(listener, OK):
        result = probe(host="::", port=port, uds=None, path="/healthz", timeout=10)
    assert result == (True, f"healthy: http://[::1]:{port} answered 200 ok to /healthz")


@pytest.mark.parametrize("encrypted", [False, True])
def test_unix_and_tls(tmp_path: Path, encrypted: bool) -> None:
    context = None
    if encrypted:
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                    "-nodes",
                ),
                *("-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=elsewhere"),
            ],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            timeout=60,
        )
        context = create_context(certfile=tmp_path / "cert.pem", keyfile=tmp_path / "key.pem")
    path = tmp_path / "app.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    with answering(listener, OK, context):
        result = probe(host="", port=0, uds=str(path), path="/healthz", timeout=10, tls=encrypted)
    assert result == (True, f"healthy: unix socket {path} answered 200 ok to /healthz")


def test_tls_over_tcp(tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with answering(listener, OK):  # Plain HTTP, to a client that wants TLS.
        healthy, line = probe(host="127.0.0.1", port=port, uds=None, path="/", timeout=10, tls=True)
    assert not healthy
    assert line.startswith(f"unhealthy: https://127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 503 X\r\nContent-Length: 8\r\n\r\ndraining", "answered 503 draining to /healthz"),
        (b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", "answered 404 to /healthz"),
        (b"HTTP/1.1 302 X\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 7\r\n\r\na\x1b[31mb", "answered 500 a\\x1b[31mb to"),
        (b"SSH-2.0-OpenSSH\r\n", "SSH-2.0-OpenSSH"),
    ],
)
def test_unhealthy(answer: bytes, said: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with answering(listener, answer):
        healthy, line = probe(host="127.0.0.1", port=port, uds=None, path="/healthz", timeout=10)
    assert not healthy
    assert line.startswith(f"unhealthy: http://127.0.0.1:{port}")
    assert said in line
    assert line.isprintable()


def test_silence() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with answering(listener, b""):
        result = probe(host="127.0.0.1", port=port, uds=None, path="/healthz", timeout=0.05)
    assert result == (False, f"unhealthy: http://127.0.0.1:{port} did not answer within 0.05 s")


def test_nobody_there(tmp_path: Path) -> None:
    with socket.socket() as bound:  # Bound and not listening: nobody else can take the port meanwhile.
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        result = probe(host="127.0.0.1", port=port, uds=None, path="/healthz", timeout=10)
    assert result == (False, f"unhealthy: http://127.0.0.1:{port}: Connection refused")
    gone = str(tmp_path / "app.sock")
    assert probe(host="", port=0, uds=gone, path="/healthz", timeout=10) == (
        False,
        f"unhealthy: unix socket {gone}: No such file or directory",
    )
    assert probe(host="", port=0, uds="x" * 200, path="/healthz", timeout=10)[0] is False


def test_a_path_that_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        healthy, line = probe(
            host="127.0.0.1", port=listener.getsockname()[1], uds=None, path="/a\r\nb", timeout=10
        )
    assert not healthy
    assert line.isprintable()
