"""One id joins nginx's line and the server's, and both have the same names for the same things."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx

from tests.integration.stack import Stack
from tests.support.waiting import until

SHARED = {"time", "level", "logger", "message", "client", "method", "path", "query", "protocol", "status"}
SHARED |= {"bytes_in", "bytes_out", "duration_ms", "request_id"}


def line_of(stack: Stack, service: str, request_id: str) -> dict[str, Any]:
    """The one access line with that id; it is written after the answer was, so it may be a moment late."""

    def written() -> list[dict[str, Any]]:
        lines = [line for line in stack.log_records(service) if line.get("request_id") == request_id]
        return [line for line in lines if line["logger"].endswith(".access")]

    [line] = until(written, f"the line of {request_id} in the log of {service}")
    return line


def test_one_id_joins_the_two_lines(stack: Stack, client: httpx.Client) -> None:
    answer = client.post("/upload?a=1", content=b"x" * 1000)
    outer, inner = (line_of(stack, service, answer.headers["x-request-id"]) for service in ("nginx", "app"))

    assert outer.keys() >= SHARED
    assert inner.keys() >= SHARED
    same = ("method", "path", "query", "status", "bytes_in", "bytes_out", "level")
    assert {name: outer[name] for name in same} == {name: inner[name] for name in same}
    assert (outer["method"], outer["path"], outer["query"], outer["bytes_in"]) == (
        "POST",
        "/upload",
        "a=1",
        1000,
    )
    assert outer["client"] == inner["client"].rpartition(":")[0] or outer["client"] == inner["client"]


def test_upstream_times_tell_the_application_from_the_queue(stack: Stack, client: httpx.Client) -> None:
    answer = client.get("/slow?seconds=1.2")
    line = line_of(stack, "nginx", answer.headers["x-request-id"])

    assert line["upstream_status"] == "200"
    assert min(line["duration_ms"], line["upstream_response_ms"], line["upstream_header_ms"]) >= 1000
    assert line["upstream_connect_ms"] < 1000


def test_what_a_client_sends_can_not_make_a_line_of_its_own(stack: Stack, client: httpx.Client) -> None:
    answer = client.get("/%1b%5b31m%0d%0a?q=%22%0a", headers={"User-Agent": 'quo"te\\ "}'})
    outer, inner = (line_of(stack, service, answer.headers["x-request-id"]) for service in ("nginx", "app"))

    assert outer["path"] == "/%1b%5b31m%0d%0a"
    assert outer["user_agent"] == 'quo"te\\ "}'
    assert outer["status"] == inner["status"] == 404


def test_every_line_of_the_server_is_json(stack: Stack) -> None:
    lines = stack.log("app")

    assert any("Pronghorn running on unix socket /run/pronghorn/blue.sock" in line for line in lines)
    assert [line for line in lines if not isinstance(json.loads(line), dict)] == []


def test_what_the_application_logs_warns_and_raises_is_json(stack: Stack, client: httpx.Client) -> None:
    answer = client.get("/talk")
    said_of(stack, answer.headers["x-request-id"])  # all of it is written before the last of that
    records = [json.loads(line) for line in stack.log("app")]

    assert answer.status_code == 500
    said = {record["message"]: record for record in records if record["logger"] != "pronghorn.access"}
    order = said["An order\nin two lines"]
    assert (order["level"], order["logger"], order["order"]) == ("INFO", "shop", 7)
    assert "not shown" not in said
    assert [
        record["logger"] for message, record in said.items() if "UserWarning: That is old" in message
    ] == ["py.warnings"]
    assert said["Uncaught exception in thread talker"]["exception"].endswith(
        "ZeroDivisionError: division by zero"
    )
    assert said["Exception in ASGI application"]["exception"].endswith("LookupError: let through")


def said_of(stack: Stack, request_id: str) -> list[dict[str, Any]]:
    """What the server's log has with the id of a request to /talk, once all is there: the engine reads stderr, which has what went wrong,
    and stdout, which has the access line, independently of each other."""

    def said() -> list[dict[str, Any]]:
        found = [record for record in stack.log_records("app") if record.get("request_id") == request_id]
        return (
            found if {"pronghorn.error", "pronghorn.access"} <= {record["logger"] for record in found} else []
        )

    return until(said, f"all of {request_id} in the log")


# Asks for the metrics in the format that has exemplars.
OPENMETRICS = """
import urllib.request
headers = {"Accept": "application/openmetrics-text"}
print(urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:9464/metrics", None, headers)).read().decode())
"""


def test_one_request_is_followed_by_its_id(stack: Stack, client: httpx.Client) -> None:
    """The client's answer, nginx's line, the server's line, the application's own record, and the exemplar in the metrics."""

    def followed() -> str:
        """The id of a request, once it is that of an exemplar: each bucket takes another one once a second."""
        name = client.get("/talk").headers["x-request-id"]
        metrics = stack.execute("app", "python3", "-c", OPENMETRICS)
        shown = rf'^pronghorn_request_duration_seconds_bucket.* # {{request_id="{name}"}} \d'
        return name if re.search(shown, metrics, re.MULTILINE) else ""

    name = until(followed, "an exemplar")
    outer, inner = (line_of(stack, service, name) for service in ("nginx", "app"))
    said = said_of(stack, name)

    assert (outer["path"], outer["status"]) == (inner["path"], inner["status"]) == ("/talk", 500)
    assert outer["duration_ms"] >= 0
    assert inner["first_byte_ms"] <= inner["duration_ms"]
    # Python warns of the same thing once, so that is another request's.
    loggers = [
        record["logger"] for record in said if record["logger"] not in {"py.warnings", "pronghorn.access"}
    ]
    assert loggers == ["shop", "pronghorn.error"]
    assert {record["worker"] for record in said if "worker" in record} == {inner["worker"]}


def test_health_checks_of_nginx_are_not_logged(stack: Stack) -> None:
    assert [record for record in stack.log_records("nginx") if record["status"] == 204] == []
