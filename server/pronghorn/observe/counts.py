"""The count file of this process: what it has counted, in memory that outlives it.

Each response is counted when it is complete and before its last bytes are handed to the kernel, in the file itself: whoever has an answer
finds it counted, also if the process is killed in the next moment. What is frequent and less dear, connections and messages, is counted in
plain numbers of the `Service` and written down once a second. A number in the file only ever grows, and a successor goes on from where the
last process was.

Counting must not be felt: a response costs some ten operations on words, where prometheus-client's own value for several processes takes
a lock and two writes for each number (docs/adr/0025).
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import weakref
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from . import metrics, slots
from .metrics import FIELDS, LAYOUT, STATES, WORDS, Metric, cell, cells

_SIZE: Final = WORDS * 8
# By the method's name: where its requests are counted within the block of a route, less the class of the status.
_METHODS: Final = {name: number * len(metrics.STATUSES) for number, name in enumerate(metrics.METHODS)}
_OTHER_METHOD: Final = _METHODS["OTHER"]
_WHOLE_SUM: Final = metrics.WHOLE + metrics.BUCKETS
_PIECES_SUM: Final = metrics.PIECES + metrics.BUCKETS
_FIRST_SUM: Final = metrics.FIRST_BYTES_AT + metrics.BUCKETS
_BYTES_IN: Final = cell(metrics.BYTES_IN)
_BYTES_OUT: Final = cell(metrics.BYTES_OUT)
_OTHER_ROUTES: Final = metrics.BLOCKS_AT + (metrics.ROUTES - 1) * metrics.BLOCK
# Seconds for which an exemplar stays before another may take its place.
_RENEWAL: Final = 1.0
# How many ticks the worst lag of the loop is told for: as long as it takes until somebody comes and asks.
_MEMORY: Final = 15
_NANO: Final = 1_000_000_000
_HEAD: Final = struct.Struct("=4q")


class Head(Protocol):
    """As much of a request's head as is counted."""

    @property
    def method(self) -> str: ...


class Exchange(Protocol):
    """A request and its response, as they are counted. Times are in seconds on the clock of the observer."""

    @property
    def head(self) -> Head: ...

    @property
    def scope(self) -> Mapping[str, Any]: ...

    @property
    def status(self) -> int: ...

    @property
    def bytes_in(self) -> int: ...

    @property
    def bytes_out(self) -> int: ...

    @property
    def started(self) -> float: ...

    @property
    def first_byte(self) -> float:
        """When the first byte of a response in pieces went out; 0 of one that went out whole."""

    @property
    def request_id(self) -> str: ...


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
        self._published = {
            place: self.words[place]
            for place in (
                *(cell(metric) for metric in (metrics.CONNECTIONS_TOTAL, metrics.REUSES)),
                *(cell(metrics.WEBSOCKETS_TOTAL), *cells(metrics.MESSAGES).values()),
            )
        }
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
        return ResponseCounts(self.words, clock)

    def enter(self, state: str) -> None:
        """The process is `starting`, `ready`, `leaving` or `gone` now."""
        self.words[FIELDS["state"]] = STATES.index(state)

    def beat(self) -> None:
        """The process lives; `publish` says so too."""
        self._tell(heartbeat=time.monotonic_ns())

    def publish(self, service: Served, lag: float, resident: int) -> None:
        """Write down what `service` has counted; once a second, and at the end. `lag` is in seconds, `resident` in bytes."""
        self._lags.append(lag)
        self._tell_of(service)
        self._tell(
            heartbeat=time.monotonic_ns(),
            rss=resident,
            lag=int(lag * _NANO),
            lag_worst=int(max(self._lags) * _NANO),
        )

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
            or int.from_bytes(head, "little") != LAYOUT
            or os.fstat(file.fileno()).st_size != _SIZE
        ):
            file.truncate(0)
            file.truncate(_SIZE)
        words = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("q")
    words[0] = LAYOUT
    for place in FIELDS.values():
        words[place] = 0
    return words


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

    def log_dropped(self, stream: str, lines: int) -> None:
        """So many lines for `stdout` or `stderr` were given up."""
        self._words[cell(metrics.LOG_DROPS, stream)] += lines


def code_class(code: int) -> str:
    """What a code of RFC 6455 is counted as: itself, or its range."""
    name = str(code)
    if name in metrics.CODES:
        return name
    return f"{name[0]}xxx" if 3000 <= code <= 4999 else "other"


class ResponseCounts:
    """An observer of responses (`asgi.http.Observer`) that counts each in the file. Never raises."""

    __slots__ = ("_clock", "_due", "_routes", "_words")

    def __init__(self, words: memoryview, clock: Callable[[], float]) -> None:
        self._words = words
        self._clock = clock
        self._routes = {name: _block(number) for number, name in enumerate(routes(words)) if name is not None}
        self._due = [0.0] * metrics.BUCKETS

    def response_complete(self, exchange: Exchange) -> None:
        words = self._words
        now = self._clock()
        seconds = now - exchange.started
        bucket = bisect_left(metrics.BOUNDS, seconds)
        route = _route(exchange.scope)
        block = self._routes.get(route) or self._place(route)
        words[block + _METHODS.get(exchange.head.method, _OTHER_METHOD) + exchange.status // 100] += 1
        first = exchange.first_byte
        if not first:
            words[block + metrics.WHOLE + bucket] += 1
            words[block + _WHOLE_SUM] += int(seconds * _NANO)
        else:
            words[block + metrics.PIECES + bucket] += 1
            words[block + _PIECES_SUM] += int(seconds * _NANO)
            waited = first - exchange.started
            words[metrics.FIRST_BYTES_AT + bisect_left(metrics.BOUNDS, waited)] += 1
            words[_FIRST_SUM] += int(waited * _NANO)
        if exchange.bytes_in:
            words[_BYTES_IN] += exchange.bytes_in
        words[_BYTES_OUT] += exchange.bytes_out
        if now >= self._due[bucket]:
            self._due[bucket] = now + _RENEWAL
            self._note(bucket, block, seconds, exchange.request_id)

    def _place(self, route: str) -> int:
        """A block for a route that is new; with all others, when there is none left for it."""
        name = route.encode("utf-8", "surrogatepass")
        number = len(self._routes)
        if len(name) > metrics.NAME_BYTES or number >= metrics.ROUTES - 1:
            return _OTHER_ROUTES
        place = (metrics.NAMES_AT + number * metrics.NAME) * 8
        raw = self._words.cast("B")
        raw[place + 8 : place + 8 + len(name)] = name
        # The size last: until then there is no such route.
        self._words[place // 8] = len(name)
        self._routes[route] = block = _block(number)
        return block

    def _note(self, bucket: int, block: int, seconds: float, request_id: str) -> None:
        """Make a request the exemplar of its bucket. Who reads it half written finds that its checksum is wrong."""
        if not request_id or len(request_id) > metrics.ID_BYTES:
            return
        route = (block - metrics.BLOCKS_AT) // metrics.BLOCK
        told = _HEAD.pack(route, int(seconds * _NANO), time.time_ns(), len(request_id))
        told += request_id.encode("ascii", "replace").ljust(metrics.ID_BYTES, b"\0")
        place = metrics.EXEMPLARS_AT + bucket * metrics.EXEMPLAR
        self._words.cast("B")[place * 8 + 8 : (place + metrics.EXEMPLAR) * 8] = told
        self._words[place] = zlib.crc32(told)


def _route(scope: Mapping[str, Any]) -> str:
    """The route that the application has found for a request; empty if it does not say. It may have put anything there."""
    try:
        extensions = scope.get("extensions")
        route = extensions.get("pronghorn.route") if extensions else None
        if route is None:
            found = scope.get("route")  # Starlette's and FastAPI's; Litestar's is the other
            route = scope.get("path_template") if found is None else found.path
    except Exception:  # noqa: BLE001
        return ""
    return route if type(route) is str else ""


def _block(number: int) -> int:
    return metrics.BLOCKS_AT + number * metrics.BLOCK


def routes(words: memoryview) -> list[str | None]:
    """The names of the routes of a file by number: no route first, None for a place that is free."""
    raw = words.cast("B")
    names: list[str | None] = [""]
    for number in range(1, metrics.ROUTES - 1):
        place = (metrics.NAMES_AT + number * metrics.NAME) * 8
        size = words[place // 8]
        names.append(str(raw[place + 8 : place + 8 + size], "utf-8", "replace") if size else None)
    names.append(None)
    return names
