"""The count file of this process: what it has counted, in memory that outlives it.

Each response is counted in the file itself (`responses`), and so is what is rare. What is frequent and less dear, bytes, connections and
messages, is counted in plain numbers and written down once a second and at the end. A number in the file only ever grows, and a successor
goes on from where the last process was. docs/adr/0025 tells why these are no files of prometheus-client's.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from pronghorn.errors import StartupError

from . import metrics, slots
from .metrics import BLOCK, BLOCKS_AT, FIELDS, LAYOUT, ROUTES, STATES, WORDS, Metric, cell, cells
from .output import of
from .responses import ResponseCounts

_SIZE: Final = WORDS * 8
# How many ticks the worst lag of the loop is told for: as long as it takes until somebody comes and asks.
_MEMORY: Final = 15
_NANO: Final = 1_000_000_000


class Served(Protocol):
    """What a `Service` has counted, as far as it is told here."""

    accepted: int
    reuses: int
    requests: int
    active: int
    open_websockets: int
    accepted_websockets: int
    received_messages: int
    sent_messages: int
    limit_concurrency: int | None

    @property
    def connections(self) -> Any: ...


class Counts:
    """The file of this process. `kind` is what it is named by; `worker` and `generation` are what a supervisor calls the process.

    Raises OSError where there can be no such file.
    """

    def __init__(
        self, folder: Path, kind: str = slots.WORKER, *, worker: int = -1, generation: int = 0
    ) -> None:
        self._slot = slots.take(folder, kind)
        self.number = self._slot.number
        self.words = _mapped(self._slot)
        self.meter = FileMeter(self.words)
        self._outputs = (of("stdout"), of("stderr"))
        self._published = {
            place: self.words[place]
            for place in (
                *(cell(metric) for metric in (metrics.CONNECTIONS_TOTAL, metrics.REUSES)),
                *(cell(metrics.WEBSOCKETS_TOTAL), *cells(metrics.MESSAGES).values()),
                *(cell(metrics.LOG_DROPS, output.name) for output in self._outputs),
            )
        }
        self._responses: ResponseCounts | None = None
        self._lags: deque[float] = deque((0.0,), _MEMORY)
        self._locked = True
        # A child of the application's making has no part in this, and must not hold the lock when we are gone.
        os.register_at_fork(after_in_child=_Forgetting(self))
        self._tell(
            pid=os.getpid(),
            worker=worker,
            generation=generation,
            started=time.time_ns(),
            heartbeat=time.monotonic_ns(),
            state=STATES.index("starting"),
        )

    def observer(self, clock: Callable[[], float] = time.perf_counter) -> ResponseCounts:
        """What counts the responses; `clock` is the one that exchanges are timed with."""
        self._responses = ResponseCounts(self.words, clock, self._claim)
        return self._responses

    def _claim(self, start: int, count: int) -> bool:
        """Whether so many words from there on may be written to."""
        try:
            with self._slot.path.open("r+b") as file:
                _reserve(file.fileno(), start, count)
        except OSError:
            return False
        return True

    def enter(self, state: str) -> None:
        """The process is `starting`, `ready`, `leaving` or `gone` now."""
        self.words[FIELDS["state"]] = STATES.index(state)

    def beat(self) -> None:
        """The process lives; `publish` says so too."""
        self._tell(heartbeat=time.monotonic_ns())

    def publish(self, service: Served, lag: float, resident: int) -> None:
        """Write down what `service` has counted; once a second, and at the end. `lag` is in seconds, `resident` in bytes."""
        self._lags.append(lag)
        self._publish_responses()
        self._tell_of(service)
        self._tell(
            heartbeat=time.monotonic_ns(),
            rss=resident,
            lag=int(lag * _NANO),
            lag_worst=int(max(self._lags) * _NANO),
        )

    def _publish_responses(self) -> None:
        if self._responses is not None:
            self._responses.publish()

    def _tell_of(self, service: Served) -> None:
        self._tell(
            requests=service.requests,
            in_flight=service.active - service.open_websockets,
            connections=len(service.connections),
            websockets=service.open_websockets,
            limit=service.limit_concurrency or 0,
        )
        since = (
            *(service.accepted, service.reuses, service.accepted_websockets),
            *(service.received_messages, service.sent_messages),
            *(output.dropped for output in self._outputs),
        )
        for (place, before), count in zip(self._published.items(), since, strict=True):
            self.words[place] = before + count

    def add(self, metric: Metric, *labels: str, count: int = 1) -> None:
        """Count something that is rare."""
        self.words[cell(metric, *labels)] += count

    def set(self, metric: Metric, *labels: str, value: int) -> None:
        """Note how much there is of something."""
        self.words[cell(metric, *labels)] = value

    def close(self) -> None:
        """The process is gone as far as this is concerned; its number is free."""
        if self._locked:
            self._publish_responses()
            self.enter("gone")
            self.release()

    def release(self) -> None:
        """Let go of the number without a word."""
        if self._locked:
            self._locked = False
            os.close(self._slot.lock)

    def _tell(self, **fields: int) -> None:
        for name, value in fields.items():
            self.words[FIELDS[name]] = value


def count_in(folder: Path, kind: str = slots.WORKER, *, worker: int = -1, generation: int = 0) -> Counts:
    """`Counts` for a process that cannot do without. Raises StartupError where there can be no such file."""
    try:
        return Counts(folder, kind, worker=worker, generation=generation)
    except OSError as exc:
        raise StartupError(
            f"no count file can be made in {str(folder)!r}: {exc.strerror or exc}",
            option="--metrics-dir",
            hint="Every process has to be able to write there",
        ) from exc


class _Forgetting:
    """Closes the lock in a forked child, for as long as there are counts to forget; the hook itself is there to stay."""

    def __init__(self, counts: Counts) -> None:
        self._counts = weakref.ref(counts)

    def __call__(self) -> None:
        counts = self._counts()
        if counts is not None:
            counts.release()


def _mapped(slot: slots.Slot) -> memoryview:
    """The words of a file that nobody else writes: as its last owner left them, or all 0 if it has another layout."""
    # Opened anew: a mapping holds its descriptor, and with that the lock, in every child that is forked.
    with slot.path.open("r+b") as file:
        head = file.read(8)
        if (
            len(head) < 8
            or int.from_bytes(head, sys.byteorder) != LAYOUT
            or os.fstat(file.fileno()).st_size != _SIZE
        ):
            file.truncate(0)
            file.truncate(_SIZE)
        # What every process writes to. The block of a route is claimed when there is such a route.
        _reserve(file.fileno(), 0, BLOCKS_AT + BLOCK)
        _reserve(file.fileno(), BLOCKS_AT + (ROUTES - 1) * BLOCK, BLOCK)
        words = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("q")
    words[0] = LAYOUT
    for place in FIELDS.values():
        words[place] = 0
    return words


def _reserve(descriptor: int, start: int, count: int) -> None:
    """Take the room for so many words now. Raises OSError where there is none.

    The file has holes, and memory that a full file system cannot give to a hole ends whoever touches it, with SIGBUS.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(descriptor, start * 8, count * 8)


class FileMeter:
    """A `net.service.Meter` that counts in the file."""

    __slots__ = ("_words",)

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def limit(self, name: str) -> None:
        self._words[cell(metrics.LIMITS_HIT, name)] += 1

    def protocol_error(self, kind: str) -> None:
        self._words[cell(metrics.ERRORS, kind)] += 1

    def websocket_closed(self, code: int) -> None:
        self._words[cell(metrics.CLOSES, code_class(code))] += 1

    def application_error(self) -> None:
        self._words[cell(metrics.APPLICATION_ERRORS)] += 1


def code_class(code: int) -> str:
    """What a code of RFC 6455 is counted as: itself, or its range."""
    name = str(code)
    if name in metrics.CODES:
        return name
    return f"{name[0]}xxx" if 3000 <= code <= 4999 else "other"
