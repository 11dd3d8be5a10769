"""One server per parser and kind of socket, for the whole session."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import ServerProcess, serving

ROOT = Path(__file__).resolve().parents[3]
APP = "tests.conformance.security.app:app"
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@dataclass
class Subject:
    """A running server, and how it is asked."""

    name: str
    parser: str
    server: ServerProcess

    def send(self, *pieces: bytes, eof: bool = False) -> bytes:
        """All that the server answers to these bytes on one connection, up to its closing."""
        answered = []
        with self.server.connect() as client:
            with contextlib.suppress(ConnectionError):  # it may refuse and close before all is sent
                for piece in pieces:
                    client.send(piece)
                if eof:
                    client.sock.shutdown(socket.SHUT_WR)
            # Behind a last request the kernel refuses what comes.
            with contextlib.suppress(ConnectionResetError):
                while piece := client.sock.recv(65536):
                    answered.append(piece)
        return b"".join(answered)

    def seen(self) -> list[dict[str, Any]]:
        """The requests that reached the application since this was last asked."""
        requests: list[dict[str, Any]] = self.server.get("/seen").json()
        return requests


# Parser, socket, and what differs besides: the loop, the format of logs, and whether the peer is trusted as a proxy.
SUBJECTS = {
    "httptools-tcp": ("--loop", "uvloop"),
    "httptools-unix": ("--loop", "uvloop", "--uds", "app.sock", "--log-format", "json"),
    "h11-tcp": ("--loop", "asyncio", "--log-format", "json", "--forwarded-allow-ips", "10.0.0.0/8"),
    "h11-unix": ("--loop", "asyncio", "--uds", "app.sock", "--forwarded-allow-ips", "unix:,127.0.0.1"),
}


@pytest.fixture(scope="session", params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    parser = request.param.partition("-")[0]
    flags = ("--app-dir", str(ROOT), "--http", parser, "--limit-request-body", "100000")
    # Short enough for a socket's path.
    folder = tempfile.TemporaryDirectory(prefix="ph-", dir="/tmp")
    with folder as name, serving(Path(name), APP, *flags, *SUBJECTS[request.param], shameful=True) as server:
        yield Subject(request.param, parser, server)
