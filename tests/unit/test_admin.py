"""The application behind the admin listener, asked as ASGI asks, on readings that were made up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pronghorn.errors import UsageError
from pronghorn.observe import metrics
from pronghorn.observe.admin import About, AdminApp
from pronghorn.observe.reading import Histogram, Reading, SupervisorRow, WorkerRow
from pronghorn.types import Message, Scope

ABOUT = About(app="main:app", version="1.2.3", python="3.13.0", pid=7, started=1000.0)
WORKER = WorkerRow(
    pid=12,
    slot=0,
    worker=0,
    generation=0,
    state="ready",
    started=1000.0,
    heartbeat_age=0.2,
    requests=100,
    in_flight=1,
    connections=3,
    websockets=2,
    rss=31_000_000,
    lag=0.0004,
    lag_worst=0.5,
    limit=0,
)
SUPERVISOR = SupervisorRow(
    pid=7, state="ready", heartbeat_age=0.1, started=1000.0, wanted=2, starts=3, exits={"retired": 1}
)
PATHS = ("/", "/livez", "/readyz", "/metrics", "/workers", "/status.json")


@dataclass
class Asked:
    """An answer."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode().rstrip("\n")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def page_for(accept: str) -> tuple[bytes, str]:
    return f"page for {accept}".encode(), "text/plain; version=9"


@dataclass
class Admin:
    """The application, on what `workers` and `supervisor` are at the moment."""

    workers: list[WorkerRow] = field(default_factory=lambda: [WORKER])
    supervisor: SupervisorRow | None = SUPERVISOR
    reading: Reading | None = None
    expose: Any = page_for

    clock: Any = time.time

    def __post_init__(self) -> None:
        self.app = AdminApp(self.read, self.expose, about=ABOUT, silence=5, clock=self.clock)

    def read(self) -> Reading:
        return self.reading or Reading(workers=self.workers, supervisor=self.supervisor)

    def ask(
        self, target: str, method: str = "GET", *, server: Any = ("127.0.0.1", 9464), **headers: str
    ) -> Asked:
        path, _, query = target.partition("?")
        told = {"host": "127.0.0.1:9464", **headers}
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "server": server,
            "headers": [(name.encode(), value.encode()) for name, value in told.items()],
        }
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            raise AssertionError("there are no bodies")

        asyncio.run(self.app(scope, receive, send))
        start, end = sent
        return Asked(start["status"], dict(start["headers"]), end["body"])


# Health.

STARTING = replace(WORKER, state="starting")
LEAVING = replace(WORKER, state="leaving")
SILENT = replace(WORKER, heartbeat_age=5.1)
FULL = replace(WORKER, limit=3)  # one request and two WebSockets
ROOMY = replace(WORKER, limit=4)


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ([WORKER], ""),
        ([WORKER, STARTING], ""),
        ([WORKER, SILENT, LEAVING], ""),
        ([FULL, ROOMY], ""),
        ([FULL, WORKER], ""),
        ([], "no worker serves (there is none)"),
        ([STARTING, STARTING], "no worker serves (2 starting)"),
        ([SILENT, STARTING], "no worker serves (1 silent, 1 starting)"),
        ([FULL, FULL], "every worker is at its limit"),
        ([FULL, SILENT], "every worker is at its limit"),
    ],
)
def test_ready_is_whether_a_request_would_be_served(workers: list[WorkerRow], told: str) -> None:
    answer = Admin(workers).ask("/readyz")

    assert (answer.status, answer.text) == ((503, told) if told else (200, "ok"))


def test_a_supervisor_that_stops_is_not_ready_although_its_workers_still_serve() -> None:
    stopping = Admin(supervisor=replace(SUPERVISOR, state="leaving"))

    assert (stopping.ask("/readyz").status, stopping.ask("/readyz").text) == (503, "draining")
    assert stopping.ask("/livez").status == 200


def test_without_a_supervisor_it_drains_when_all_do() -> None:
    assert Admin([LEAVING], None).ask("/readyz").text == "no worker serves (1 leaving); draining"
    assert Admin([LEAVING, WORKER], None).ask("/readyz").status == 200
    assert Admin([], None).ask("/readyz").text == "no worker serves (there is none)"


@pytest.mark.parametrize("workers", [[], [STARTING], [SILENT], [FULL], [LEAVING]])
def test_whatever_the_workers_are_at_it_is_alive(workers: list[WorkerRow]) -> None:
    for supervisor in (SUPERVISOR, None):
        answer = Admin(workers, supervisor).ask("/livez")
        assert (answer.status, answer.text) == (200, "ok")


def test_a_supervisor_that_says_nothing_is_not_alive() -> None:
    stuck = Admin(supervisor=replace(SUPERVISOR, heartbeat_age=15.4))

    assert (stuck.ask("/livez").status, stuck.ask("/livez").text) == (
        503,
        "the supervisor is silent for 15 s",
    )
    assert stuck.ask("/readyz").status == 200, "its workers serve all the same"


def test_verbose_has_a_line_for_each_check() -> None:
    assert Admin([FULL, STARTING]).ask("/readyz?verbose").text.splitlines() == [
        "[+] workers: 1 of 2 serve",
        "[+] drain: not draining",
        "[-] limit: every worker is at its limit",
        "every worker is at its limit",
    ]
    assert Admin().ask("/livez?verbose=1").text.splitlines() == [
        "[+] supervisor: process 7 looks after 2",
        "ok",
    ]
    assert Admin([WORKER], None).ask("/livez?verbose").text.splitlines() == ["[+] process: it answers", "ok"]


def test_a_check_can_be_left_out() -> None:
    full = Admin([FULL])

    assert full.ask("/readyz?exclude=limit").status == 200
    assert full.ask("/readyz?exclude=drain").status == 503
    assert full.ask("/readyz?exclude=drain&exclude=limit").status == 200
    assert full.ask("/readyz?verbose&exclude=limit&exclude=%0A%C3%A9").text.splitlines() == [
        "[+] workers: 1 of 1 serve",
        "[+] drain: not draining",
        "[ ] limit: every worker is at its limit (excluded)",
        "[ ] '\\n\\xe9' is no check here, and cannot be excluded",
        "ok",
    ]


# For machines.


def test_metrics_are_told_as_they_are_accepted() -> None:
    answer = Admin().ask("/metrics", accept="application/openmetrics-text")

    assert (answer.status, answer.text) == (200, "page for application/openmetrics-text")
    assert answer.headers[b"content-type"] == b"text/plain; version=9"
    assert answer.headers[b"vary"] == b"accept"


def test_metrics_that_nobody_counts_or_can_write_are_told_so() -> None:
    assert Admin(expose=None).ask("/metrics").status == 404

    def missing(accept: str) -> tuple[bytes, str]:
        raise UsageError("it is not installed", option="--metrics", hint="Install it")

    answer = Admin(expose=missing).ask("/metrics")
    assert (answer.status, answer.text) == (501, "--metrics: it is not installed. Install it")


def test_workers_are_told_one_by_one() -> None:
    answer = Admin([WORKER, replace(STARTING, pid=13, slot=1, worker=1)]).ask("/workers")
    told = answer.json
    first, second = told.pop("workers")

    assert answer.headers[b"content-type"] == b"application/json"
    assert abs(told.pop("time") - time.time()) < 60
    assert told == {
        "version": "1.2.3",
        "wanted": 2,
        "ready": True,
        "supervisor": {"pid": 7, "starts": 3, "exits": {"retired": 1}},
    }
    assert first.pop("age_seconds") > 1e9
    assert first == {
        "pid": 12,
        "slot": 0,
        "worker": 0,
        "state": "ready",
        "requests": 100,
        "in_flight": 1,
        "connections": 3,
        "websockets": 2,
        "rss_bytes": 31_000_000,
        "loop_lag_seconds": 0.0004,
        "heartbeat_age_seconds": 0.2,
    }
    assert (second["pid"], second["state"]) == (13, "starting")


def test_a_process_that_is_the_only_one_has_no_supervisor() -> None:
    told = Admin([SILENT], None).ask("/workers").json

    assert (told["supervisor"], told["wanted"], told["ready"]) == (None, 1, False)


# For people.


def reading(requests: int, errors: int = 0, **sums: int) -> Reading:
    """So many requests that were answered with 200 within 10 ms, so many with 503 in 2 s; and sums of metrics by their names."""
    made = Reading(workers=[WORKER, FULL], supervisor=SUPERVISOR)
    made.requests["", "GET", "2xx"] = requests
    made.requests["/x", "GET", "5xx"] = errors
    made.requests["/x", "POST", "none"] = errors
    made.requests["", "POST", "4xx"] = 2 * errors
    made.durations[""] = Histogram(
        tuple(requests if bound == 0.01 else 0 for bound in (*metrics.BOUNDS, 99.0))
    )
    made.durations["/x"] = Histogram(
        tuple(4 * errors if bound == 2.5 else 0 for bound in (*metrics.BOUNDS, 99.0))
    )
    for name, value in sums.items():
        cells = made.sums[f"pronghorn_{name}"]
        cells[next(iter(cells))] = value
    return made


def test_the_history_is_what_each_interval_brought() -> None:
    clock = iter((1000.0, 1002.0, 1006.0))
    admin = Admin(clock=lambda: next(clock, 1006.5))
    admin.reading = reading(50, 1, worker_starts_total=2)
    admin.app.sample()
    admin.reading = reading(
        70,
        3,
        worker_starts_total=3,
        worker_exits_total=1,
        request_body_bytes_total=10,
        response_body_bytes_total=4000,
    )
    admin.app.sample()
    admin.app.sample()
    told = admin.ask("/status.json").json
    first, second = told["samples"]

    assert (first["t"], first["rate"], first["errors"], first["client_errors"]) == (1002.0, 14.0, 2.0, 2.0)
    assert (first["starts"], first["exits"], first["bytes_in"], first["bytes_out"]) == (1, 1, 5.0, 2000.0)
    assert (first["in_flight"], first["connections"], first["websockets"]) == (2, 6, 4)
    assert (first["lag"], first["workers"], first["rss"]) == (0.5, 2, 62_000_000)
    assert 0.005 < first["p50"] <= 0.01
    assert 1.0 < first["p95"] <= first["p99"] <= 2.5
    assert (second["t"], second["rate"], second["p50"]) == (1006.0, 0.0, None)


def test_the_history_is_ten_minutes_and_survives_a_clock_that_is_set_back() -> None:
    now = [1000.0]
    admin = Admin(clock=lambda: now[0])
    for _ in range(400):
        admin.app.sample()
        now[0] += admin.app.interval
    now[0] = 500.0
    admin.app.sample()
    samples = admin.ask("/status.json").json["samples"]

    assert len(samples) == 300
    assert samples[-1]["t"] == 1000.0 + 399 * 2
    assert samples[0]["t"] == samples[-1]["t"] - 299 * 2


def test_status_is_what_the_page_shows() -> None:
    told = Admin([FULL]).ask("/status.json").json

    assert {name: told[name] for name in ("interval", "app", "version", "python", "pid")} == {
        "interval": 2.0,
        "app": "main:app",
        "version": "1.2.3",
        "python": "3.13.0",
        "pid": 7,
    }
    assert told["uptime_seconds"] == pytest.approx(told["now"] - 1000.0)
    assert (told["ready"], told["reasons"]) == (False, ["every worker is at its limit"])
    assert (told["wanted"], told["supervisor"]["pid"], told["workers"][0]["pid"]) == (2, 7, 12)
    assert told["samples"] == []
    assert Admin([WORKER], None).ask("/status.json").json["pid"] == ABOUT.pid


def test_the_page_may_do_what_it_does_and_nothing_else() -> None:
    answer = Admin().ask("/")
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers[b"content-security-policy"].decode().split(";")
    )

    assert (answer.status, answer.headers[b"content-type"]) == (200, b"text/html; charset=utf-8")
    assert (policy["default-src"], policy["connect-src"], policy["frame-ancestors"]) == (
        "'none'",
        "'self'",
        "'none'",
    )
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert Admin().ask("/").body == answer.body


# HTTP.


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_a_body_and_nothing_is_kept(path: str) -> None:
    got, head = Admin().ask(path), Admin().ask(path, "HEAD")

    assert (got.status, head.status, head.body) == (200, 200, b"")
    assert int(got.headers[b"content-length"]) == len(got.body)
    assert got.headers[b"cache-control"] == b"no-store"
    assert got.headers[b"x-content-type-options"] == b"nosniff"
    assert got.headers[b"cross-origin-resource-policy"] == b"same-origin"
    assert head.headers.keys() == got.headers.keys()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get"])
def test_nothing_can_be_changed(method: str) -> None:
    answer = Admin().ask("/readyz", method)

    assert (answer.status, answer.headers[b"allow"]) == (405, b"GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/healthz", "/livez/", "/LIVEZ", "//livez", "/metrics/x", "/status.html", "livez", "*", ""]
)
def test_other_paths_are_nothing(path: str) -> None:
    assert Admin().ask(path).status == 404


@pytest.mark.parametrize(
    ("host", "server", "status"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464), 200),
        ("localhost", ("127.0.0.1", 9464), 200),
        ("LOCALHOST:80", ("127.0.0.1", 9464), 200),
        ("x.localhost:9464", ("127.0.0.1", 9464), 200),
        ("[::1]:9464", ("::1", 9464), 200),
        ("10.1.2.3", ("127.0.0.1", 9464), 200),
        ("", ("127.0.0.1", 9464), 200),
        ("evil.example", ("127.0.0.1", 9464), 421),
        ("evil.example:9464", ("::1", 9464), 421),
        ("evil.example:9464", ("127.8.9.1", 9464), 421),
        ("evil.example:9464", ("::ffff:127.0.0.1", 9464), 421),
        ("127.0.0.1.evil.example:9464", ("127.0.0.1", 9464), 421),
        ("localhost.evil.example", ("127.0.0.1", 9464), 421),
        ("app:9464", ("172.18.0.2", 9464), 200),
        ("app:9464", ("fe80::1%eth0", 9464), 200),
        ("app", ("/run/admin.sock", None), 200),
        ("app", None, 200),
    ],
)
def test_on_the_loopback_only_what_no_dns_can_say_is_a_host(host: str, server: Any, status: int) -> None:
    for path in PATHS:
        assert Admin().ask(path, server=server, host=host).status == status
