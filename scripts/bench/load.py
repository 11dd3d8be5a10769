"""wrk, the generator of load, which can be held still: several of them take turns and keep their connections."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from pathlib import Path

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


class Generator:
    """wrk at one port: started by its first turn, stopped between turns, ended by `finish` or at the latest by `close`."""

    def __init__(self, port: int, workload: Workload, folder: Path, core: int | None) -> None:
        command = ["wrk", "--threads", "1", "--connections", str(workload.connections), "--timeout", "60s"]
        if workload.script:
            script = folder / "wrk.lua"
            script.write_text(workload.script)
            command += ["--script", str(script)]
        url = f"http://127.0.0.1:{port}{workload.path}"
        # A process that is held would take notice of nothing less.
        self._command = pinned(core, [*command, "--duration", f"{_LONGEST}s", url], farewell="KILL")
        self._process: subprocess.Popen[str] | None = None
        self.active = 0.0

    def turn(self, seconds: float) -> None:
        """Load for so long."""
        begun = time.monotonic()
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        else:
            self._process.send_signal(signal.SIGCONT)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGSTOP)
        self.active += time.monotonic() - begun

    def finish(self) -> int:
        """Its last turn, as short as wrk can, which looks every tenth of a second whether to end; all requests answered."""
        if self._process is None:
            return 0
        begun = time.monotonic()
        self._process.send_signal(signal.SIGCONT)
        # wrk ignores the interrupt until it has begun, and misses one that its second thread is given.
        while time.monotonic() < begun + _PATIENCE:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                report, _ = self._process.communicate(timeout=0.05)
                self.active += time.monotonic() - begun
                return parse_wrk(report)
        raise BenchError("wrk did not come to its end")

    def close(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self._process.kill()
            # Closes its pipe and waits for its end.
            self._process.__exit__(None, None, None)
