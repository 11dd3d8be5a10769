"""One server at one workload: from its start, over its first right answers, to figures."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from scripts.bench import proc, proxy
from scripts.bench.answers import ask_pipelined, open_idle, wait_until_right
from scripts.bench.load import Generator, H2Load, WebSockets, Wrk
from scripts.bench.servers import BenchError, Server, running
from scripts.bench.workloads import Workload

# Shorter ones would be mostly the first answers after a pause, longer ones let the machine change in between.
TURN = 0.1

# Requests that make a server warm, where the generator has to be told a number.
WARMING = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """One server, one workload, one round of one run.

    `value` is in the workload's unit, `rate` is requests or messages per second of a load, `steal` the share of the
    machine's time that the host took away during the round.
    """

    run: int
    round: int
    server: str
    workload: str
    value: float
    rate: float | None = None
    steal: float = 0.0

    def rounded(self) -> Sample:
        """To what such a measurement can tell."""
        rate = None if self.rate is None else round(self.rate, 1)
        return replace(self, value=round(self.value, 3), rate=rate, steal=round(self.steal, 4))


@dataclass(frozen=True, slots=True)
class Setup:
    """How turns are run; `server_core` and `load_core` are None on a machine with one core.

    `seconds` is the load that each server has in a round, `turn` how much of it comes at a time.
    """

    python: Path
    nginx: Path | None = None
    seconds: float = 0.5
    turn: float = TURN
    warm_up: float = 1.0
    server_core: int | None = None
    load_core: int | None = None


class Contestant:
    """A server that was started for a workload; `check` waits for its first right answers, `close` ends it."""

    def __init__(self, server: Server, workload: Workload, setup: Setup) -> None:
        self.server = server
        self._workload = workload
        self._setup = setup
        self._requests = 0
        self._rate = 0.0
        self._lines = 0
        with contextlib.ExitStack() as stack:
            self._running = stack.enter_context(running(server, workload, setup.python, setup.server_core))
            self._port = self._running.port
            if workload.nginx:
                if setup.nginx is None:
                    raise BenchError("there is no nginx")
                front = proxy.in_front(self._running, setup.nginx, setup.load_core, workload.connections)
                self._port = stack.enter_context(front)
            self._log = stack.enter_context(self._running.log.open("rb"))
            self._stack = stack.pop_all()

    def check(self) -> None:
        """Return after the first right answers."""
        wait_until_right(self._running, self._port, self._workload)
        if self._workload.pipelined > 1:
            ask_pipelined(self._port, self._workload)

    def ask_to_end(self) -> None:
        """So that servers that are closed one after the other end at the same time."""
        self._running.process.terminate()

    def close(self) -> None:
        """End it, and Nginx in front of it."""
        self._stack.close()

    # ---- Load -------------------------------------------------------------------------------------------------------

    def cpu(self) -> dict[int, float]:
        """The CPU clocks of its processes."""
        return proc.cpu_clocks(self._running.process.pid)

    def generator(self) -> Generator:
        """Its load, to be let loose on it."""
        workload, core, folder = self._workload, self._setup.load_core, self._running.log.parent
        if workload.message is not None:
            return WebSockets(self._port, workload, core, idle=workload.kind == "idle")
        if workload.streams:
            # What it should take the time of a round to answer; until that is known, what warms it up.
            requests = round(self._rate * self._setup.seconds) or WARMING
            return H2Load(self._port, workload, folder, core, requests)
        return Wrk(self._port, workload, folder, core)

    def answered(self, requests: int, seconds: float) -> None:
        """So many more requests were answered, in so much time: where it writes a log, each has to be in it."""
        self._rate = requests / seconds
        self._requests += requests
        if self._workload.access_log:
            self._lines += count_lines(self._log)
            # The last ones may still be on their way.
            if self._lines < self._requests * 0.95:
                raise BenchError(f"{self._lines} log lines for {self._requests} requests")

    # ---- Memory -----------------------------------------------------------------------------------------------------

    def resident(self) -> int:
        """Kilobytes, once what the last answer set off has come to rest."""
        time.sleep(0.3)
        return proc.resident_kilobytes(self._running.process.pid)

    def per_connection(self) -> float:
        """Kilobytes that one more connection costs, after the first tenth, which pays for threads, pools and caches."""
        first = self._workload.connections // 10
        rest = self._workload.connections - first
        hold = self._idle_requests if self._workload.message is None else self._idle_websockets
        with hold() as more:
            more(first)
            before = self.resident()
            more(rest)
            used = self.resident() - before
        return used / rest

    @contextlib.contextmanager
    def _idle_requests(self) -> Iterator[Callable[[int], None]]:
        """What opens more connections that had one answer each; at the end all have to be there still."""
        poll = select.poll()
        with contextlib.ExitStack() as stack:
            yield lambda count: open_idle(self._port, self._workload, count, stack, poll)
            closed = poll.poll(0)
            if closed:
                raise BenchError(f"it closed {len(closed)} of {self._workload.connections} idle connections")

    @contextlib.contextmanager
    def _idle_websockets(self) -> Iterator[Callable[[int], None]]:
        """The same of WebSockets, which other processes hold: they and the server share the limit of open files here."""
        generators = []
        with contextlib.ExitStack() as stack:

            def more(count: int) -> None:
                generator = WebSockets(
                    self._port, self._workload, self._setup.load_core, connections=count, idle=True
                )
                generators.append(stack.enter_context(contextlib.closing(generator)))
                generator.open()

            yield more
            for generator in generators:
                generator.finish()


def count_lines(log: BinaryIO) -> int:
    """The lines that were written to an open file since it was last read."""
    return sum(block.count(b"\n") for block in iter(lambda: log.read(1 << 20), b""))


def time_to_first_answer(server: Server, workload: Workload, setup: Setup) -> float:
    """Milliseconds from the start of the process to the first right answer."""
    before = time.monotonic()
    with running(server, workload, setup.python, setup.server_core) as target:
        wait_until_right(target, target.port, workload, pause=0.001)
        return (time.monotonic() - before) * 1e3
