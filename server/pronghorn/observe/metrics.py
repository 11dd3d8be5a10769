"""What is counted, declared once as data; and where in a count file each number has its place, which follows from that.

A count file is `WORDS` integers of 8 bytes. First the head: what layout this is, and the row that tells of the process. Then a cell for
each combination of labels whose values are known beforehand. Then what the observer of responses writes: the histogram of first bytes, the
exemplars, and for each route a block of its own, with its name elsewhere. The layout's number is a checksum of the declarations, so that
nobody has to remember to change it.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER")
#: By the first digit of a status; 0 is that there was no response.
STATUSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
#: Upper bounds of the buckets of both histograms, in seconds; above the last one is +Inf.
BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BUCKETS: Final = len(BOUNDS) + 1

LIMITS: Final = (
    *("concurrency", "request_line", "header_fields", "header_bytes", "body", "max_requests"),
    *("timeout_header", "timeout_body", "timeout_read", "websocket_ping", "websocket_message"),
    *("http2_flood", "http2_ping"),
)
PROTOCOL_ERRORS: Final = (
    *("request_line", "version", "method", "target", "host", "header", "content_length", "transfer_encoding"),
    *("chunked", "trailers", "incomplete", "websocket_handshake", "websocket_frame"),
    *("http2_stream", "http2_connection", "other"),
)
CODES: Final = (
    *("1000", "1001", "1002", "1003", "1005", "1006", "1007", "1008", "1009", "1010", "1011", "1012", "1013"),
    *("1014", "1015", "3xxx", "4xxx", "other"),
)
STATES: Final = ("starting", "ready", "leaving", "gone")
EXITS: Final = ("retired", "failed", "killed", "signal", "exit", "lost")


class Kind(Enum):
    """As Prometheus has them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One of them. `labels` has the values that each label takes where they are known beforehand; without, they are found.

    A metric that has `cells` is counted in words of its own; what is told of the others is made when it is asked for.
    """

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cells: bool = True


REQUESTS = Metric(
    "pronghorn_requests_total",
    Kind.COUNTER,
    "Requests that were answered, or came to their end without an answer (status none), by class of status.",
    {"method": METHODS, "status": STATUSES, "route": ()},
    cells=False,
)
DURATION = Metric(
    "pronghorn_request_duration_seconds",
    Kind.HISTOGRAM,
    "Seconds from the head of a request to the end of its response. The exemplar is the request's id.",
    {"route": ()},
    cells=False,
)
FIRST_BYTE = Metric(
    "pronghorn_request_first_byte_seconds",
    Kind.HISTOGRAM,
    "Seconds from the head of a request to the first byte of its response.",
    cells=False,
)
BYTES_IN = Metric("pronghorn_request_body_bytes_total", Kind.COUNTER, "Bytes of request bodies received.")
BYTES_OUT = Metric("pronghorn_response_body_bytes_total", Kind.COUNTER, "Bytes of response bodies sent.")
IN_FLIGHT = Metric(
    "pronghorn_requests_in_flight",
    Kind.GAUGE,
    "Requests being answered, WebSockets not among them.",
    cells=False,
)
CONNECTIONS = Metric(
    "pronghorn_connections", Kind.GAUGE, "Connections open, WebSockets included.", cells=False
)
CONNECTIONS_TOTAL = Metric("pronghorn_connections_accepted_total", Kind.COUNTER, "Connections accepted.")
REUSES = Metric(
    "pronghorn_connection_reuses_total", Kind.COUNTER, "Requests that were not the first of their connection."
)
WEBSOCKETS = Metric("pronghorn_websockets", Kind.GAUGE, "WebSockets open.", cells=False)
WEBSOCKETS_TOTAL = Metric("pronghorn_websockets_accepted_total", Kind.COUNTER, "WebSockets accepted.")
MESSAGES = Metric(
    "pronghorn_websocket_messages_total",
    Kind.COUNTER,
    "Messages of WebSockets.",
    {"direction": ("received", "sent")},
)
CLOSES = Metric(
    "pronghorn_websocket_closes_total",
    Kind.COUNTER,
    "WebSockets that came to their end, by the code that it was (RFC 6455, section 7.4); 1006 is a connection that was lost.",
    {"code": CODES},
)
LIMITS_HIT = Metric(
    "pronghorn_limits_total",
    Kind.COUNTER,
    "How often a limit was met: what was over it was refused or given up, and at max_requests the process was replaced.",
    {"limit": LIMITS},
)
ERRORS = Metric(
    "pronghorn_protocol_errors_total",
    Kind.COUNTER,
    "Requests and frames that were refused because they are none, by what was wrong with them.",
    {"kind": PROTOCOL_ERRORS},
)
APPLICATION_ERRORS = Metric(
    "pronghorn_application_errors_total",
    Kind.COUNTER,
    "Exceptions that the application let through, and responses that it did not complete.",
)
LOG_DROPS = Metric(
    "pronghorn_log_lines_dropped_total",
    Kind.COUNTER,
    "Lines of log that were given up because nobody read them.",
    {"stream": ("stdout", "stderr")},
)
LAG = Metric(
    "pronghorn_event_loop_lag_seconds",
    Kind.GAUGE,
    "By how much the event loop of a worker was late, at worst within the last 15 seconds.",
    {"worker": ()},
    cells=False,
)
WORKERS = Metric("pronghorn_workers", Kind.GAUGE, "Processes that serve.", {"state": STATES[:3]}, cells=False)
WANTED = Metric("pronghorn_workers_wanted", Kind.GAUGE, "Worker processes that there should be.")
STARTS = Metric("pronghorn_worker_starts_total", Kind.COUNTER, "Worker processes that were started.")
WORKER_EXITS = Metric(
    "pronghorn_worker_exits_total",
    Kind.COUNTER,
    "Worker processes that ended: retired is as they were told to, failed is before they were ready, killed is by the supervisor, "
    "signal is by somebody else's, exit is by themselves, and lost is that nobody knows.",
    {"cause": EXITS},
)
MEMORY = Metric(
    "pronghorn_worker_resident_memory_bytes", Kind.GAUGE, "Resident memory.", {"worker": ()}, cells=False
)
START_TIME = Metric(
    "pronghorn_worker_start_time_seconds",
    Kind.GAUGE,
    "When the process started, in seconds since 1970.",
    {"worker": ()},
    cells=False,
)
BUILD = Metric(
    "pronghorn_build_info",
    Kind.GAUGE,
    "Always 1; what serves is in the labels.",
    {"version": (), "python": (), "compiled": ()},
    cells=False,
)

#: In the order of the page and of the reference.
METRICS: Final = (
    *(REQUESTS, DURATION, FIRST_BYTE, BYTES_IN, BYTES_OUT, IN_FLIGHT),
    *(CONNECTIONS, CONNECTIONS_TOTAL, REUSES),
    *(WEBSOCKETS, WEBSOCKETS_TOTAL, MESSAGES, CLOSES),
    *(LIMITS_HIT, ERRORS, APPLICATION_ERRORS, LAG, LOG_DROPS),
    *(WORKERS, WANTED, STARTS, WORKER_EXITS, MEMORY, START_TIME, BUILD),
)

# The layout, in words.

#: What the row of a process tells, in this order. Times in nanoseconds, of the wall clock but for `heartbeat`, which is CLOCK_MONOTONIC.
ROW: Final = (
    *("pid", "worker", "generation", "started", "state", "heartbeat", "requests", "in_flight"),
    *("connections", "websockets", "rss", "lag", "lag_worst", "limit"),
)
_ROW_AT: Final = 1
FIELDS: Final = {name: _ROW_AT + number for number, name in enumerate(ROW)}
_ROW_END: Final = _ROW_AT + len(ROW)


def _cells() -> dict[Metric | str, dict[tuple[str, ...], int]]:
    places: dict[Metric | str, dict[tuple[str, ...], int]] = {}
    free = itertools.count(_ROW_END)
    for metric in METRICS:
        if metric.cells:
            places[metric.name] = {
                values: next(free) for values in itertools.product(*metric.labels.values())
            }
    return places


_PLACES: Final = _cells()
_CELLS_END: Final = _ROW_END + sum(map(len, _PLACES.values()))


def cells(metric: Metric) -> dict[tuple[str, ...], int]:
    """Where a metric is counted, by the values of its labels."""
    return _PLACES[metric.name]


def cell(metric: Metric, *values: str) -> int:
    """Where the metric with these values of its labels is counted."""
    return _PLACES[metric.name][values]


#: The histogram of first bytes: its buckets, each by itself, and the sum in nanoseconds.
FIRST_BYTES_AT: Final = _CELLS_END
HISTOGRAM: Final = BUCKETS + 1

#: An exemplar: a checksum of the rest, the route's number, the duration and when, both in nanoseconds, the size of the id, and the id.
#: OpenMetrics allows 128 characters of names and values.
ID_BYTES: Final = 112
EXEMPLAR: Final = 5 + ID_BYTES // 8
EXEMPLARS_AT: Final = FIRST_BYTES_AT + HISTOGRAM

#: Routes by number: no route, the first ones to come, and all others. A name is its size and then its bytes.
ROUTES: Final = 128
OTHER_ROUTES: Final = "(other)"
NAME_BYTES: Final = 248
NAME: Final = 1 + NAME_BYTES // 8
NAMES_AT: Final = EXEMPLARS_AT + BUCKETS * EXEMPLAR
#: The block of a route: for each method and status the buckets of durations, so that one number counts a request for both metrics; and
#: behind them the sum of all durations in nanoseconds. Most of it stays 0, and a hole in the file, which takes no room.
SUM: Final = len(METHODS) * len(STATUSES) * BUCKETS
BLOCK: Final = SUM + 1
BLOCKS_AT: Final = NAMES_AT + ROUTES * NAME
WORDS: Final = BLOCKS_AT + ROUTES * BLOCK

#: The first word. A file with another one is not ours to read or to go on with.
LAYOUT: Final = zlib.crc32(
    repr(("pronghorn 1", ROW, _PLACES, BOUNDS, ID_BYTES, ROUTES, NAME_BYTES, WORDS)).encode()
)


def route_names(words: memoryview) -> list[str | None]:
    """The names of the routes of a file by number: no route first, which is the empty one, and None for a place that is free."""
    raw = words.cast("B")
    names: list[str | None] = [""]
    for number in range(1, ROUTES - 1):
        place = (NAMES_AT + number * NAME) * 8
        size = words[place // 8]
        names.append(str(raw[place + 8 : place + 8 + size], "utf-8", "replace") if size else None)
    names.append(None)
    return names
