"""What every deployment of Pronghorn keeps, whatever the application: `scripts/smoke URL` asks one that runs.

Nothing here changes anything behind the URL, and nothing takes longer than a few requests.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import ssl
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.smoke.target import PATIENCE, Target
from tests.support.http_client import Client

# What is for the inside: paths of the admin listener and of nginx, and how to tell that it was they who answered.
PRIVATE = ("/metrics", "/workers", "/livez", "/readyz", "/status.json", "/stub_status", "/nginx-health")
INSIDE = re.compile(r"pronghorn_\w+|\"workers\":|Active connections:|^ok$", re.MULTILINE)

NOWHERE = "/.well-known/nobody-has-this-path"
DAY = 86_400

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def test_it_answers(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.status_code < 500, answer.text


@pytest.mark.parametrize("path", ["/", NOWHERE])
def test_every_answer_has_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get("x-frame-options") or "frame-ancestors" in headers.get("content-security-policy", "")
    assert headers["referrer-policy"]


def test_nobody_tells_versions(client: httpx.Client) -> None:
    for path in ("/", NOWHERE):
        headers = client.get(path).headers
        assert not re.search(r"\d", headers.get("server", "")), headers["server"]
        assert "x-powered-by" not in headers


def test_every_answer_has_an_id_of_its_own(client: httpx.Client) -> None:
    forged = "a" * 32
    found = {client.get("/", headers={"X-Request-ID": forged}).headers["x-request-id"] for _ in range(3)}
    assert len(found) == 3
    assert forged not in found


def test_what_is_for_the_inside_stays_there(client: httpx.Client) -> None:
    for path in PRIVATE:
        assert not INSIDE.search(client.get(path).text), path


def test_a_connection_carries_more_than_one_request(target: Target) -> None:
    """HEAD is the first: had its answer a body, that would be taken for the head of the next one."""
    with target.connect() as connection:
        for method in ("HEAD", "GET", "GET"):
            connection.send(f"{method} / HTTP/1.1\r\nHost: {target.authority}\r\n\r\n".encode())
            assert connection.response(method).status < 500


# Not a status: the connection was closed while the request was still on its way, which can cost the answer.
CLOSED = 0


def answered(connection: Client, request: bytes) -> int:
    """The status of the answer, or CLOSED."""
    try:
        connection.send(request)
        return connection.head().status
    except (ConnectionError, ssl.SSLError):
        return CLOSED


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        pytest.param("GET / HTTP/1.1\r\n\r\n", {400}, id="no Host"),
        pytest.param("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}, id="two of them"),
        pytest.param("G@T / HTTP/1.1\r\nHost: {}\r\n\r\n", {400}, id="no method"),
        pytest.param("GET / HTTP/1.1\r\nHost: {}\r\nBad Name: 1\r\n\r\n", {400}, id="a space in a name"),
        pytest.param(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            {400},
            id="two lengths",
        ),
        pytest.param(
            "POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: xchunked\r\n\r\n", {400, 501}, id="no coding"
        ),
        pytest.param(
            "GET /" + "a" * 100_000 + " HTTP/1.1\r\nHost: {}\r\n\r\n", {400, 414, CLOSED}, id="a long target"
        ),
        pytest.param(
            "GET / HTTP/1.1\r\nHost: {}\r\nA: " + "a" * 100_000 + "\r\n\r\n",
            {400, 431, CLOSED},
            id="a long field",
        ),
    ],
)
def test_what_is_no_request_is_refused(target: Target, head: str, statuses: set[int]) -> None:
    with target.connect() as connection:
        assert answered(connection, head.replace("{}", target.authority).encode()) in statuses


def test_after_that_it_still_answers(client: httpx.Client) -> None:
    assert client.get("/").status_code < 500


@pytest.mark.where("health")
def test_it_is_healthy(target: Target, client: httpx.Client) -> None:
    assert target.health is not None
    answer = client.get(target.health)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store"), answer.text


# ---- WebSocket and streaming ----------------------------------------------------------------------------------------


def handshake(connection: Client, target: Target, path: str) -> tuple[int, str]:
    """Ask for a WebSocket; the status, and whether the answer is to this very request."""
    key = base64.b64encode(os.urandom(16)).decode()
    origin = f"http{'s' if target.tls else ''}://{target.authority}"
    connection.send(
        f"GET {path} HTTP/1.1\r\nHost: {target.authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Origin: {origin}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = connection.head()
    # RFC 6455, section 4.2.2.
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    right = head["sec-websocket-accept"] == base64.b64encode(digest).decode()
    return head.status, "accepted" if right else "not accepted"


def test_a_websocket_where_there_is_none_gets_an_answer(target: Target) -> None:
    with target.connect() as connection:
        status, _ = handshake(connection, target, NOWHERE)
    # Whether that is 403, 404 or, from an application that knows no WebSocket, 500, is its own matter; silence would be ours.
    assert 400 <= status < 600


@pytest.mark.where("websocket")
def test_a_websocket_opens_and_closes(target: Target) -> None:
    assert target.websocket is not None
    with target.connect() as connection:
        assert handshake(connection, target, target.websocket) == (101, "accepted")
        # A close frame with 1000, masked with zeros; sections 5.5.1 and 7.1.1.
        connection.send(b"\x88\x82\0\0\0\0\x03\xe8")
        data = b""
        while b"\x88\x02\x03\xe8" not in data and (more := connection.sock.recv(65_536)):
            data += more
    assert b"\x88\x02\x03\xe8" in data, data


@pytest.mark.where("stream")
def test_a_stream_comes_while_it_is_made(target: Target) -> None:
    """The first piece is here, and the response is not over."""
    assert target.stream is not None
    with target.client() as client, client.stream("GET", target.stream) as answer:
        assert answer.status_code == 200
        assert next(answer.iter_raw())
        assert answer.headers.get("content-length") is None


# ---- TLS ------------------------------------------------------------------------------------------------------------


def negotiated(target: Target, version: ssl.TLSVersion, *protocols: str) -> str | None:
    """Shake hands in this version; which of the protocols was chosen."""
    context = target.context()
    if version < ssl.TLSVersion.TLSv1_2:
        # What this machine itself would not speak any more, so that it is the other side that refuses.
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    with (
        socket.create_connection((target.host, target.port), PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=target.host) as encrypted,
    ):
        return encrypted.selected_alpn_protocol()


@pytest.mark.where("tls")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_versions_of_tls_that_are_good(target: Target, version: ssl.TLSVersion) -> None:
    negotiated(target, version)


@pytest.mark.where("tls")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_no_version_of_tls_that_is_not(target: Target) -> None:
    """It is the other side that says so, not this machine's own OpenSSL."""
    with pytest.raises((ssl.SSLError, ConnectionError)) as refusal:
        negotiated(target, ssl.TLSVersion.TLSv1_1)
    if isinstance(refusal.value, ssl.SSLError):
        assert re.search("ALERT|EOF", refusal.value.reason or ""), refusal.value


@pytest.mark.where("tls")
@pytest.mark.parametrize(
    ("offered", "taken"), [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1")], ids=["h2", "http/1.1"]
)
def test_the_version_of_http_is_chosen_in_the_handshake(
    target: Target, offered: tuple[str, ...], taken: str
) -> None:
    assert negotiated(target, ssl.TLSVersion.TLSv1_3, *offered) == taken


@pytest.mark.where("plain")
def test_clear_text_is_told_the_way(target: Target) -> None:
    """With its method, path and query."""
    assert target.plain is not None
    with httpx.Client(base_url=target.plain, timeout=PATIENCE, trust_env=False) as plain:
        for method in ("GET", "POST"):
            answer = plain.request(method, "/a/path?and=query")
            assert (answer.status_code, answer.headers["location"]) == (308, f"{target.url}/a/path?and=query")
            # RFC 6797, section 7.2: not where anybody could have written it.
            assert "strict-transport-security" not in answer.headers


@pytest.mark.where("hsts")
def test_browsers_are_told_to_come_by_tls_alone(client: httpx.Client) -> None:
    for path in ("/", NOWHERE):
        told = client.get(path).headers["strict-transport-security"]
        found = re.match(r"max-age=(\d+)", told)
        assert found, told
        assert int(found[1]) > DAY


@pytest.mark.where("certificate")
def test_the_certificate_is_good_for_a_week(target: Target) -> None:
    with (
        socket.create_connection((target.host, target.port), PATIENCE) as plain,
        target.context().wrap_socket(plain, server_hostname=target.host) as encrypted,
    ):
        certificate = encrypted.getpeercert()
    assert certificate is not None
    end = certificate["notAfter"]
    assert isinstance(end, str)
    assert ssl.cert_time_to_seconds(end) - time.time() > 7 * DAY


# ---- The admin listener, for who can reach it -----------------------------------------------------------------------


@pytest.mark.where("admin")
def test_the_inside_is_well(target: Target) -> None:
    assert target.admin is not None
    with httpx.Client(base_url=target.admin, timeout=PATIENCE, trust_env=False) as admin:
        for path in ("/livez", "/readyz"):
            assert admin.get(path).status_code == 200, path
        metrics = admin.get("/metrics").text
    (found,) = re.findall(r'^pronghorn_build_info\{.*?version="([^"]+)"', metrics, re.MULTILINE)
    assert target.version in {None, found}
    assert urlsplit(target.admin).netloc != target.authority
