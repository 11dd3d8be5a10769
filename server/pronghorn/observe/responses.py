"""What counts responses: an observer that is told of every one of them, and so the part that has to be quick.

One number in the file counts a request, for `pronghorn_requests_total` and for the histogram of durations alike. That is done at once: the
response has not been handed to the kernel yet, so whoever has it finds it counted, whatever becomes of this process. Sums of seconds and
bytes, and first bytes, wait here for `publish`, once a second: writing a word of the file is the dearest of what is done here. Whatever the
application has made of its scope, nothing is raised.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from .metrics import (
    BLOCK,
    BLOCKS_AT,
    BOUNDS,
    BUCKETS,
    BYTES_IN,
    BYTES_OUT,
    EXEMPLAR,
    EXEMPLARS_AT,
    FIRST_BYTES_AT,
    ID_BYTES,
    METHODS,
    NAME,
    NAME_BYTES,
    NAMES_AT,
    ROUTES,
    STATUSES,
    SUM,
    cell,
    route_names,
)

if TYPE_CHECKING:
    # Compiled, the fields of a class that is known are read at a tenth of the price; there is nothing to import when it runs.
    from pronghorn.asgi.http import HttpCycle

# By the method's name: where its requests are counted within the block of a route, less the status and the bucket.
_METHODS: Final = {name: number * len(STATUSES) * BUCKETS for number, name in enumerate(METHODS)}
_OTHER_ROUTES: Final = ROUTES - 1
# Seconds for which an exemplar stays before another may take its place.
_RENEWAL: Final = 1.0
_NANO: Final = 1_000_000_000
_HEAD: Final = Struct("=4q")


class ResponseCounts:
    """An observer of responses (`asgi.http.Observer`); `clock` is the one that they are timed with.

    `claim` is asked for so many words from a place on before they are written to for the first time, and says whether there is room.

    What every response needs is at hand in its fields: a name of a module costs a look into a dictionary.
    """

    __slots__ = (
        "_bounds",
        "_bytes_in",
        "_bytes_out",
        "_claim",
        "_clock",
        "_due",
        "_first_bytes",
        "_first_seconds",
        "_methods",
        "_other_method",
        "_routes",
        "_seconds",
        "_words",
    )

    def __init__(
        self, words: memoryview, clock: Callable[[], float], claim: Callable[[int, int], bool]
    ) -> None:
        self._words: Any = words
        self._claim = claim
        self._clock = clock
        #: Numbers of routes by name; None is no route.
        self._routes: dict[Any, int] = {
            name or None: number for number, name in enumerate(route_names(words)) if name is not None
        }
        self._bounds = list(BOUNDS)
        self._methods: dict[str, int] = {name: BLOCKS_AT + place for name, place in _METHODS.items()}
        self._other_method = self._methods["OTHER"]
        self._due = [0.0] * BUCKETS
        # What is not in the file yet.
        self._seconds = [0.0] * ROUTES
        self._first_bytes = [0] * BUCKETS
        self._first_seconds = 0.0
        self._bytes_in = 0
        self._bytes_out = 0

    def response_complete(self, exchange: Any) -> None:
        """Count a response; `exchange` is an `HttpCycle` at its end."""
        cycle: HttpCycle = exchange
        now = self._clock()
        started = cycle.started
        seconds = now - started
        bucket = self._bucket(seconds)
        try:
            # Our own extension; Starlette's and FastAPI's way to say it; Litestar's.
            scope: dict[str, Any] = cycle.scope
            extensions: dict[str, Any] = scope["extensions"]
            name = extensions.get("pronghorn.route")
            if name is None:
                found = scope.get("route")
                name = scope.get("path_template") if found is None else found.path
            route = 0 if name is None else self._routes.get(name, -1)
            if route < 0:
                route = self._place(name)
        except Exception:  # noqa: BLE001  # the application may have put anything there
            route = 0
        method = self._methods.get(cycle.head.method, self._other_method)
        self._words[route * BLOCK + method + cycle.status // 100 * BUCKETS + bucket] += 1
        self._seconds[route] += seconds
        first = cycle.first_byte
        if first:
            waited = first - started
            self._first_bytes[self._bucket(waited)] += 1
            self._first_seconds += waited
        else:
            self._first_bytes[bucket] += 1
            self._first_seconds += seconds
        self._bytes_in += cycle.bytes_in
        self._bytes_out += cycle.bytes_out
        if now >= self._due[bucket]:
            self._due[bucket] = now + _RENEWAL
            self._note(bucket, route, seconds, cycle.request_id)

    def _bucket(self, seconds: float) -> int:
        """Where a time belongs; most are short."""
        number = 0
        for bound in self._bounds:
            if seconds <= bound:
                break
            number += 1
        return number

    def publish(self) -> None:
        """Write down what has waited."""
        words = self._words
        for route, seconds in enumerate(self._seconds):
            if seconds:
                words[BLOCKS_AT + route * BLOCK + SUM] += int(seconds * _NANO)
                self._seconds[route] = 0.0
        for bucket, count in enumerate(self._first_bytes):
            if count:
                words[FIRST_BYTES_AT + bucket] += count
                self._first_bytes[bucket] = 0
        words[FIRST_BYTES_AT + BUCKETS] += int(self._first_seconds * _NANO)
        words[cell(BYTES_IN)] += self._bytes_in
        words[cell(BYTES_OUT)] += self._bytes_out
        self._first_seconds = 0.0
        self._bytes_in = self._bytes_out = 0

    def _place(self, name: Any) -> int:
        """The number of a route that is new; that of all others, when there is no number or no room left for it.

        What is no text is no route.
        """
        if type(name) is not str or not name:
            return 0
        encoded = name.encode()
        number = len(self._routes)
        if len(encoded) > NAME_BYTES or number >= _OTHER_ROUTES:
            return _OTHER_ROUTES
        if not self._claim(BLOCKS_AT + number * BLOCK, BLOCK):
            return _OTHER_ROUTES
        place = (NAMES_AT + number * NAME) * 8
        raw = self._words.cast("B")
        raw[place + 8 : place + 8 + len(encoded)] = encoded
        # The size last: until then there is no such route.
        self._words[place // 8] = len(encoded)
        self._routes[name] = number
        return number

    def _note(self, bucket: int, route: int, seconds: float, request_id: str) -> None:
        """Make a request the exemplar of its bucket. Who reads it half written finds that its checksum is wrong."""
        if not request_id or len(request_id) > ID_BYTES:
            return
        told = _HEAD.pack(route, int(seconds * _NANO), time.time_ns(), len(request_id))
        told += request_id.encode("ascii", "replace").ljust(ID_BYTES, b"\0")
        place = EXEMPLARS_AT + bucket * EXEMPLAR
        self._words.cast("B")[place * 8 + 8 : (place + EXEMPLAR) * 8] = told
        self._words[place] = zlib.crc32(told)
