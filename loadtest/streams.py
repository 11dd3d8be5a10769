"""Answers that come bit by bit: a report that is written while it is read, and events without an end.

What a person waits for is the first byte, and then that each piece comes when it was sent. Events carry the server's clock in seconds; how
late one is compares the time since the first one on that clock and on ours, so that the two need not agree.
"""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Iterator

from locust import task

from loadtest.measured import Measure, measured, tell
from loadtest.settings import WEIGHTS
from loadtest.user import TargetUser

#: Rows of examples/shop's /reports/sales.csv, its heading included.
ROWS = 21


class BadStreamError(Exception):
    """Another status or another end than a stream has."""


class StreamUser(TargetUser):
    """A user who reads pieces as they come, on a connection of their own."""

    abstract = True
    _connection: http.client.HTTPConnection | None = None

    def open(self, path: str, kind: str) -> http.client.HTTPResponse:
        """The head of the answer. Raises `BadStreamError` where it is no stream of that kind."""
        if self._connection is None:
            self._connection = self.target.connection()
        self._connection.request("GET", self.target.path(path), headers={"Accept": kind})
        answer = self._connection.getresponse()
        if answer.status != 200 or not answer.getheader("Content-Type", "").startswith(kind):
            self.leave()
            raise BadStreamError(f"{answer.status} {answer.getheader('Content-Type', '')}".strip())
        return answer

    def leave(self) -> None:
        """Closes the connection, whatever is still to come on it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def on_stop(self) -> None:
        """The test is over."""
        self.leave()


class Streaming(StreamUser):
    """Reports, read to their end."""

    weight = WEIGHTS["streaming"]

    @task
    def report(self) -> None:
        """Time to the first byte, and to the last; every row has to be there."""
        first = Measure("streaming: first byte")
        with measured(self, "GET", "streaming: whole") as whole:
            try:
                answer = self.open("/reports/sales.csv", "text/csv")
                body = answer.read1(65_536)
            except Exception as error:
                first.error = error
                raise
            finally:
                tell(self, "GET", first)
            while piece := answer.read1(65_536):
                body += piece
            whole.length = len(body)
            if (rows := body.count(b"\n")) != ROWS:
                raise BadStreamError(f"{rows} rows of {ROWS}")
        if whole.error is not None:
            self.leave()


class Sse(StreamUser):
    """Pages that stay open for a while and hear what is new."""

    weight = WEIGHTS["sse"]

    @task
    def listen(self) -> None:
        """Some seconds of events. A stream that ends before is a failure: it has no end."""
        until = time.monotonic() + random.uniform(3, 6)
        first = Measure("sse: first event")
        try:
            events = self.events()
            began, clock = time.perf_counter(), 0.0
            for number, data in enumerate(events):
                now, at = time.perf_counter(), float(json.loads(data)["at"])
                if number == 0:
                    tell(self, "SSE", first)
                    began, clock = now, at
                else:
                    late = max(0.0, (now - began) - (at - clock)) * 1000
                    tell(self, "SSE", Measure("sse: event", length=len(data), time=late))
                if time.monotonic() > until:
                    break
            else:
                raise BadStreamError("the stream ended")
        except Exception as error:  # noqa: BLE001 - whatever it is, a user has met it
            first.error = error
            tell(self, "SSE", first)
        finally:
            self.leave()

    def events(self) -> Iterator[bytes]:
        """The data of each event, as it comes."""
        answer, rest = self.open("/events", "text/event-stream"), b""
        while piece := answer.read1(65_536):
            *blocks, rest = (rest + piece).split(b"\n\n")
            for block in blocks:
                data = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
                if data:
                    yield b"\n".join(data)
