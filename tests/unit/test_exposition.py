"""The page for Prometheus, read back with prometheus-client's own strict parsers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from pronghorn.observe import metrics, slots
from pronghorn.observe.counts import Counts
from pronghorn.observe.exposition import render
from tests.support.counted import Clock, exchange, observer

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
ROOT = Path(__file__).resolve().parents[2]
read_openmetrics: Any = openmetrics.text_string_to_metric_families  # without types


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    counts = [Counts(tmp_path), Counts(tmp_path), Counts(tmp_path, slots.SUPERVISOR)]
    for number, one in enumerate(counts[:2]):
        one.enter("ready")
        count = observer(one, Clock(100.3)).response_complete
        count(exchange(route='/a/"b"\n', request_id=f"id-{number}"))
        count(exchange("PUT", status=503))
        one.meter.limit("body")
    counts[2].set(metrics.WANTED, value=2)
    yield tmp_path
    for one in counts:
        one.close()


def samples(page: str, read: Any = read_openmetrics) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))): sample.value
        for family in read(page)
        for sample in family.samples
    }


def test_openmetrics_with_exemplars_for_who_accepts_it(folder: Path) -> None:
    body, content_type = render(folder, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    page = body.decode()
    found = samples(page)
    route = 'route=/a/"b"\n'
    assert found["pronghorn_requests_total", "method=GET", route, "status=2xx"] == 2
    assert found["pronghorn_requests_total", "method=PUT", "route=", "status=5xx"] == 2
    assert found["pronghorn_request_duration_seconds_bucket", "le=0.25", route] == 0
    assert found["pronghorn_request_duration_seconds_bucket", "le=0.5", route] == 2
    assert found["pronghorn_request_duration_seconds_bucket", "le=+Inf", route] == 2
    assert found["pronghorn_limits_total", "limit=body"] == 2
    assert found["pronghorn_workers", "state=ready"] == 2
    assert found["pronghorn_workers_wanted",] == 2
    exemplars = {
        (sample.labels["le"], sample.labels["route"]): sample.exemplar
        for family in read_openmetrics(page)
        for sample in family.samples
        if sample.exemplar is not None
    }
    (told,) = exemplars.values()
    assert list(exemplars) == [("0.5", '/a/"b"\n')]
    assert told.labels == {"request_id": "id-1"}
    assert told.value == pytest.approx(0.3)
    assert told.timestamp is not None


@pytest.mark.parametrize("accept", ["", "text/plain", "*/*", "text/plain;version=0.0.4"])
def test_plain_text_for_everybody_else(folder: Path, accept: str) -> None:
    body, content_type = render(folder, accept)
    assert content_type.startswith("text/plain; version=0.0.4")
    page = body.decode()
    assert samples(page, read_text)["pronghorn_requests_total", "method=PUT", "route=", "status=5xx"] == 2
    assert "id-1" not in page


def test_every_metric_has_a_family_and_no_other_has_our_name(folder: Path) -> None:
    families = {family.name: family for family in read_openmetrics(render(folder, OPENMETRICS)[0].decode())}
    for metric in metrics.METRICS:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind.value, metric.help)
    assert not [name for name in families if name.startswith("pronghorn")]


def test_the_longest_id_is_within_what_openmetrics_allows(tmp_path: Path) -> None:
    counts = Counts(tmp_path)
    observer(counts).response_complete(exchange(request_id="x" * metrics.ID_BYTES))
    page = render(tmp_path, OPENMETRICS)[0].decode()
    assert "x" * metrics.ID_BYTES in page
    list(read_openmetrics(page))
    counts.close()


def test_without_a_supervisor_nobody_wants_workers(tmp_path: Path) -> None:
    counts = Counts(tmp_path)
    assert ("pronghorn_workers_wanted",) not in samples(render(tmp_path, OPENMETRICS)[0].decode())
    counts.close()


# The application's own metrics.

APPLICATION = """
import os
import sys
from pathlib import Path
from pronghorn.observe import application
from pronghorn.observe.counts import Counts

folder = Path(os.environ[application.VARIABLE])
counts = Counts(folder)
application.write_as(str(counts.number))

import prometheus_client
orders = prometheus_client.Counter("shop_orders", "Orders.", ["kind"])
busy = prometheus_client.Gauge("shop_busy", "Busy.", multiprocess_mode="livesum")
took = prometheus_client.Histogram("shop_seconds", "Seconds.", buckets=(1, 2))

for _ in range(int(sys.argv[1])):
    orders.labels("book").inc()
    took.observe(1.5)
busy.set(1)
print(counts.number, flush=True)
sys.stdin.read()
"""


class Process:
    """One that has counted orders, until it is killed."""

    def __init__(self, folder: Path, orders: int) -> None:
        self.running = subprocess.Popen(
            [sys.executable, "-c", APPLICATION, str(orders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            cwd=ROOT,
        )
        assert self.running.stdout is not None
        self.number = int(self.running.stdout.readline())

    def kill(self) -> None:
        with self.running:
            self.running.kill()


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))


@pytest.mark.usefixtures("several")
def test_the_applications_metrics_are_summed_over_processes_and_go_on_in_a_successor(tmp_path: Path) -> None:
    def told(*sample: str) -> float | None:
        return samples(render(tmp_path)[0].decode(), read_text).get(sample)

    first, second = Process(tmp_path, 3), Process(tmp_path, 4)
    assert (first.number, second.number) == (0, 1)
    assert told("shop_orders_total", "kind=book") == 7
    assert told("shop_seconds_bucket", "le=2.0") == 7
    assert told("shop_busy") == 2
    first.kill()
    assert told("shop_orders_total", "kind=book") == 7  # what was counted stays counted
    assert told("shop_busy") == 1
    successor = Process(tmp_path, 5)
    assert successor.number == 0
    assert told("shop_orders_total", "kind=book") == 12
    assert told("shop_busy") == 2
    assert len(list(tmp_path.glob("counter_*.db"))) == 2
    second.kill()
    successor.kill()


def test_of_the_only_process_the_applications_metrics_are_in_its_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prometheus_client

    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    orders = prometheus_client.Counter("single_orders", "Orders.")
    orders.inc(3)
    try:
        assert samples(render(tmp_path)[0].decode(), read_text)["single_orders_total",] == 3
    finally:
        prometheus_client.REGISTRY.unregister(orders)
