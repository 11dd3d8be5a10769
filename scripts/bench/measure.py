"""One turn: one server, one workload, from its start to its end."""

from __future__ import annotations

import contextlib
import http.client
import re
import select
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.bench import proc, proxy
from scripts.bench.servers import BenchError, Running, Server, pinned, running
from scripts.bench.workloads import Workload

PATIENCE = 15.0
STARTS = 3
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Sample:
    """One server, one workload, one round; `value` is in the workload's unit, `rate` is requests per second of a load."""

    round: int
    server: str
    workload: str
    value: float
    rate: float | None = None

    @classmethod
    def of(
        cls, number: int, server: Server, workload: Workload, value: float, rate: float | None = None
    ) -> Sample:
        """Rounded to what such a measurement can tell."""
        return cls(
            number, server.name, workload.key, round(value, 3), rate if rate is None else round(rate, 1)
        )


@dataclass(frozen=True, slots=True)
class Setup:
    """How turns are run; `server_core` and `load_core` are None on a machine with one core."""

    python: Path
    nginx: Path | None = None
    seconds: int = 2
    warm_up: int = 1
    server_core: int | None = None
    load_core: int | None = None


def measure(number: int, server: Server, workload: Workload, setup: Setup) -> Sample:
    """Run one turn."""
    if workload.kind == "start":
        value = statistics.median(_start(server, workload, setup) for _ in range(STARTS))
        return Sample.of(number, server, workload, value)
    with _ready(server, workload, setup) as (target, port):
        if workload.kind == "load":
            value, rate = _load(target, port, workload, setup)
            return Sample.of(number, server, workload, value, rate)
        value = (
            _resident(target) / 1024 if workload.kind == "rss" else _per_connection(target, port, workload)
        )
        return Sample.of(number, server, workload, value)


# ---- Answers --------------------------------------------------------------------------------------------------------


def ask(port: int, workload: Workload) -> None:
    """One request on a connection of its own; anything but the right answer is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(workload.method, workload.path, workload.body)
        response = connection.getresponse()
        status, body = response.status, response.read()
    finally:
        connection.close()
    if (status, body) != (200, workload.answer):
        raise BenchError(f"wrong answer: {status} {body[:80]!r}")


def ask_pipelined(port: int, workload: Workload) -> None:
    """As many requests at once as the workload sends; each has to have its answer."""
    request = f"{workload.method} {workload.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request * workload.pipelined)
        received = b""
        while received.count(workload.answer) < workload.pipelined:
            data = connection.recv(65_536)
            if not data:
                break
            received += data
    statuses, bodies = received.count(b"HTTP/1.1 200"), received.count(workload.answer)
    if (statuses, bodies) != (workload.pipelined, workload.pipelined):
        raise BenchError(
            f"{workload.pipelined} requests at once had {bodies} answers, {statuses} of them 200"
        )


def wait_until_right(server: Running, port: int, workload: Workload, pause: float = 0.02) -> None:
    """Return once the server gives the answer that the workload expects; a wrong answer is an error at once."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            ask(port, workload)
        except (OSError, http.client.HTTPException) as error:
            _still_hoping(server, deadline, error)
        except BenchError:
            # Nginx says so while its server does not listen yet.
            if not workload.nginx:
                raise
            _still_hoping(server, deadline, None)
        else:
            return
        time.sleep(pause)


def _still_hoping(server: Running, deadline: float, error: Exception | None) -> None:
    if server.process.poll() is not None or time.monotonic() > deadline:
        state = "ended" if server.process.poll() is not None else f"gives no right answer ({error})"
        raise BenchError(f"it {state}; its output:\n{server.complaint()}") from None


@contextlib.contextmanager
def _ready(server: Server, workload: Workload, setup: Setup) -> Iterator[tuple[Running, int]]:
    """The server after its first right answers, and the port to ask."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(running(server, workload, setup.python, setup.server_core))
        port = target.port
        if workload.nginx:
            if setup.nginx is None:
                raise BenchError("there is no nginx")
            front = proxy.in_front(target, setup.nginx, setup.load_core, workload.connections)
            port = stack.enter_context(front)
        wait_until_right(target, port, workload)
        if workload.pipelined > 1:
            ask_pipelined(port, workload)
        yield target, port


# ---- Kinds of measurement -------------------------------------------------------------------------------------------


def parse_wrk(report: str) -> tuple[int, float]:
    """Requests answered and the seconds that took; trouble that wrk reports is an error."""
    trouble = re.search(r"(Socket errors|Non-2xx).*", report)
    if trouble:
        raise BenchError(f"wrk reports: {trouble[0].strip()}")
    counted = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", report)
    if counted is None:
        raise BenchError(f"unexpected output of wrk:\n{report}")
    return int(counted[1]), float(counted[2]) * _SECONDS[counted[3]]


def _wrk(port: int, workload: Workload, seconds: int, setup: Setup, folder: Path) -> tuple[int, float]:
    command = ["wrk", "--threads", "1", "--connections", str(workload.connections), "--timeout", "10s"]
    if workload.script:
        script = folder / "wrk.lua"
        script.write_text(workload.script)
        command += ["--script", str(script)]
    report = subprocess.run(
        pinned(
            setup.load_core,
            [*command, "--duration", f"{seconds}s", f"http://127.0.0.1:{port}{workload.path}"],
        ),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return parse_wrk(report)


def _load(server: Running, port: int, workload: Workload, setup: Setup) -> tuple[float, float]:
    """CPU microseconds per request, and requests per second."""
    folder = server.log.parent
    warm, _ = _wrk(port, workload, setup.warm_up, setup, folder)
    before = proc.cpu_seconds(server.process.pid)
    requests, seconds = _wrk(port, workload, setup.seconds, setup, folder)
    used = proc.cpu_seconds(server.process.pid) - before
    if not requests or not used:
        raise BenchError(f"{requests} requests in {used} s of CPU time: nothing was measured")
    if workload.access_log:
        _logged(server.log, warm + requests)
    return used / requests * 1e6, requests / seconds


def _logged(log: Path, requests: int) -> None:
    """A log that leaves lines out would make the figure meaningless; a few may still be on their way."""
    with log.open("rb") as lines:
        written = sum(block.count(b"\n") for block in iter(lambda: lines.read(1 << 20), b""))
    if written < requests * 0.95:
        raise BenchError(f"{written} log lines for {requests} requests")


def _start(server: Server, workload: Workload, setup: Setup) -> float:
    """Milliseconds from the start of the process to the first right answer."""
    before = time.monotonic()
    with running(server, workload, setup.python, setup.server_core) as target:
        wait_until_right(target, target.port, workload, pause=0.001)
        return (time.monotonic() - before) * 1e3


def _resident(server: Running) -> int:
    """Kilobytes, once what the last answer set off has come to rest."""
    time.sleep(0.3)
    return proc.resident_kilobytes(server.process.pid)


def _per_connection(server: Running, port: int, workload: Workload) -> float:
    """Kilobytes that one more connection costs, after the first tenth, which pays for threads, pools and caches."""
    first = workload.connections // 10
    poll = select.poll()
    with contextlib.ExitStack() as stack:
        _open_idle(port, workload, first, stack, poll)
        before = _resident(server)
        _open_idle(port, workload, workload.connections - first, stack, poll)
        used = _resident(server) - before
        closed = poll.poll(0)
        if closed:
            raise BenchError(f"it closed {len(closed)} of {workload.connections} idle connections")
    return used / (workload.connections - first)


def _open_idle(
    port: int, workload: Workload, count: int, stack: contextlib.ExitStack, poll: select.poll
) -> None:
    """Connections that had one answer each, are kept open, and do nothing."""
    request = f"GET {workload.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        connection.sendall(request)
        received = b""
        while workload.answer not in received:
            data = connection.recv(65_536)
            if not data:
                raise BenchError("it closed a new connection")
            received += data
        poll.register(connection, select.POLLIN)
