"""Generators of load, which can be held still: several of them take turns and keep their connections."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from scripts.bench.environment import ROOT
from scripts.bench.servers import BenchError, pinned
from scripts.bench.workloads import Workload

# More than any round lasts; it is ended long before.
_LONGEST = 3600
_PATIENCE = 20.0


def parse_wrk(report: str) -> int:
    """Requests answered; trouble that wrk reports is an error."""
    trouble = re.search(r"(Socket errors|Non-2xx).*", report)
    if trouble:
        raise BenchError(f"wrk reports: {trouble[0].strip()}")
    counted = re.search(r"(\d+) requests in ", report)
    if counted is None:
        raise BenchError(f"unexpected output of wrk:\n{report}")
    return int(counted[1])


def parse_h2load(report: str) -> int:
    """Requests answered; one that failed or was not answered with 2xx is an error."""
    counted = re.search(r"^requests: (\d+) total, .* (\d+) succeeded, ", report, re.MULTILINE)
    statuses = re.search(r"^status codes: (\d+) 2xx, .*", report, re.MULTILINE)
    if counted is None or statuses is None:
        raise BenchError(f"unexpected output of h2load:\n{report}")
    if not counted[1] == counted[2] == statuses[1]:
        raise BenchError(f"h2load reports: {counted[0].removesuffix(', ')}; {statuses[0]}")
    return int(counted[1])


def parse_ws_load(report: str) -> int:
    """Messages that came back, or WebSockets that were idle; what else ws_load says is trouble."""
    counted = re.fullmatch(r"(\d+) (messages|idle)\n", report)
    if counted is None:
        raise BenchError(report.strip() or "ws_load ended without a word")
    return int(counted[1])


class Generator:
    """One process of load, opened before its first turn, stopped between turns, ended by `close` at the latest."""

    def __init__(self, command: list[str], core: int | None) -> None:
        # A process that is held would take notice of nothing less.
        self._command = pinned(core, command, farewell="KILL")
        self._process: subprocess.Popen[str] | None = None
        self.active = 0.0

    def open(self) -> None:
        """Do what is no part of the load."""

    def resume(self) -> None:
        """Load, until held."""
        self._started().send_signal(signal.SIGCONT)

    def turn(self, seconds: float) -> None:
        """Load for so long."""
        begun = time.monotonic()
        self.resume()
        time.sleep(seconds)
        self._started().send_signal(signal.SIGSTOP)
        self.active += time.monotonic() - begun

    def finish(self) -> int:
        """Its last turn, as short as it can be made; all requests or messages that were answered."""
        if self._process is None:
            return 0
        begun = time.monotonic()
        self.resume()
        counted = self._count(self._process)
        self.active += time.monotonic() - begun
        return counted

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self._process.kill()
            # Closes its pipe and waits for its end.
            self._process.__exit__(None, None, None)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
            )
        return self._process

    def _count(self, process: subprocess.Popen[str]) -> int:
        raise NotImplementedError


class Wrk(Generator):
    """Requests. Its connections are opened in its first turn and closed in its last."""

    def __init__(self, port: int, workload: Workload, folder: Path, core: int | None) -> None:
        command = ["wrk", "--threads", "1", "--connections", str(workload.connections), "--timeout", "60s"]
        if workload.script:
            script = folder / "wrk.lua"
            script.write_text(workload.script)
            command += ["--script", str(script)]
        url = f"http://127.0.0.1:{port}{workload.path}"
        super().__init__([*command, "--duration", f"{_LONGEST}s", url], core)

    def _count(self, process: subprocess.Popen[str]) -> int:
        # wrk looks every tenth of a second whether to end. It ignores the interrupt until it has begun, and misses one
        # that its second thread is given.
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                report, _ = process.communicate(timeout=0.05)
                return parse_wrk(report)
        raise BenchError("wrk did not come to its end")


class H2Load(Generator):
    """Requests over HTTP/2, as many as it is told: what it leaves unanswered when it is interrupted it does not count, and with a
    hundred streams a connection that would be a good part of what was asked.
    """

    def __init__(self, port: int, workload: Workload, folder: Path, core: int | None, requests: int) -> None:
        connections = workload.connections
        command = ["h2load", "--clients", str(connections), "--max-concurrent-streams", str(workload.streams)]
        command += ["--requests", str(max(requests, 2 * connections * workload.streams))]
        if workload.body is not None:
            body = folder / "body"
            body.write_bytes(workload.body)
            command += ["--data", str(body)]
        super().__init__([*command, f"http://127.0.0.1:{port}{workload.path}"], core)

    def turn(self, seconds: float) -> None:
        """No longer than until the last answer: it may come before the end of the turn."""
        begun = time.monotonic()
        self.resume()
        process = self._started()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.send_signal(signal.SIGSTOP)
        self.active += time.monotonic() - begun

    def _count(self, process: subprocess.Popen[str]) -> int:
        try:
            report, _ = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            raise BenchError("h2load did not come to its end") from None
        return parse_h2load(report)


class WebSockets(Generator):
    """Messages, or WebSockets that are idle. They are open before the first turn and until the process is closed."""

    def __init__(
        self, port: int, workload: Workload, core: int | None, *, connections: int = 0, idle: bool = False
    ) -> None:
        if workload.message is None:
            raise ValueError(f"{workload.key} has no message")
        command = [sys.executable, "-m", "scripts.bench.ws_load", str(port), workload.path]
        command += ["--connections", str(connections or workload.connections)]
        command += ["--size", str(len(workload.message))]
        if isinstance(workload.message, bytes):
            command.append("--binary")
        if idle:
            command.append("--idle")
        super().__init__(command, core)
        self._idle = idle

    def open(self) -> None:
        """Return once all are open: it stops itself then. Idle ones are let go at once, because pings want an answer."""
        process = self._started()
        found = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if found is not None and found.si_code != os.CLD_STOPPED:
            report, _ = process.communicate()
            parse_ws_load(report)
        if self._idle:
            self.resume()

    def _count(self, process: subprocess.Popen[str]) -> int:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        answered, _, _ = select.select([process.stdout], [], [], 2 * _PATIENCE)
        if not answered:
            raise BenchError("ws_load did not come to its end")
        report = process.stdout.readline()
        if report.startswith("Traceback"):
            report += process.stdout.read()
        return parse_ws_load(report)
