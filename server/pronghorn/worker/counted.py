"""The count file of a server: `counting.Counting` for whoever has something to read it with."""

from __future__ import annotations

from pathlib import Path

from pronghorn.asgi.http import HttpCycle, NullObserver, Observer
from pronghorn.net.service import Meter, NullMeter, Service
from pronghorn.observe import application
from pronghorn.observe.counts import count_in
from pronghorn.observe.memory import resident


class Counted:
    """A count file in `folder`. `responses` says whether each of them is counted there. Raises StartupError if there can be none.

    `worker` and `generation` are what a supervisor calls this process. To be made before the application is imported, which may
    have metrics of its own.
    """

    def __init__(self, folder: Path, *, worker: int, generation: int, responses: bool) -> None:
        self._counts = count_in(folder, worker=worker, generation=generation)
        self.folder: Path | None = folder
        self.meter: Meter = self._counts.meter if responses else NullMeter()
        self._responses = responses
        if responses:
            application.write_as(str(self._counts.number))

    def observed(self, access_log: Observer | None) -> Observer:
        if not self._responses:
            return access_log or NullObserver()
        counter = self._counts.observer()
        return counter if access_log is None else _Both(counter, access_log)

    def publish(self, service: Service, late: float) -> None:
        self._counts.publish(service, late, resident())

    def enter(self, state: str) -> None:
        self._counts.enter(state)

    def close(self) -> None:
        self._counts.close()


class _Both:
    """Two observers, told one after the other."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Observer, second: Observer) -> None:
        self._first = first.response_complete
        self._second = second.response_complete

    def response_complete(self, exchange: HttpCycle) -> None:
        self._first(exchange)
        self._second(exchange)
