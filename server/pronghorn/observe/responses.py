"""What counts responses: an observer that writes into a count file, for every one of them, and so the part that has to be quick.

The response has not been handed to the kernel when it is counted. Whatever the application has made of its scope, nothing is raised.
"""

from __future__ import annotations

import time
import zlib
from bisect import bisect_left
from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

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
    PIECES,
    ROUTES,
    STATUSES,
    WHOLE,
    cell,
    route_names,
)

# By the method's name: where its requests are counted within the block of a route, less the class of the status.
_METHODS: Final = {name: number * len(STATUSES) for number, name in enumerate(METHODS)}
_OTHER_METHOD: Final = _METHODS["OTHER"]
_BOUNDS: Final = BOUNDS
_WHOLE: Final = WHOLE
_PIECES: Final = PIECES
_FIRST_BYTES: Final = FIRST_BYTES_AT
_BYTES_IN: Final = cell(BYTES_IN)
_BYTES_OUT: Final = cell(BYTES_OUT)
_OTHER_ROUTES: Final = BLOCKS_AT + (ROUTES - 1) * BLOCK
# Seconds for which an exemplar stays before another may take its place.
_RENEWAL: Final = 1.0
_NANO: Final = 1_000_000_000
_HEAD: Final = Struct("=4q")


class Head(Protocol):
    """As much of a request's head as is counted."""

    @property
    def method(self) -> str: ...


class Exchange(Protocol):
    """A request and its response, as they are counted. Times are in seconds on the clock of the observer."""

    @property
    def head(self) -> Head: ...

    @property
    def scope(self) -> Any: ...

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


class ResponseCounts:
    """An observer of responses (`asgi.http.Observer`) that counts each in the file. Never raises."""

    __slots__ = ("_clock", "_due", "_routes", "_words")

    def __init__(self, words: memoryview, clock: Callable[[], float]) -> None:
        self._words = words
        self._clock = clock
        self._routes: dict[Any, int] = {}
        for number, name in enumerate(route_names(words)):
            if name is not None:
                self._routes[name or None] = _block(number)
        self._due = [0.0] * BUCKETS

    def response_complete(self, exchange: Exchange) -> None:
        words = self._words
        now = self._clock()
        started = exchange.started
        seconds = now - started
        bucket = bisect_left(_BOUNDS, seconds)
        try:
            # Our own extension; Starlette's and FastAPI's way to say it; Litestar's.
            scope = exchange.scope
            route = scope["extensions"].get("pronghorn.route")
            if route is None:
                found = scope.get("route")
                route = scope.get("path_template") if found is None else found.path
            block = self._routes.get(route) or self._place(route)
        except Exception:  # noqa: BLE001  # the application may have put anything there
            block = self._routes[None]
        words[block + _METHODS.get(exchange.head.method, _OTHER_METHOD) + exchange.status // 100] += 1
        first = exchange.first_byte
        if not first:
            block += _WHOLE
        else:
            block += _PIECES
            waited = first - started
            words[_FIRST_BYTES + bisect_left(_BOUNDS, waited)] += 1
            words[_FIRST_BYTES + BUCKETS] += int(waited * _NANO)
        words[block + bucket] += 1
        words[block + BUCKETS] += int(seconds * _NANO)
        if exchange.bytes_in:
            words[_BYTES_IN] += exchange.bytes_in
        words[_BYTES_OUT] += exchange.bytes_out
        if now >= self._due[bucket]:
            self._due[bucket] = now + _RENEWAL
            self._note(bucket, block, seconds, exchange.request_id)

    def _place(self, route: Any) -> int:
        """A block for a route that is new; with all others, when there is none left for it. No text is no route."""
        if type(route) is not str or not route:
            return self._routes[None]
        name = route.encode()
        number = len(self._routes)
        if len(name) > NAME_BYTES or number >= ROUTES - 1:
            return _OTHER_ROUTES
        place = (NAMES_AT + number * NAME) * 8
        raw = self._words.cast("B")
        raw[place + 8 : place + 8 + len(name)] = name
        # The size last: until then there is no such route.
        self._words[place // 8] = len(name)
        self._routes[route] = block = _block(number)
        return block

    def _note(self, bucket: int, block: int, seconds: float, request_id: str) -> None:
        """Make a request the exemplar of its bucket. Who reads it half written finds that its checksum is wrong."""
        if not request_id or len(request_id) > ID_BYTES:
            return
        route = (block - BLOCKS_AT) // BLOCK
        told = _HEAD.pack(route, int(seconds * _NANO), time.time_ns(), len(request_id))
        told += request_id.encode("ascii", "replace").ljust(ID_BYTES, b"\0")
        place = EXEMPLARS_AT + bucket * EXEMPLAR
        self._words.cast("B")[place * 8 + 8 : (place + EXEMPLAR) * 8] = told
        self._words[place] = zlib.crc32(told)


def _block(number: int) -> int:
    return BLOCKS_AT + number * BLOCK
