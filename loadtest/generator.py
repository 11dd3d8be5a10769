"""Whether the generator was the limit. A process of Locust's that gets no processor notices answers late, and takes that for the server's time.

Each process that has users measures two things of itself: the part of a processor that it used, second by second, and how late it woke up
from sleep, which is about what its users' figures are wrong by. Workers send both to the master with their figures.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import gevent

from loadtest.thresholds import percentile

#: From here on it is the generator that is measured: part of one processor, and milliseconds of the 95th percentile.
BUSY, LATE = 0.85, 25.0

_TURN: Final = 0.1
_TURNS_A_SECOND: Final = 10


@dataclass
class Strain:
    """What it came to: the busiest second, and milliseconds late by how often."""

    cpu: float = 0.0
    late: Counter[int] = field(default_factory=Counter)

    def add(self, other: Mapping[str, Any]) -> None:
        """What another process has told of itself."""
        self.cpu = max(self.cpu, float(other["cpu"]))
        self.late.update({int(time): count for time, count in other["late"].items()})

    def take(self) -> dict[str, Any]:
        """All of it, to be told; it begins anew."""
        told = {"cpu": self.cpu, "late": dict(self.late)}
        self.cpu, self.late = 0.0, Counter()
        return told

    def watch(self) -> None:
        """Measures this process until its greenlet is killed."""
        while True:
            used, began = time.process_time(), time.monotonic()
            for _ in range(_TURNS_A_SECOND):
                before = time.monotonic()
                gevent.sleep(_TURN)
                self.late[round((time.monotonic() - before - _TURN) * 1000)] += 1
            self.cpu = max(self.cpu, (time.process_time() - used) / (time.monotonic() - began))

    @property
    def was_the_limit(self) -> bool:
        """Whether the figures tell of the generator rather than of the server."""
        return self.cpu > BUSY or (percentile(self.late, 0.95) or 0) > LATE

    def __str__(self) -> str:
        late = percentile(self.late, 0.95)
        turn = (
            "nothing is known of its turns" if late is None else f"95 % of its turns at most {late:g} ms late"
        )
        return f"busiest second of a process {self.cpu * 100:.0f} % of a processor, {turn}"
