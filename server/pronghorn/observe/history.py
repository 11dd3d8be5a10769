"""The last ten minutes of a server, for the status page: what each two seconds brought, from the difference of two readings."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from . import metrics

if TYPE_CHECKING:
    from .reading import Reading

#: Seconds between two samples, and how many are kept.
INTERVAL: Final = 2.0
_KEPT: Final = 300

Sample = dict[str, float | int | None]


class History:
    """Samples, oldest first. Rates are by the second, bytes of bodies too; quantiles are in seconds, None where nothing was answered."""

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=_KEPT)
        self._before: tuple[float, Reading] | None = None

    def note(self, reading: Reading, serving: int, now: float) -> None:
        """Take a reading in, made at `now`, in seconds since 1970, when so many workers served. The first one is what others are compared with."""
        before, self._before = self._before, (now, reading)
        if before is None or now <= before[0]:  # the clock was set back
            return
        then, earlier = before
        seconds = now - then
        statuses = _since(_by_status(reading), _by_status(earlier))
        durations = reading.duration - earlier.duration
        rows = reading.workers
        self.samples.append(
            {
                "t": now,
                "rate": sum(statuses.values()) / seconds,
                "errors": (statuses.get("5xx", 0) + statuses.get("none", 0)) / seconds,
                "client_errors": statuses.get("4xx", 0) / seconds,
                "p50": durations.quantile(0.5),
                "p95": durations.quantile(0.95),
                "p99": durations.quantile(0.99),
                "in_flight": sum(row.in_flight for row in rows),
                "connections": sum(row.connections for row in rows),
                "websockets": sum(row.websockets for row in rows),
                "lag": max((row.lag_worst for row in rows), default=0.0),
                "workers": serving,
                "starts": _total(reading, metrics.STARTS) - _total(earlier, metrics.STARTS),
                "exits": _total(reading, metrics.WORKER_EXITS) - _total(earlier, metrics.WORKER_EXITS),
                "bytes_in": (_total(reading, metrics.BYTES_IN) - _total(earlier, metrics.BYTES_IN)) / seconds,
                "bytes_out": (_total(reading, metrics.BYTES_OUT) - _total(earlier, metrics.BYTES_OUT))
                / seconds,
                "rss": sum(row.rss for row in rows),
            }
        )


def _by_status(reading: Reading) -> dict[str, int]:
    found: dict[str, int] = {}
    for (_route, _method, status), count in reading.requests.items():
        found[status] = found.get(status, 0) + count
    return found


def _since(now: dict[str, int], then: dict[str, int]) -> dict[str, int]:
    return {status: count - then.get(status, 0) for status, count in now.items()}


def _total(reading: Reading, metric: metrics.Metric) -> int:
    return sum(reading.sums[metric.name].values())
