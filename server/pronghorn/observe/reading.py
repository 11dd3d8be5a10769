"""All count files of a server at once: their sums, and who lives.

A reading is what the files say at about one moment. A counter sums over everybody who ever counted, a gauge over those who live.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Self

from . import metrics, slots
from .metrics import BOUNDS, BUCKETS, FIELDS, LAYOUT, STATES, WORDS, Metric, cells

_NANO: Final = 1_000_000_000
_HEAD: Final = struct.Struct("=5q")


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many fell into each bucket of `metrics.BOUNDS`, each by itself, and their sum in seconds."""

    counts: tuple[int, ...] = (0,) * BUCKETS
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self.counts)

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(tuple(map(int.__add__, self.counts, other.counts)), self.total + other.total)

    def __sub__(self, earlier: Histogram) -> Histogram:
        """What has come since an earlier reading."""
        return Histogram(tuple(map(int.__sub__, self.counts, earlier.counts)), self.total - earlier.total)

    def quantile(self, share: float) -> float | None:
        """The duration that `share` of them stay below, by a straight line within its bucket, as Prometheus has it; None of nothing."""
        rank = share * self.count
        below = 0
        for number, count in enumerate(self.counts[:-1]):
            if count and below + count >= rank:
                lower = BOUNDS[number - 1] if number else 0.0
                return lower + (BOUNDS[number] - lower) * (rank - below) / count
            below += count
        return BOUNDS[-1] if self.count else None


class Exemplar(NamedTuple):
    """One request of a bucket: its id, how long it took in seconds, and when it ended, in seconds since 1970."""

    request_id: str
    seconds: float
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A process that serves. `slot` is the number of its file, `worker` and `generation` are the supervisor's; -1 without one.

    Times are in seconds, `started` since 1970; `limit` is that of concurrent requests, 0 for none.
    """

    pid: int
    slot: int
    worker: int
    generation: int
    state: str
    started: float
    heartbeat_age: float
    requests: int
    in_flight: int
    connections: int
    websockets: int
    rss: int
    lag: float
    lag_worst: float
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorRow:
    """The process that starts the others: how many it wants, how many it has started, and how those have ended."""

    pid: int
    state: str
    heartbeat_age: float
    started: float
    wanted: int
    starts: int
    exits: dict[str, int]


@dataclass(slots=True, kw_only=True, eq=False)
class Reading:
    """What all files of a folder say. `requests` is by route, method and status; no route is the empty one."""

    workers: list[WorkerRow] = field(default_factory=list)
    supervisor: SupervisorRow | None = None
    requests: dict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    durations: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    first_byte: Histogram = field(default_factory=Histogram)
    exemplars: dict[tuple[str, int], Exemplar] = field(default_factory=dict)
    #: By the name of the metric, and the values of its labels.
    sums: dict[str, dict[tuple[str, ...], int]] = field(
        default_factory=lambda: {
            metric.name: dict.fromkeys(cells(metric), 0) for metric in metrics.METRICS if metric.cells
        }
    )

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read every file of a folder that is of our layout."""
        reading = cls()
        now = time.monotonic_ns()
        for path, lives in list(slots.living(folder)):
            words = _words(path)
            if words is not None:
                reading._add(path, words, lives, now)
        return reading

    def total(self, metric: Metric, *labels: str) -> int:
        """The sum of one counter or gauge that has a cell."""
        return self.sums[metric.name][labels]

    @property
    def duration(self) -> Histogram:
        """Durations of all routes."""
        return sum(self.durations.values(), Histogram())

    def _add(self, path: Path, words: memoryview, lives: bool, now: int) -> None:
        row = {name: words[place] for name, place in FIELDS.items()}
        lives = lives and STATES[row["state"]] != "gone"
        kind, _, number = path.stem.rpartition("-")
        self._add_cells(words, lives)
        if kind == slots.SUPERVISOR:
            if lives:
                self.supervisor = self._supervisor(row, now)
            return
        if lives:
            self.workers.append(_worker(int(number), row, now))
        self._add_responses(words)

    def _add_cells(self, words: memoryview, lives: bool) -> None:
        for metric in metrics.METRICS:
            if metric.cells and (lives or metric.kind is metrics.Kind.COUNTER):
                sums = self.sums[metric.name]
                for labels, place in cells(metric).items():
                    sums[labels] += words[place]

    def _add_responses(self, words: memoryview) -> None:
        names = metrics.route_names(words)
        names[-1] = metrics.OTHER_ROUTES
        for route, name in enumerate(names):
            if name is None:
                continue
            at = metrics.BLOCKS_AT + route * metrics.BLOCK
            block = words[at : at + metrics.BLOCK].tolist()
            counts = [0] * BUCKETS
            for number, labels in enumerate(itertools.product(metrics.METHODS, metrics.STATUSES)):
                buckets = block[number * BUCKETS : (number + 1) * BUCKETS]
                if any(buckets):
                    self.requests[name, *labels] += sum(buckets)
                    counts = list(map(int.__add__, counts, buckets))
            if any(counts):
                self.durations[name] += Histogram(tuple(counts), block[metrics.SUM] / _NANO)
        *firsts, total = words[metrics.FIRST_BYTES_AT : metrics.FIRST_BYTES_AT + metrics.HISTOGRAM].tolist()
        self.first_byte += Histogram(tuple(firsts), total / _NANO)
        for bucket in range(BUCKETS):
            self._add_exemplar(bucket, words, names)

    def _add_exemplar(self, bucket: int, words: memoryview, names: Sequence[str | None]) -> None:
        at = (metrics.EXEMPLARS_AT + bucket * metrics.EXEMPLAR) * 8
        raw = bytes(words.cast("B")[at : at + metrics.EXEMPLAR * 8])
        check, number, duration, when, size = _HEAD.unpack_from(raw)
        if not size or check != zlib.crc32(raw[8:]):
            return
        name = names[number]
        found = Exemplar(raw[_HEAD.size : _HEAD.size + size].decode("ascii"), duration / _NANO, when / _NANO)
        if name is not None:
            best = self.exemplars.setdefault((name, bucket), found)
            if best.time < found.time:
                self.exemplars[name, bucket] = found

    def _supervisor(self, row: dict[str, int], now: int) -> SupervisorRow:
        return SupervisorRow(
            pid=row["pid"],
            state=STATES[row["state"]],
            heartbeat_age=max(0, now - row["heartbeat"]) / _NANO,
            started=row["started"] / _NANO,
            wanted=self.total(metrics.WANTED),
            starts=self.total(metrics.STARTS),
            exits={cause: count for (cause,), count in self.sums[metrics.WORKER_EXITS.name].items() if count},
        )


def _worker(number: int, row: dict[str, int], now: int) -> WorkerRow:
    return WorkerRow(
        slot=number,
        state=STATES[row["state"]],
        started=row["started"] / _NANO,
        heartbeat_age=max(0, now - row["heartbeat"]) / _NANO,
        lag=row["lag"] / _NANO,
        lag_worst=row["lag_worst"] / _NANO,
        **{
            name: row[name]
            for name in (
                *("pid", "worker", "generation", "requests", "in_flight", "connections", "websockets"),
                *("rss", "limit"),
            )
        },
    )


def _words(path: Path) -> memoryview | None:
    """The words of a file, None of one that is gone, not ready yet, or of another layout."""
    try:
        with path.open("rb") as file:
            # Read, not mapped, until it is known to be one: a file may be nothing but a hole that there was no room to fill, and
            # even a look at that through a mapping asks for memory, and ends in SIGBUS where there is none.
            head = file.read(8)
            if os.fstat(file.fileno()).st_size != WORDS * 8 or int.from_bytes(head, sys.byteorder) != LAYOUT:
                return None
            return memoryview(mmap.mmap(file.fileno(), WORDS * 8, access=mmap.ACCESS_READ)).cast("q")
    except OSError:
        return None
