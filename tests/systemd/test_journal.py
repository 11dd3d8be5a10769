"""What is in the journal for whoever is called at night: priorities, and the request that a line belongs to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.waiting import until
from tests.systemd.machine import Machine
from tests.systemd.test_units import SOCKET

Records = list[dict[str, str]]


def ask(machine: Machine, path: str, request_id: str) -> str:
    """The status that nginx gets for a request with this id."""
    fields = [
        "--header",
        f"X-Request-ID: {request_id}",
        "--write-out",
        "%{http_code}",
        "--output",
        "/dev/null",
    ]
    return machine.run(
        "curl", "-sS", "--unix-socket", SOCKET, *fields, f"http://localhost{path}", user="www-data"
    )


def found(machine: Machine, *filters: str, enough: Callable[[Records], bool] = bool) -> Records:
    """Records by journalctl's own filters, once there are enough; it hears of them a moment later than the client."""
    return until(
        lambda: [*machine.journal(*filters)] if enough(machine.journal(*filters)) else [],
        f"records {filters}",
        180,
    )


@pytest.fixture(params=["pronghorn", "pronghorn-gunicorn"])
def unit(request: pytest.FixtureRequest, host: Machine) -> str:
    """The service, or Gunicorn in its place."""
    name: str = request.param
    host.systemctl("start", f"{name}.socket", f"{name}.service")
    return name


def test_a_request_id_finds_all_that_a_request_has_left(host: Machine, unit: str) -> None:
    request_id = f"log-{unit}"
    assert ask(host, "/log", request_id) == "200"
    records = found(host, f"REQUEST_ID={request_id}", enough=lambda records: len(records) >= 2)
    by_logger = {record["LOGGER"]: record for record in records}
    application, access = by_logger["shop"], by_logger["pronghorn.access"]
    assert (application["MESSAGE"], application["PRIORITY"], application["ITEM"]) == (
        "Stock is low",
        "4",
        "7",
    )
    assert (access["PRIORITY"], access["METHOD"], access["PATH"], access["STATUS"]) == (
        "6",
        "GET",
        "/log",
        "200",
    )
    assert '"GET /log HTTP/1.1" 200' in access["MESSAGE"]
    assert {record["_SYSTEMD_UNIT"] for record in records} == {f"{unit}.service"}
    assert access["_PID"] == access["WORKER"]


def test_what_went_wrong_is_found_by_its_priority(host: Machine, unit: str) -> None:
    request_id = f"fail-{unit}"
    assert ask(host, "/fail", request_id) == "500"
    records = found(
        host, f"REQUEST_ID={request_id}", "--priority=warning", enough=lambda records: len(records) >= 2
    )
    by_priority = {record["PRIORITY"]: record["MESSAGE"] for record in records}
    assert '"GET /fail HTTP/1.1" 500' in by_priority["4"]
    # In one piece, as one reads it, at the end of `journalctl` as well.
    assert "\nTraceback (most recent call last):\n" in by_priority["3"]
    assert by_priority["3"].endswith("RuntimeError: The shop is on fire")


def test_lines_are_not_dropped_for_being_many(host: Machine, unit: str) -> None:
    """systemd's own limit is 10,000 in 30 s."""
    assert host.show(f"{unit}.service", "LogRateLimitIntervalUSec") == "0"
    host.shell(
        f"curl --silent --output /dev/null --unix-socket {SOCKET} --header 'X-Request-ID: many-{unit}' 'http://localhost/?[1-11000]'"
    )
    records = found(
        host, "--output-fields=PATH", f"REQUEST_ID=many-{unit}", enough=lambda records: len(records) >= 11_000
    )
    assert len(records) == 11_000
