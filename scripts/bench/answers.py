"""Whether a server gives the right answers, without which its figures mean nothing."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import subprocess
import tempfile
import time

from scripts.bench.servers import BenchError, Running
from scripts.bench.websocket import WebSocket, connect
from scripts.bench.workloads import Workload

# All servers of a workload start at once, on one core.
PATIENCE = 30.0


def ask(port: int, workload: Workload) -> None:
    """One request, or message, on a connection of its own; anything but the right answer is an error."""
    if workload.message is not None:
        with connect(port) as plain:
            WebSocket(plain, workload.path, workload.message).exchange()
        return
    if workload.streams:
        body = _ask_h2(port, workload)
        if body != workload.answer:
            raise BenchError(f"wrong answer: {body[:80]!r}")
        return
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(workload.method, workload.path, workload.body)
        response = connection.getresponse()
        status, body = response.status, response.read()
    finally:
        connection.close()
    if (status, body) != (200, workload.answer):
        raise BenchError(f"wrong answer: {status} {body[:80]!r}")


def _ask_h2(port: int, workload: Workload) -> bytes:
    """The body of the answer over HTTP/2; what the client has to say instead is a ConnectionError."""
    command = ["nghttp", "--no-dep", "--timeout=5", f"http://127.0.0.1:{port}{workload.path}"]
    with tempfile.NamedTemporaryFile() as upload:
        if workload.body is not None:
            upload.write(workload.body)
            upload.flush()
            command.append(f"--data={upload.name}")
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise ConnectionError(done.stderr.decode(errors="replace").strip() or "nghttp got nothing")
    return done.stdout


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


def open_idle(
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
