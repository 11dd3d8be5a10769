"""Starts the real command in a process of its own, and never leaves it behind.

    with serving(tmp_path, APP, "--http", "h11") as server:
        with server.connect() as client:
            ...
        server.send_signal(signal.SIGTERM)
        assert server.wait() == -signal.SIGTERM

The application is source text, written into `folder`, which becomes the process's current folder; or the name of a module
that is there already. The process runs with ``-W error``, and when the block ends well, its stderr is searched for what a
server should never print: a traceback, an exception that nobody retrieved, a task that was destroyed while pending.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.support.http_client import Client

#: Seconds after which a condition is taken never to come. Generous: it is only ever reached by a test that fails.
PATIENCE = 30.0

RUNNING = re.compile(r"Pronghorn running on (.+) \(Press CTRL\+C to quit\)")
SHAMEFUL = re.compile(r"Traceback|never retrieved|was destroyed|Exception ignored|never awaited|Warning:")


class Lines:
    """The lines of one output stream as they arrive."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text: str, *, count: int = 1) -> str:
        """The `count`-th line with `text` in it, as soon as it is there."""
        if not self.has(text, count=count):
            raise AssertionError(f"no line with {text!r}:\n" + "\n".join(self._lines))
        return self._with(text)[count - 1]

    def has(self, text: str, *, count: int = 1, within: float = PATIENCE) -> bool:
        """Whether there are `count` lines with `text`, which they have some seconds to become."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._with(text)) >= count or self._ended, within)
            return len(self._with(text)) >= count

    def _with(self, text: str) -> list[str]:
        return [line for line in self._lines if text in line]

    def all(self) -> list[str]:
        """Every line, up to the end of the stream. To be called when the process has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, PATIENCE)
            assert self._ended, "the stream is still open"
            return list(self._lines)

    def so_far(self) -> list[str]:
        with self._changed:
            return list(self._lines)


class ServerProcess:
    """One running command."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        environ: Mapping[str, str],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.folder = folder
        self._clients: list[Client] = []
        self.process = subprocess.Popen(  # the child drops privileges, and no thread of ours holds a lock
            command,
            cwd=folder,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            pass_fds=pass_fds,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout = Lines(self.process.stdout)
        self.stderr = Lines(self.process.stderr)

    @property
    def pid(self) -> int:
        return self.process.pid

    def running_on(self, count: int = 1) -> str:
        """What the `count`-th "running on" line says, once it is there."""
        match = RUNNING.search(self.stderr.wait_for("Pronghorn running on", count=count))
        assert match is not None
        return match[1]

    @property
    def port(self) -> int:
        return int(self.running_on().rpartition(":")[2])

    def connect(self, tls: ssl.SSLContext | None = None, port: int | None = None) -> Client:
        """A connection to the first address that the server tells; closed with the server at the latest."""
        client = Client(self._connected(tls, port))
        self._clients.append(client)
        return client

    def _connected(self, tls: ssl.SSLContext | None, port: int | None) -> socket.socket:
        where = self.running_on()
        if where.startswith("unix socket "):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            sock.connect(os.fspath(self.folder / where.removeprefix("unix socket ")))
            return sock
        host, _, told = where.rpartition("://")[2].removeprefix("socket ").rpartition(":")
        sock = socket.create_connection((host.strip("[]"), port or int(told)), PATIENCE)
        return sock if tls is None else tls.wrap_socket(sock, server_hostname="localhost")

    def get(self, target: str = "/", **options: Any) -> Any:
        """The response to one GET on a connection of its own."""
        with self.connect(**options) as client:
            client.request("GET", target)
            return client.response()

    def serves(self) -> bool:
        """Whether it answers with 200; where it cuts the connection instead, it does not."""
        try:
            return bool(self.get().status == 200)
        except (OSError, AssertionError):
            return False

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The return code: negative for the signal that ended the process."""
        return self.process.wait(PATIENCE)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.send_signal(number)
        return self.wait()

    def messages(self) -> list[str]:
        """What was logged, without levels, once the process has ended."""
        return [re.sub(r"^[A-Z]+: +", "", line) for line in self.stderr.all()]

    def memory(self, what: str = "VmRSS") -> int:
        """Resident memory in bytes; ``VmHWM`` is the most that it ever was."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        match = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        for client in self._clients:
            client.sock.close()


def environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that would configure the server."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PRONGHORN_", "UVICORN_", "PYTHON"))
        and name not in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
    }
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def command(*arguments: str) -> list[str]:
    """The command line of ``python -m pronghorn`` in this interpreter."""
    return [sys.executable, "-W", "error", "-m", "pronghorn", *arguments]


@contextlib.contextmanager
def running(
    folder: Path,
    words: Sequence[str],
    *,
    shameful: bool = False,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Iterator[ServerProcess]:
    """Any command line; killed at the end of the block. `shameful` allows tracebacks on stderr."""
    server = ServerProcess(words, folder=folder, environ=environment(**(environ or {})), pass_fds=pass_fds)
    try:
        yield server
    except BaseException:
        server.kill()
        sys.stderr.write("\n".join(["--- the server's stderr:", *server.stderr.all(), ""]))
        raise
    finally:
        server.kill()
    printed = server.stderr.all()
    if not shameful:
        assert not any(map(SHAMEFUL.search, printed)), "\n".join(printed)


@contextlib.contextmanager
def serving(
    folder: Path,
    app: str,
    *arguments: str,
    ready: bool = True,
    **options: Any,
) -> Iterator[ServerProcess]:
    """`app` on a free port of 127.0.0.1, unless the arguments say where; waits until it runs, if it is to be `ready`.

    `app` is source text that defines ``app``, or ``module:attribute``.
    """
    if "\n" in app:
        (folder / "main.py").write_text(textwrap.dedent(app), "utf-8")
        app = "main:app"
    where = () if {"--port", "--uds", "--fd"} & set(arguments) else ("--port", "0")
    with running(folder, command(app, *where, *arguments), **options) as server:
        if ready:
            server.running_on()
        yield server
