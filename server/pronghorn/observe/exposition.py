"""The page that Prometheus reads: our sums and the application's own metrics, written by prometheus-client."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pronghorn._version import __version__
from pronghorn.errors import UsageError
from pronghorn.wire import headers

from . import application, metrics
from .metrics import BOUNDS, Kind, Metric
from .reading import Histogram, Reading, WorkerRow

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family
    from prometheus_client.samples import Exemplar

_LABELS: Final = (*map(str, BOUNDS), "+Inf")


def render(folder: Path, accept: str = "") -> tuple[bytes, str]:
    """The page and its content type: OpenMetrics, with exemplars, where `accept` asks for it, and plain text else.

    Raises UsageError if prometheus-client is not installed.
    """
    try:
        from prometheus_client import exposition  # noqa: PLC0415  # slow to import, and only for those who ask
    except ImportError:
        raise UsageError(
            "prometheus-client is not installed", option="--metrics", hint="Install prometheus-client"
        ) from None
    encode, content_type = exposition.choose_encoder(accept)
    return encode(Page(folder)), content_type


class Page:
    """A collector, as prometheus-client has them; each time that it is asked it reads the files anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Family]:
        """Our families, and then the application's."""
        yield from families(Reading.of(self._folder))
        yield from application.families(self._folder)


def families(reading: Reading) -> Iterator[Family]:
    """Every metric of ours."""
    from prometheus_client.core import (  # noqa: PLC0415  # see `render`
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    made = {metric.name: list(samples) for metric, samples in _found(reading)}
    for metric in metrics.METRICS:
        labels = list(metric.labels)
        if metric.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
            for values, found in _histograms(metric, reading):
                histogram.add_metric(values, _buckets(metric, values, found, reading), found.total)
            yield histogram
            continue
        samples = made[metric.name] if metric.name in made else reading.sums[metric.name].items()
        if metric.name == metrics.WANTED.name and reading.supervisor is None:
            continue
        make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family = make(metric.name, metric.help, labels=labels)
        for values, value in samples:
            family.add_metric(values, value)
        yield family


Sample = tuple[tuple[str, ...], float]


def _found(reading: Reading) -> Iterator[tuple[Metric, Iterable[Sample]]]:
    """The samples of metrics that have no cells."""
    workers = reading.workers
    yield (
        metrics.REQUESTS,
        [((method, status, route), count) for (route, method, status), count in reading.requests.items()],
    )
    yield metrics.IN_FLIGHT, [((), sum(row.in_flight for row in workers))]
    yield metrics.CONNECTIONS, [((), sum(row.connections for row in workers))]
    yield metrics.WEBSOCKETS, [((), sum(row.websockets for row in workers))]
    yield (
        metrics.WORKERS,
        [((state,), sum(row.state == state for row in workers)) for state in metrics.STATES[:3]],
    )
    yield metrics.LAG, _by_worker(workers, "lag_worst")
    yield metrics.MEMORY, _by_worker(workers, "rss")
    yield metrics.START_TIME, _by_worker(workers, "started")
    compiled = str(not headers.__file__.endswith(".py")).lower()
    yield metrics.BUILD, [((__version__, platform.python_version(), compiled), 1)]


def _by_worker(workers: Iterable[WorkerRow], name: str) -> list[Sample]:
    return [((str(row.slot),), getattr(row, name)) for row in workers]


def _histograms(metric: Metric, reading: Reading) -> list[tuple[tuple[str, ...], Histogram]]:
    if metric.name == metrics.FIRST_BYTE.name:
        return [((), reading.first_byte)]
    return [((route,), found) for route, found in reading.durations.items()]


def _buckets(
    metric: Metric, values: tuple[str, ...], found: Histogram, reading: Reading
) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    """The buckets as Prometheus has them, each with all that are below it."""
    from prometheus_client import samples  # noqa: PLC0415  # see `render`

    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    below = 0
    for number, label in enumerate(_LABELS):
        below += found.counts[number]
        told = reading.exemplars.get((values[0], number)) if metric.name == metrics.DURATION.name else None
        if told is None:
            buckets.append((label, below))
        else:
            exemplar = samples.Exemplar({"request_id": told.request_id}, told.seconds, told.time)
            buckets.append((label, below, exemplar))
    return buckets
