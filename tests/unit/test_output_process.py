"""Servers whose output nobody reads: they serve on, say what was lost when they can, and take no more memory."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support import kernel
from tests.support.process import PATIENCE, command, environment, running, serving

APP = """
    import logging

    log = logging.getLogger("shop")

    async def app(scope, receive, send):
        log.warning("An order for %s", "x" * 60)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
    """
BATCH = 100


def ask(sock: socket.socket, count: int, path: str = "/some/path") -> None:
    """Ask that many times, and have every answer."""
    request = f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    for _ in range(count // BATCH):
        sock.sendall(request * BATCH)
        data = b""
        while data.count(b"hello") < BATCH:
            piece = sock.recv(1 << 20)
            assert piece
            data += piece


class Reader(threading.Thread):
    """Reads a stream to its end, from when it is started."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.data = b""
        self._grown = threading.Condition()
        self.start()

    def run(self) -> None:
        with self._stream:
            while piece := os.read(self._stream.fileno(), 1 << 16):
                with self._grown:
                    self.data += piece
                    self._grown.notify_all()

    def wait_for(self, text: bytes) -> None:
        with self._grown:
            assert self._grown.wait_for(lambda: text in self.data, PATIENCE), text

    def lines(self) -> list[bytes]:
        self.join(PATIENCE)
        return self.data.splitlines()


@pytest.mark.parametrize("flags", [(), ("--workers", "2")])
def test_nobody_reads_stdout_and_stderr(tmp_path: Path, flags: tuple[str, ...]) -> None:
    count = 20_000
    (tmp_path / "main.py").write_text(textwrap.dedent(APP))
    words = command("main:app", "--port", "0", "--lifespan", "off", "--log-format", "json", *flags)
    server = subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        started = b""
        running = re.compile(rb"Pronghorn running on http://127\.0\.0\.1:(\d+) ")
        while not (told_port := running.search(started)):  # and from here on nobody reads
            started += os.read(server.stderr.fileno(), 4096)
        with socket.create_connection(("127.0.0.1", int(told_port[1])), PATIENCE) as sock:
            ask(sock, count)
            before = memory(server.pid)
            ask(sock, count)
            assert memory(server.pid) < before + 4_000_000
            readers = Reader(server.stdout), Reader(server.stderr)
            for reader in readers:
                reader.wait_for(b"lost because nobody read")
            ask(sock, BATCH, "/last")
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == -signal.SIGTERM
    finally:
        server.kill()
        server.wait()
    records: list[dict[str, Any]]
    for reader, logger, total in zip(
        readers, ("pronghorn.access", "shop"), (2 * count + BATCH,) * 2, strict=True
    ):
        records = [json.loads(line) for line in reader.lines() if line.startswith(b"{")]
        told = [re.match(r"(\d+) lines were lost because nobody read std", one["message"]) for one in records]
        missing = sum(int(match[1]) for match in told if match)
        assert sum(one["logger"] == logger for one in records) + missing in range(total, total + 10)


def memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    return sum(kernel.memory(one)[0] for one in (pid, *kernel.children(pid)))


def test_both_readers_are_gone(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(textwrap.dedent(APP))
    words = command("main:app", "--uds", "sock", "--lifespan", "off")
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        started = b""
        while b"Pronghorn running on" not in started:
            started += os.read(server.stderr.fileno(), 4096)
        server.stdout.close()
        server.stderr.close()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(tmp_path / "sock"))
            ask(sock, 1000)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE) == -signal.SIGTERM


def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """As on a full disk: the server goes on, and stderr says it once."""
    (tmp_path / "main.py").write_text(textwrap.dedent(APP))
    limited = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); "
        "os.dup2(os.open('access.log', os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1); "
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    words = [
        *(sys.executable, "-c", limited, "-W", "error", "-m", "pronghorn"),
        *("main:app", "--uds", "sock", "--lifespan", "off"),
    ]
    with running(tmp_path, words) as server:
        server.running_on()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(tmp_path / "sock"))
            ask(sock, 1000)
        assert server.stop() == -signal.SIGTERM
    told = [line for line in server.stderr.all() if "are lost" in line]
    assert told == ["WARNING:  Access lines are lost: cannot write to stdout ([Errno 27] File too large)."]
    assert (tmp_path / "access.log").stat().st_size == 5000


def test_level_and_format_from_the_environment(tmp_path: Path) -> None:
    environ = {"PRONGHORN_LOG_LEVEL": "warning", "PRONGHORN_LOG_FORMAT": "json"}
    app = APP.replace(
        "log =",
        'logging.getLogger("early").info("not shown"), logging.getLogger("early").error("ready")\n    log =',
    )
    with serving(tmp_path, app, "--lifespan", "off", "--port", "0", ready=False, environ=environ) as server:
        server.stderr.wait_for("ready")
        server.stop()
    assert [json.loads(line)["level"] for line in server.stderr.all()] == ["ERROR"]
    assert server.stdout.all() == []
