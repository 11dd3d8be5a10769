"""Who keeps the numbers of a server: nobody, or a count file (`counted`).

There is one wherever somebody can read it: with --metrics for what responses are counted in, and with --admin for the row that tells of
the process.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pronghorn.asgi.http import NullObserver, Observer
from pronghorn.net.service import Meter, NullMeter, Service


class Counting(Protocol):
    """Keeps the numbers of one `Server`."""

    meter: Meter
    #: Of the count files of all processes, if there are any.
    folder: Path | None

    def observed(self, access_log: Observer | None) -> Observer:
        """Who is told of responses: whoever counts them, and an access log."""

    def publish(self, service: Service, late: float) -> None:
        """A second has passed, and the loop was so much too late to notice."""

    def enter(self, state: str) -> None:
        """The server is `ready` or `leaving` now."""

    def close(self) -> None:
        """The server is gone."""


class Uncounted:
    """Nobody reads it, so nobody keeps it."""

    def __init__(self) -> None:
        self.meter: Meter = NullMeter()
        self.folder: Path | None = None

    def observed(self, access_log: Observer | None) -> Observer:
        return access_log or NullObserver()

    def publish(self, service: Service, late: float) -> None: ...

    def enter(self, state: str) -> None: ...

    def close(self) -> None: ...
