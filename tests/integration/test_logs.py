"""One id joins nginx's line and the server's, and both have the same names for the same things."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from tests.integration.stack import Stack

SHARED = {"time", "level", "logger", "message", "client", "method", "path", "query", "protocol", "status"}
SHARED |= {"bytes_in", "bytes_out", "duration_ms", "request_id"}


def line_of(stack: Stack, service: str, request_id: str) -> dict[str, Any]:
    """The one line with that id; it is written after the answer was, so it may be a moment late."""
    for _ in range(100):
        lines = [line for line in stack.log_records(service) if line.get("request_id") == request_id]
        if lines:
            [line] = lines
            return line
        time.sleep(0.05)
    raise AssertionError(f"{service} never logged {request_id}")


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
    line_of(stack, "app", answer.headers["x-request-id"])  # all of it is written before that
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


def test_health_checks_of_nginx_are_not_logged(stack: Stack) -> None:
    assert [record for record in stack.log_records("nginx") if record["status"] == 204] == []
