"""Through nginx and back: what arrives at the application, and what comes back with its answer."""

from __future__ import annotations

import re
import socket

import httpx
import pytest

from tests.integration.stack import Stack
from tests.support.http_client import Client


def test_the_application_sees_the_request_as_the_client_sent_it(client: httpx.Client) -> None:
    answer = client.get("/scope?a=1&b=%20", headers={"X-Custom": "kept"})

    seen = answer.json()
    assert answer.status_code == 200
    assert (seen["method"], seen["path"], seen["query_string"]) == ("GET", "/scope", "a=1&b=%20")
    assert seen["http_version"] == "1.1"
    assert ["x-custom", "kept"] in seen["headers"]


def test_the_path_arrives_as_the_client_wrote_it(client: httpx.Client) -> None:
    """nginx decodes a path to choose a location, and must not send on what it made of it."""
    seen = client.get("/%73cope").json()

    assert (seen["path"], seen["raw_path"]) == ("/scope", "/%73cope")


def test_the_server_is_reached_over_the_unix_socket(client: httpx.Client) -> None:
    assert client.get("/scope").json()["server"] == ["/run/pronghorn/blue.sock", None]


def test_links_can_be_made_from_host(stack: Stack, client: httpx.Client) -> None:
    headers = dict(client.get("/scope").json()["headers"])

    assert headers["host"] == f"127.0.0.1:{stack.port}"


def test_a_host_that_contradicts_the_request_line_gives_way(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(
            b"GET http://named.example/scope HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert b'["host", "named.example"]' in answer
    assert b"other.example" not in answer


@pytest.mark.parametrize("path", ["/scope", "/not-there"])
def test_every_answer_has_the_security_headers_and_its_id(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])


def test_the_applications_own_headers_win_over_the_defaults(client: httpx.Client) -> None:
    headers = client.get("/own-headers").headers

    assert headers.get_list("x-frame-options") == ["DENY"]
    assert headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_there_is_one_request_id_and_nginx_chooses_it(client: httpx.Client) -> None:
    sent = client.get("/scope", headers={"X-Request-ID": "forged"})
    told = dict(sent.json()["headers"])["x-request-id"]

    assert sent.headers.get_list("x-request-id") == [told]
    assert told != "forged"
    assert len(client.get("/own-headers").headers.get_list("x-request-id")) == 1


def test_no_version_is_told(client: httpx.Client) -> None:
    assert client.get("/scope").headers["server"] == "nginx"


def test_head_has_the_headers_and_no_body(client: httpx.Client) -> None:
    got, head = client.get("/scope"), client.head("/scope")

    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_many_requests_share_one_connection(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as opened:
        connection = Client(opened)
        for _ in range(3):
            assert connection.get("/process").status == 200


def test_the_health_endpoint_is_the_servers_own(client: httpx.Client) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.text.strip()) == (200, "ok")
    assert answer.headers["cache-control"] == "no-store"


def test_nginx_own_health_check_is_not_published(client: httpx.Client) -> None:
    assert client.get("/nginx-health").status_code == 404


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/metrics", "/workers", "/status.json", "/%6detrics", "//metrics"]
)
def test_what_the_admin_listener_answers_is_not_published(client: httpx.Client, path: str) -> None:
    for host in ("localhost", "app:9464", "127.0.0.1:9464"):
        answer = client.get(path, headers={"host": host})
        assert (answer.status_code, answer.headers.get("x-request-id") is not None) == (404, True)
        assert "pronghorn_" not in answer.text
        assert answer.text.strip() != "ok"
