"""All deadlines of a worker in one place: a wheel of buckets, swept once per tick, instead of a timer per request.

A request arms and disarms several deadlines within a millisecond, and nearly none of them ever comes. So the common
operation, pushing a deadline further out, only writes a number: the entry stays in the bucket where it is, and is put
into the right one when the sweep finds it there too early. Ten thousand idle connections cost one visit each per
keep-alive period, and nothing in between.

Time is counted in whole ticks. A deadline never comes early; it comes at most two ticks late.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final, Protocol

#: Seconds between two sweeps.
TICK: Final = 1.0

#: The value of `Expiring.deadline` that never comes.
NEVER: Final = 2**62


class Expiring(Protocol):
    """Something with a deadline. The wheel owns `bucket`; `deadline` is set through `Deadlines.arm` only."""

    deadline: int
    bucket: int

    def on_deadline(self) -> None: ...


class Deadlines:
    """The deadlines of one worker. `ticks` converts a timeout once; `arm` is what a hot path calls."""

    __slots__ = ("_buckets", "now")

    def __init__(self) -> None:
        self.now = 0
        self._buckets: dict[int, set[Expiring]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    @staticmethod
    def ticks(seconds: float) -> int:
        """How many ticks from any moment on are `seconds` at least."""
        return math.ceil(seconds / TICK) + 1

    def arm(self, entry: Expiring, ticks: int) -> None:
        """Call `entry.on_deadline()` once `ticks` have passed, in place of any deadline that it had."""
        deadline = self.now + ticks
        entry.deadline = deadline
        if deadline < entry.bucket:
            self._move(entry, deadline)

    def disarm(self, entry: Expiring) -> None:
        """No deadline for now; the entry leaves its bucket when that is swept."""
        entry.deadline = NEVER

    def discard(self, entry: Expiring) -> None:
        """Forget the entry, at once and entirely: a lost connection must not be kept alive by its timeout."""
        bucket = self._buckets.get(entry.bucket)
        if bucket is not None:
            bucket.discard(entry)
        entry.deadline = entry.bucket = NEVER

    def _move(self, entry: Expiring, bucket: int) -> None:
        old = self._buckets.get(entry.bucket)
        if old is not None:
            old.discard(entry)
        entry.bucket = bucket
        if bucket != NEVER:
            self._buckets.setdefault(bucket, set()).add(entry)

    def advance(self) -> None:
        """One tick passes: call those whose deadline has come."""
        self.now += 1
        for entry in self._buckets.pop(self.now, ()):
            if entry.deadline <= self.now:
                entry.deadline = entry.bucket = NEVER
                entry.on_deadline()
            else:
                entry.bucket = NEVER
                self._move(entry, entry.deadline)


class Ticker:
    """Calls `on_tick` every `TICK` seconds, or as many as are given, of the running loop, until it is stopped.

    `late` is by how many seconds the loop came too late to the last tick.
    """

    __slots__ = ("_due", "_handle", "_loop", "_on_tick", "_seconds", "late")

    def __init__(self, on_tick: Callable[[], None], seconds: float = TICK) -> None:
        self._on_tick = on_tick
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self.late = 0.0
        self._due = time.monotonic() + seconds
        self._handle = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        self.late = max(0.0, now - self._due)
        self._due = now + self._seconds
        # Scheduled first: an exception in the callback must not end all timeouts.
        self._handle = self._loop.call_later(self._seconds, self._tick)
        self._on_tick()

    def stop(self) -> None:
        self._handle.cancel()
