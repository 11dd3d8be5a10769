"""How something that took time is told to Locust, which counts it, shows it and sends it to the master.

Locust has `events.request.measure()` for it; that counts what a user was in the middle of when the test ended as a success.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from locust import User


@dataclass
class Measure:
    """One request, or whatever else takes time. What is changed until its end counts."""

    name: str
    length: int = 0
    error: Exception | None = None
    began: float = field(default_factory=time.perf_counter)
    #: Milliseconds, where they are others than from its beginning to its end.
    time: float | None = None


def tell(user: User, kind: str, measure: Measure) -> None:
    """Counts it, with the time that has passed since it began unless it has a time of its own."""
    passed = (time.perf_counter() - measure.began) * 1000
    user.environment.events.request.fire(
        request_type=kind,
        name=measure.name,
        response_time=passed if measure.time is None else measure.time,
        response_length=measure.length,
        exception=measure.error,
        context={},
    )


@contextmanager
def measured(user: User, kind: str, name: str) -> Iterator[Measure]:
    """Counts what is done meanwhile; an exception is a failure, and ends here. A user who is stopped in it has done nothing."""
    measure = Measure(name)
    try:
        yield measure
    except Exception as error:  # noqa: BLE001 - whatever it is, a user has met it
        measure.error = error
    tell(user, kind, measure)
