"""Whom is measured, as data, and a server from its start to its end."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.workloads import Workload

APPS = Path(__file__).resolve().parent / "apps"


class BenchError(Exception):
    """Something that makes the figures meaningless; the message is for the reader."""


@dataclass(frozen=True, slots=True)
class Server:
    """A command line. {python}, {app}, {listen} and {log} are filled in; {port} too, where no `tcp` stands for {listen}.

    A server is started as its own documentation says, with one worker, and with uvloop and the fastest parser it has.
    """

    name: str
    command: str
    tcp: str = ""
    unix: str = ""
    quiet: str = ""
    access: str = ""
    metrics: str = ""
    # What switches HTTP/2 in clear text on, by prior knowledge; None for one that does not speak it.
    h2: str | None = None
    asgi: bool = True

    @property
    def known(self) -> bool:
        """Whether it is one of ours; of one from the command line only the command is known."""
        return bool(self.tcp)


# What is behind Nginx trusts it, as it would in production: who can be told so, is.
SERVERS = {
    server.name: server
    for server in (
        Server(
            "pronghorn",
            "{python} -m pronghorn {app} {listen} {log}",
            tcp="--host 127.0.0.1 --port {port}",
            unix="--uds {socket} --forwarded-allow-ips unix:",
            quiet="--no-access-log --log-level warning",
            access="--log-format json",
            metrics="--metrics",
            h2="--http2",
        ),
        Server(
            "uvicorn",
            "{python} -m uvicorn {app} {listen} {log}",
            tcp="--host 127.0.0.1 --port {port}",
            unix="--uds {socket} --forwarded-allow-ips *",
            quiet="--no-access-log --log-level warning",
            h2="--http zttp --http2",
        ),
        Server(
            "granian",
            "{python} -m granian --interface asgi --workers 1 --loop uvloop {listen} {log} {app}",
            tcp="--host 127.0.0.1 --port {port}",
            unix="--uds {socket}",
            quiet="--no-access-log --log-level warning",
            access="--access-log",
            h2="--http auto",
        ),
        Server(
            "gunicorn",
            # Its two seconds of patience with an idle connection are too few to open a thousand on a busy machine.
            "{python} -m gunicorn --worker-class asgi --workers 1 --asgi-loop uvloop --keep-alive 60 {listen} {log} {app}",
            tcp="--bind 127.0.0.1:{port}",
            unix="--bind unix:{socket} --forwarded-allow-ips *",
            quiet="--log-level warning",
            access="--access-logfile -",
            h2="--http-protocols h2,h1 --http2-cleartext prior-knowledge",
        ),
        Server(
            "hypercorn",
            "{python} -m hypercorn --worker-class uvloop --workers 1 {listen} {log} {app}",
            tcp="--bind 127.0.0.1:{port}",
            unix="--bind unix:{socket}",
            quiet="--log-level warning",
            access="--access-logfile -",
            h2="",
        ),
        Server(
            "limit",
            "{python} {apps}/limit.py {listen}",
            tcp="--port {port}",
            unix="--uds {socket}",
            asgi=False,
        ),
    )
}


def from_text(text: str) -> Server:
    """NAME=COMMAND of the command line; ValueError says what is wrong with it."""
    name, equals, command = text.partition("=")
    if not (name and equals and "{port}" in command):
        raise ValueError(f"expected NAME='COMMAND with {{port}}', not {text!r}")
    return Server(name, command, h2="")


def lacks(server: Server, workload: Workload) -> str:
    """Why this server cannot do this workload; empty if it can."""
    if not server.asgi and not workload.constant:
        return "no ASGI: constant answers only"
    if not server.known and workload.nginx:
        return "given on the command line: how it listens on a Unix socket is not known"
    if not server.known and workload.access_log:
        return "given on the command line: how its access log is switched on is not known"
    if workload.metrics and not server.metrics:
        return "does not count requests"
    if workload.streams and server.h2 is None:
        return "no HTTP/2 in clear text"
    return ""


def words(server: Server, workload: Workload, fields: Mapping[str, object]) -> list[str]:
    """The command as a list; `fields` has python, port and socket."""
    listen = server.unix if workload.nginx else server.tcp
    log = server.access if workload.access_log else server.quiet
    if workload.metrics:
        log = f"{log} {server.metrics}"
    if workload.streams:
        log = f"{log} {server.h2}"
    # Split first, fill in afterwards: a path may hold a space.
    command = server.command.replace("{listen}", listen).replace("{log}", log)
    return [word.format(app=workload.app, apps=APPS, **fields) for word in shlex.split(command)]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started: what to read about it, and where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    socket: Path
    log: Path

    def complaint(self) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int | None, command: list[str], farewell: str = "TERM") -> list[str]:
    """The command, kept on one core, and sent a signal when we are gone, even if we were killed."""
    kept = command if core is None else ["taskset", "--cpu-list", str(core), *command]
    return ["setpriv", "--pdeathsig", farewell, *kept]


@contextlib.contextmanager
def started(
    command: list[str], core: int | None, folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that its workers can be ended with it; ended afterwards."""
    # Only the applications are on its path: pronghorn is installed like the others. A folder of its own, so that no
    # pyproject.toml of the current one configures it.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PRONGHORN_", "UVICORN_"))}
    environment["PYTHONPATH"] = str(APPS)
    with (
        log.open("wb") as output,
        subprocess.Popen(
            pinned(core, command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            end(process)


@contextlib.contextmanager
def running(server: Server, workload: Workload, python: Path, core: int | None) -> Iterator[Running]:
    """The server, started on a free port, not waited for."""
    with tempfile.TemporaryDirectory(prefix="pronghorn-bench-") as name:
        folder = Path(name)
        port, path, log = free_port(), folder / "app.sock", folder / "log"
        command = words(server, workload, {"python": python, "port": port, "socket": path})
        with started(command, core, folder, log) as process:
            yield Running(process, port, path, log)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the server to stop; whatever of its process group is left after five seconds is killed."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
