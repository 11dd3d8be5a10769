"""Who is measured when: all servers of a workload side by side, in turns so short that what disturbs one disturbs all.

A machine that is shared changes speed in bursts of seconds and minutes. Servers that are measured one after the other meet
different ones; servers that are all there, and take turns of a tenth of a second, meet the same.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scripts.bench import proc
from scripts.bench.load import Generator
from scripts.bench.measure import Contestant, Sample, Setup, time_to_first_answer
from scripts.bench.record import Record
from scripts.bench.servers import BenchError, Server
from scripts.bench.workloads import Kind, Workload

# Seconds from one ping to the next on a WebSocket, of those that send any by themselves: uvicorn and ours.
PINGS = 20.0

# Seconds: for the closing of connections, which is part of the load; and for what a server does with none.
_AFTERMATH = 0.05
_REST = 0.4

T = TypeVar("T")


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items in their order, begun with another one each time: nobody always runs first."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


@dataclass(frozen=True, slots=True)
class _Load:
    """What one server made of one round of load; a message counts as a request."""

    cpu: float
    requests: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Contest:
    """One workload and all servers that can do it, in one of the runs."""

    run: int
    workload: Workload
    servers: tuple[Server, ...]
    rounds: int
    setup: Setup

    def opening(self) -> float:
        """Seconds, more or less, until the first round of a load can begin."""
        return len(self.servers) * (self.setup.warm_up + 0.9) if self.workload.kind == "load" else 0.0

    def round_seconds(self) -> float:
        """Seconds that a round takes, more or less: starts and ends of servers are a guess."""
        opening = 0.5 + self.workload.connections * 1e-3
        per_server = {"load": self.setup.seconds + 0.05, "start": 0.4, "rss": 0.8}
        together = 2 * PINGS if self.workload.kind == "idle" else 0.0
        return len(self.servers) * per_server.get(self.workload.kind, opening) + together

    def duration(self) -> float:
        """Of everything."""
        return self.opening() + self.rounds * self.round_seconds()

    def hold(self, record: Record) -> None:
        """Measure, and leave nothing running."""
        kinds: dict[Kind, Callable[[Record], None]] = {
            "load": self._loads,
            "start": self._starts,
            "rss": self._memory,
            "connections": self._memory,
            "idle": self._idle,
        }
        kinds[self.workload.kind](record)

    # ---- Load -------------------------------------------------------------------------------------------------------

    def _loads(self, record: Record) -> None:
        with self._lineup(record) as ready:
            self._load(record, ready, 0, self.setup.warm_up)
            self._rest(record, ready)
            record.advance(self.opening())
            for number in range(1, self.rounds + 1):
                before = proc.machine_time()
                found = self._load(record, ready, number, self.setup.seconds)
                steal = proc.steal(before, proc.machine_time())
                for contestant, load in found.items():
                    value, rate = load.cpu / load.requests * 1e6, load.requests / load.seconds
                    self._add(record, number, contestant.server, value, steal, rate)
                self._over(record, number)

    def _load(
        self, record: Record, ready: list[Contestant], number: int, seconds: float
    ) -> dict[Contestant, _Load]:
        """Each server's load, in turns; who fails is no longer ready."""
        answered, found = {}, {}
        with contextlib.ExitStack() as stack:
            generators = self._opened(record, ready, stack)
            before = {contestant: contestant.cpu() for contestant in ready}
            # To finish takes wrk about as long as a turn, and is one; WebSockets do so at once.
            turns = max(1, round(seconds / self.setup.turn) - (self.workload.message is None))
            for turn in range(turns):
                for contestant in rotated(ready, number + turn):
                    generators[contestant].turn(self.setup.turn)
            for contestant in rotated(ready, number + turns):
                with self._attempt(record, ready, contestant):
                    answered[contestant] = generators[contestant].finish()
                    contestant.answered(answered[contestant], generators[contestant].active)
            time.sleep(_AFTERMATH)
            for contestant in tuple(ready):
                with self._attempt(record, ready, contestant):
                    requests = answered[contestant]
                    cpu = proc.used(before[contestant], contestant.cpu())
                    if not requests or cpu <= 0:
                        raise BenchError(f"{requests} requests in {cpu} s of CPU time: nothing was measured")
                    found[contestant] = _Load(cpu, requests, generators[contestant].active)
        return found

    def _opened(
        self, record: Record, ready: list[Contestant], stack: contextlib.ExitStack
    ) -> dict[Contestant, Generator]:
        """The generators of all that are ready, each with what has to be open before its load."""
        generators = {}
        for contestant in tuple(ready):
            with self._attempt(record, ready, contestant):
                generator = stack.enter_context(contextlib.closing(contestant.generator()))
                generator.open()
                generators[contestant] = generator
        return generators

    @staticmethod
    def _rest(record: Record, ready: Sequence[Contestant]) -> None:
        """What they use while they wait would count for nobody, and disturb the others."""
        time.sleep(_REST)
        before, begun = [contestant.cpu() for contestant in ready], time.monotonic()
        time.sleep(_REST)
        for contestant, clocks in zip(ready, before, strict=True):
            share = proc.used(clocks, contestant.cpu()) / (time.monotonic() - begun)
            record.was_idle(contestant.server, share)

    # ---- Idle connections -------------------------------------------------------------------------------------------

    def _idle(self, record: Record) -> None:
        """All servers at once, for as long as it takes each of their connections to be pinged once."""
        for number in range(1, self.rounds + 1):
            with self._lineup(record) as ready, contextlib.ExitStack() as stack:
                generators = self._opened(record, ready, stack)
                # Until pings come as often as ever, on the last connection too.
                time.sleep(PINGS)
                machine, begun = proc.machine_time(), time.monotonic()
                before = {contestant: contestant.cpu() for contestant in ready}
                time.sleep(PINGS)
                after = {contestant: contestant.cpu() for contestant in ready}
                seconds = time.monotonic() - begun
                steal = proc.steal(machine, proc.machine_time())
                for contestant in tuple(ready):
                    with self._attempt(record, ready, contestant):
                        generators[contestant].finish()
                        value = proc.used(before[contestant], after[contestant]) / seconds * 1e3
                        self._add(record, number, contestant.server, value, steal)
            self._over(record, number)

    # ---- Start and memory -------------------------------------------------------------------------------------------

    def _starts(self, record: Record) -> None:
        for number in range(1, self.rounds + 1):
            for server in rotated(self._able(record), number):
                with record.attempt(server, self.workload):
                    before = proc.machine_time()
                    value = time_to_first_answer(server, self.workload, self.setup)
                    self._add(record, number, server, value, proc.steal(before, proc.machine_time()))
            self._over(record, number)

    def _memory(self, record: Record) -> None:
        for number in range(1, self.rounds + 1):
            before = proc.machine_time()
            with self._lineup(record) as ready:
                for contestant in tuple(ready):
                    with self._attempt(record, ready, contestant):
                        whole = self.workload.kind == "rss"
                        value = contestant.resident() / 1024 if whole else contestant.per_connection()
                        steal = proc.steal(before, proc.machine_time())
                        self._add(record, number, contestant.server, value, steal)
            self._over(record, number)

    # ---- What they share --------------------------------------------------------------------------------------------

    def _able(self, record: Record) -> list[Server]:
        return [server for server in self.servers if record.able(server, self.workload)]

    @contextlib.contextmanager
    def _lineup(self, record: Record) -> Iterator[list[Contestant]]:
        """All servers, started at once, each after its first right answers."""
        with contextlib.ExitStack() as stack:
            started = []
            for server in self._able(record):
                with record.attempt(server, self.workload):
                    contestant = Contestant(server, self.workload, self.setup)
                    started.append(stack.enter_context(contextlib.closing(contestant)))
            stack.callback(_ask_to_end, started)
            ready = [*started]
            for contestant in started:
                with self._attempt(record, ready, contestant):
                    contestant.check()
            yield ready

    @contextlib.contextmanager
    def _attempt(self, record: Record, ready: list[Contestant], contestant: Contestant) -> Iterator[None]:
        """Who fails is ended at once."""
        failures = record.failures
        with record.attempt(contestant.server, self.workload):
            yield
        if record.failures > failures:
            ready.remove(contestant)
            contestant.close()

    def _add(
        self,
        record: Record,
        number: int,
        server: Server,
        value: float,
        steal: float,
        rate: float | None = None,
    ) -> None:
        record.add(Sample(self.run, number, server.name, self.workload.key, value, rate, steal))

    def _over(self, record: Record, number: int) -> None:
        record.advance(self.round_seconds())
        record.round_over(self.run, number, self.workload)


def _ask_to_end(contestants: Sequence[Contestant]) -> None:
    """All of them first: otherwise the end of each would be waited for before the next is asked."""
    for contestant in contestants:
        contestant.ask_to_end()
