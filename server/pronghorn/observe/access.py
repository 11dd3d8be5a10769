"""One line for each response: client, request line, status, body bytes, duration.

Two ways to write it. While the loggers are as ``logs.configure`` left them, ``FastAccessLog`` formats lines
itself, and all that one iteration of the event loop produced go out in one write(2). As soon as somebody
configured logging for himself, ``LoggingAccessLog`` makes log records, with the attributes that formats written for
Uvicorn expect. ``make`` chooses; a test holds the two to the same JSON.

A scope is the application's to spoil, so nothing here may raise: what the quick formatter cannot take, be it an
unclean path or a value of another type, the careful one does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, Protocol

from pronghorn.observe.facts import Exchange, Facts, client_text
from pronghorn.observe.logs import (
    ACCESS,
    BOLD,
    RESET,
    ConsoleHandler,
    json_handlers,
    level_prefix,
    status_text,
)

# Printable ASCII less the quote and the backslash: what stands in a line as it is.
_PLAIN: Final = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
_VERSIONS: Final = frozenset(("1.0", "1.1", "2", "3"))

_MESSAGE: Final = '%s - "%s %s HTTP/%s" %s'

# Peers, and requests without a query, whose text was made and checked already. Cleared when full, which costs each one line more.
_REMEMBERED: Final = 1024


class AccessLog(Protocol):
    """What both ways have in common."""

    def response_complete(self, exchange: Exchange) -> None:
        """Log one response. Never raises."""

    def flush(self) -> None:
        """Write what is still held; call it once no more responses can come."""


def make(loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = time.perf_counter) -> AccessLog | None:
    """Choose by what the loggers are like now; None when access lines go nowhere.

    Call it when the application is imported and started, so that what it did to the loggers counts.
    """
    logger = logging.getLogger(ACCESS)
    _heed_uvicorns_name(logger)
    if logger.disabled or not logger.isEnabledFor(logging.INFO) or not logger.hasHandlers():
        return None
    handler = logger.handlers[0] if len(logger.handlers) == 1 else None
    if (
        type(handler) is ConsoleHandler
        and not (logger.filters or handler.filters or logger.propagate)
        and handler.level <= logging.INFO
        and not (handler.auto and json_handlers())
    ):
        return FastAccessLog(loop, handler, clock)
    return LoggingAccessLog(logger, clock)


def _heed_uvicorns_name(logger: logging.Logger) -> None:
    """Take over what an application did to ``uvicorn.access``: health-check filters, mostly."""
    other = logging.getLogger("uvicorn.access")
    for filter_ in other.filters:
        logger.addFilter(filter_)
    for handler in other.handlers:
        logger.addHandler(handler)
    if other.level:
        logger.setLevel(other.level)
    logger.disabled = logger.disabled or other.disabled


class FastAccessLog:
    """Lines straight to a stream of the process.

    CPU time a line, CPython 3.13, a target with a query, ten headers, written to /dev/null in batches of 16, on a shared
    machine: 3.6 us as text, 6.0 us as JSON, where `LoggingAccessLog` takes 42 and 77, and Uvicorn 0.54's line 44.
    """

    __slots__ = (
        "_after",
        "_before",
        "_clock",
        "_json",
        "_lines",
        "_loop",
        "_middles",
        "_millisecond",
        "_output",
        "_peers",
        "_prefix",
        "_scheduled",
        "_second",
        "_second_text",
        "_stamp",
        "_statuses",
        "_wall",
        "_worker",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: ConsoleHandler,
        clock: Callable[[], float] = time.perf_counter,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._loop = loop
        self._output = handler.output
        self._clock = clock
        self._wall = wall
        self._json = handler.json
        colors = handler.colors and not handler.json
        self._prefix = level_prefix("INFO", logging.INFO, colors) + " "
        self._before, self._after = (BOLD, RESET) if colors else ("", "")
        self._statuses = {int(status): status_text(status, colors) for status in HTTPStatus} | {0: "-"}
        self._peers: dict[Any, str] = {}
        self._middles: dict[tuple[Any, str, bytes, str, int], str] = {}
        self._lines: list[str] = []
        self._scheduled = False
        self._worker = f',"worker":{os.getpid()}'
        self._millisecond = self._second = -1
        self._stamp = self._second_text = ""

    def response_complete(self, exchange: Exchange) -> None:
        """Format the line now; write it with all others of this iteration of the loop."""
        try:
            line = self._quick_json(exchange) if self._json else self._quick_text(exchange)
        except Exception:  # noqa: BLE001 - the application changed its scope
            line = ""
        self._lines.append(line or self._careful(exchange))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._write)

    # The quick formatters give "" for a request with anything in it that needs escaping.

    def _quick_text(self, exchange: Exchange) -> str:
        scope = exchange.scope
        raw, query = scope["raw_path"], scope["query_string"]
        method, version = scope["method"], scope["http_version"]
        if raw.translate(None, _PLAIN) or method not in _METHODS or version not in _VERSIONS:
            return ""
        target = raw.decode()
        if query:
            if query.translate(None, _PLAIN):
                return ""
            target = f"{target}?{query.decode()}"
        client = scope["client"]
        peer = self._peers.get(client) or self._peer(client)
        status = self._statuses.get(exchange.status) or exchange.status
        duration = (self._clock() - exchange.started) * 1e3
        return (
            f'{self._prefix}{peer} - "{self._before}{method} {target} HTTP/{version}{self._after}" '
            f"{status} {exchange.bytes_out}B {duration:.2f}ms\n"
        )

    def _quick_json(self, exchange: Exchange) -> str:
        scope = exchange.scope
        query = scope["query_string"]
        asked = (
            scope["client"],
            scope["method"],
            scope["raw_path"],
            scope["http_version"],
            exchange.status,
        )
        middle = self._middle(*asked, query) if query else self._middles.get(asked) or self._remember(asked)
        if not middle:
            return ""
        request_id = exchange.request_id and f',"request_id":"{exchange.request_id}"'
        started, first = exchange.started, exchange.first_byte
        duration = f"{(self._clock() - started) * 1e3:.3f}"
        if not exchange.status:
            first_byte = "null"
        elif first:
            first_byte = f"{(first - started) * 1e3:.3f}"
        else:
            first_byte = duration
        return (
            f'{{"time":"{self._now()}",{middle},"bytes_in":{exchange.bytes_in},'
            f'"bytes_out":{exchange.bytes_out},"duration_ms":{duration},"first_byte_ms":{first_byte}{self._worker}{request_id}}}\n'
        )

    def _middle(
        self, client: Any, method: str, raw: bytes, version: str, status: int, query: bytes = b""
    ) -> str:
        """What two requests for the same thing have in common."""
        if (
            raw.translate(None, _PLAIN)
            or query.translate(None, _PLAIN)
            or method not in _METHODS
            or version not in _VERSIONS
        ):
            return ""
        target = path = raw.decode()
        if query:
            target = f"{path}?{query.decode()}"
        peer = self._peers.get(client) or self._peer(client)
        return (
            f'"level":"INFO","logger":"pronghorn.access",'
            f'"message":"{peer} - \\"{method} {target} HTTP/{version}\\" {status or "-"}",'
            f'"client":"{peer}","method":"{method}","path":"{path}","query":"{query.decode()}",'
            f'"protocol":"HTTP/{version}","status":{status or "null"}'
        )

    def _remember(self, asked: tuple[Any, str, bytes, str, int]) -> str:
        middle = self._middle(*asked)
        if middle:
            if len(self._middles) >= _REMEMBERED:
                self._middles.clear()
            self._middles[asked] = middle
        return middle

    def _careful(self, exchange: Exchange) -> str:
        facts = Facts.of(exchange, self._clock())
        if self._json:
            return (
                json.dumps({"time": self._now(), "level": "INFO", "logger": ACCESS, **facts.as_json()}) + "\n"
            )
        return (
            f'{self._prefix}{facts.client} - "{self._before}{facts.request_line}{self._after}" '
            f"{self._statuses.get(facts.status, facts.status)} {facts.bytes_out}B {facts.duration_ms:.2f}ms\n"
        )

    def _peer(self, client: Any) -> str:
        peer = client_text(client)
        if self._json:
            peer = json.dumps(peer)[1:-1]  # Escaped text has backslashes, which JSON writes twice.
        if len(self._peers) >= _REMEMBERED:
            self._peers.clear()
        self._peers[client] = peer
        return peer

    def _now(self) -> str:
        now = self._wall()
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second = millisecond // 1000
            if second != self._second:
                self._second = second
                self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamp = f"{self._second_text}.{millisecond % 1000:03d}Z"
        return self._stamp

    def flush(self) -> None:
        """Write everything held, waiting up to a second for an output that takes nothing."""
        self._write()
        self._output.finish()

    def _write(self) -> None:
        self._scheduled = False
        data = "".join(self._lines)
        self._lines.clear()
        if data:
            self._output.write(data)


class LoggingAccessLog:
    """Records for the logger ``pronghorn.access``; the attributes are listed in docs/reference/log-fields.md."""

    __slots__ = ("_clock", "_logger")

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.perf_counter) -> None:
        self._logger = logger
        self._clock = clock

    def response_complete(self, exchange: Exchange) -> None:
        """Make a record whose ``args`` are Uvicorn's five, since filters look at them."""
        logger = self._logger
        if not logger.isEnabledFor(logging.INFO):
            return
        facts = Facts.of(exchange, self._clock())
        args = (facts.client, facts.method, facts.full_path, facts.version, facts.status or "-")
        record = logger.makeRecord(
            logger.name, logging.INFO, __file__, 0, _MESSAGE, args, None, "response_complete"
        )
        # Not as `extra`, which refuses names that a record factory of the user's has set already.
        if facts.request_id:
            # To come last, where the quick formatter has it.
            record.__dict__.pop("request_id", None)
        record.__dict__.update(facts.as_attributes())
        logger.handle(record)

    def flush(self) -> None:
        """Do nothing: the handlers write at once, or have their own ways."""
