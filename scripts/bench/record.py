"""What a benchmark has found so far, and its lines of progress."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from scripts.bench.measure import Sample
from scripts.bench.servers import BenchError, Server
from scripts.bench.workloads import Workload

Missing = dict[tuple[str, str], str]


class Record:
    """Samples, who cannot do what and why, and how much of the work, in estimated seconds, is done."""

    def __init__(self, missing: Missing, expected: float) -> None:
        self.samples: list[Sample] = []
        self.missing = missing
        self.failures = 0
        # The largest share of a core that each server used while none was under load.
        self.idle: dict[str, float] = {}
        self._begun = time.monotonic()
        self._expected = expected
        self._done = 0.0

    def able(self, server: Server, workload: Workload) -> bool:
        """Whether there is nothing against it: who failed once gets no other turn."""
        return (server.name, workload.key) not in self.missing

    def add(self, sample: Sample) -> None:
        """One more figure."""
        self.samples.append(sample.rounded())

    @contextlib.contextmanager
    def attempt(self, server: Server, workload: Workload) -> Iterator[None]:
        """What goes wrong inside is the server's failure, and the others go on."""
        try:
            yield
        except (BenchError, OSError) as error:
            self.failures += 1
            lines = str(error).splitlines() or [type(error).__name__]
            self.missing[server.name, workload.key] = " … ".join(dict.fromkeys((lines[0], lines[-1])))
            print(f"FAILED: {server.name}, {workload.title}: {error}", flush=True)

    def was_idle(self, server: Server, share: float) -> None:
        """It used so much of a core while it waited."""
        self.idle[server.name] = max(share, self.idle.get(server.name, 0.0))

    def advance(self, seconds: float) -> None:
        """Something is done that was expected to take so many seconds."""
        self._done += seconds

    def round_over(self, run: int, number: int, workload: Workload) -> None:
        """Print the figures of a round, and the time that is left if it passes as slowly as until now."""
        found = [
            f"{s.server} {s.value:.1f}"
            for s in self.samples
            if (s.run, s.round, s.workload) == (run, number, workload.key)
        ]
        left = round((time.monotonic() - self._begun) / self._done * max(0.0, self._expected - self._done))
        print(
            f"{left // 60:3}:{left % 60:02} left  {workload.title}, {workload.unit}, round {number}: "
            + ", ".join(found),
            flush=True,
        )
