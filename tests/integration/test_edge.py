"""The edge: TLS, HTTP/2 and HTTP/3 with real clients, static files, error pages, and headers that every kind of answer has."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.integration.browser import browser
from tests.integration.curl import VERSIONS, Answer, Curl
from tests.integration.sockets import connect
from tests.integration.stack import ROOT, Stack
from tests.integration.test_client_address import FORGED, gateway
from tests.integration.test_logs import line_of

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "strict-origin-when-cross-origin",
}

# ---- Versions of HTTP -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_reaches_the_application(stack: Stack, curl: Curl, version: str) -> None:
    forged = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Forwarded")
    options = [option for name in forged for option in ("--header", f"{name}: {FORGED}")]
    answer = curl(version, f"{stack.tls_url}/scope?a=%20b", *options)
    seen = json.loads(answer.body)
    headers = dict(seen["headers"])

    assert (answer.version, answer.status) == (version, 200)
    assert (seen["scheme"], seen["raw_path"], seen["query_string"]) == ("https", "/scope", "a=%20b")
    assert headers["host"] == headers["x-forwarded-host"] == f"127.0.0.1:{stack.tls_port}"
    assert headers["x-forwarded-proto"] == "https"
    assert seen["client"][0] == headers["x-forwarded-for"] == gateway(stack)
    assert FORGED not in str(seen)


@pytest.mark.parametrize("version", VERSIONS)
def test_bodies_arrive_whole_in_each_version(stack: Stack, curl: Curl, version: str) -> None:
    body = bytes(range(256)) * 8192
    told = curl(version, f"{stack.tls_url}/upload", "--data-binary", "@-", data=body)
    sent = curl(version, f"{stack.tls_url}/download?size=2000000")

    assert json.loads(told.body)["length"] == len(body)
    assert len(sent.body) == 2_000_000


def test_browsers_are_told_of_http_3_where_it_is(stack: Stack, curl: Curl, client: httpx.Client) -> None:
    offered = f'h3=":{stack.tls_port}"; ma=86400'

    assert curl("1.1", f"{stack.tls_url}/scope")["alt-svc"] == offered
    assert curl("2", f"{stack.tls_url}/scope")["alt-svc"] == offered
    assert curl("3", f"{stack.tls_url}/scope").all("alt-svc") == []
    assert "alt-svc" not in client.get("/scope").headers


def test_http_2_is_for_tls_alone(stack: Stack) -> None:
    """With "prior knowledge" a proxy that does not know it would pass on what it can not read."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("version", ["2", "3"])
def test_no_upgrade_comes_out_of_a_newer_version(stack: Stack, curl: Curl, version: str) -> None:
    asked = ("--header", "Upgrade: websocket", "--header", "Sec-WebSocket-Version: 13")
    key = ("--header", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    answer = curl(version, f"{stack.tls_url}/scope", *asked, *key)

    assert answer.status == 200
    assert dict(json.loads(answer.body)["headers"]).keys().isdisjoint({"upgrade", "connection"})


# ---- TLS ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def handshake(stack: Stack, **settings: Any) -> Iterator[ssl.SSLSocket]:
    """A connection of a client whose context has these attributes; `ciphers` are those it offers for TLS 1.2."""
    context = stack.trust()
    if "ciphers" in settings:
        context.set_ciphers(settings.pop("ciphers"))
    for name, value in settings.items():
        setattr(context, name, value)
    with (
        socket.create_connection(("127.0.0.1", stack.tls_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        yield connection


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_1_2_and_1_3_are_spoken(stack: Stack, version: ssl.TLSVersion) -> None:
    with handshake(stack, maximum_version=version) as connection:
        assert connection.version() == version.name.replace("_", ".")
        cipher = connection.cipher()
        assert cipher is not None
        assert cipher[0].startswith(("ECDHE-ECDSA-", "TLS_"))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_nothing_older_is_spoken(stack: Stack) -> None:
    old = ssl.TLSVersion.TLSv1_1
    refused = pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version")
    with refused, handshake(stack, ciphers="ALL:@SECLEVEL=0", minimum_version=old, maximum_version=old):
        pass


@pytest.mark.parametrize("ciphers", ["DHE", "AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
def test_no_weaker_cipher_is_taken(stack: Stack, ciphers: str) -> None:
    refused = pytest.raises(ssl.SSLError, match=r"HANDSHAKE_FAILURE|handshake failure")
    with refused, handshake(stack, ciphers=ciphers, maximum_version=ssl.TLSVersion.TLSv1_2):
        pass


def test_sessions_are_resumed_without_tickets(stack: Stack) -> None:
    with handshake(stack, maximum_version=ssl.TLSVersion.TLSv1_2) as connection:
        session = connection.session
        assert session is not None
        assert not session.has_ticket
        assert session.id


async def test_a_websocket_over_tls(stack: Stack) -> None:
    url = f"wss://127.0.0.1:{stack.tls_port}/echo?tell=1"
    async with connect(url, ssl=stack.trust()) as opened:
        assert json.loads(await opened.recv())["scheme"] == "wss"
        await opened.send("over TLS")
        assert await opened.recv() == "over TLS"


# ---- Static files ---------------------------------------------------------------------------------------------------

HASHED = "/static/site.4f2a9c81d0e3.css"


@pytest.mark.parametrize(
    ("accepted", "suffix", "encoding"),
    [("identity", "", []), ("gzip", ".gz", ["gzip"]), ("gzip, br", ".br", ["br"])],
)
def test_static_files_come_compressed_as_they_are(
    stack: Stack, curl: Curl, accepted: str, suffix: str, encoding: list[str]
) -> None:
    answer = curl("2", f"{stack.tls_url}{HASHED}", "--header", f"Accept-Encoding: {accepted}")

    assert answer.body == (ROOT / f"tests/integration/app{HASHED}{suffix}").read_bytes()
    assert answer.all("content-encoding") == encoding
    assert answer["content-type"] == "text/css"
    assert "Accept-Encoding" in answer.all("vary")
    assert answer["cache-control"] == "public, max-age=31536000, immutable"


def test_a_name_without_a_hash_is_asked_for_again(client: httpx.Client) -> None:
    first = client.get("/static/plain.txt")
    again = client.get("/static/plain.txt", headers={"If-None-Match": first.headers["etag"]})

    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert (first.text, again.status_code) == ("hello\n", 304)


@pytest.mark.parametrize("path", ["/static/missing.css", "/static/", "/static/%2e%2e/secret", "/static.css"])
def test_what_is_no_static_file_is_the_applications(client: httpx.Client, path: str) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.headers["x-seen"]) == (404, "yes")
    assert "cache-control" not in answer.headers


# ---- Refusals -------------------------------------------------------------------------------------------------------

LARGE = ("--header", "Expect: 100-continue", "--header", f"Content-Length: {65 * 1024 * 1024}", "--data", "x")


def large_field(stack: Stack, curl: Curl, *options: str) -> Answer:
    # What stands behind the field that is too large is not read.
    return curl("1.1", f"{stack.url}/", *options, "--header", f"X-Large: {'x' * 9000}")


def large_body(stack: Stack, curl: Curl, *options: str) -> Answer:
    return curl("1.1", f"{stack.tls_url}/upload?a=1", *LARGE, *options)


def long_path(stack: Stack, curl: Curl, *options: str) -> Answer:
    return curl("1.1", f"{stack.url}/{'x' * 9000}", *options)


def trace(stack: Stack, curl: Curl, *options: str) -> Answer:
    return curl("2", f"{stack.tls_url}/", "--request", "TRACE", *options)


def clear_text_to_tls(stack: Stack, curl: Curl, *options: str) -> Answer:
    return curl("1.1", f"http://127.0.0.1:{stack.tls_port}/", *options)


def challenge(stack: Stack, curl: Curl, *options: str) -> Answer:
    return curl("1.1", f"{stack.url}/.well-known/acme-challenge/none", *options)


REFUSALS = {
    large_body: (413, "content too large"),
    large_field: (431, "request header fields too large"),
    trace: (405, "method not allowed"),
    clear_text_to_tls: (400, "bad request"),
    challenge: (404, "not found"),
}


@pytest.mark.parametrize("refused", REFUSALS, ids=lambda refused: refused.__name__)
def test_a_refusal_is_a_page_to_a_browser_and_json_to_anybody_else(
    stack: Stack, curl: Curl, refused: Callable[..., Answer]
) -> None:
    status, error = REFUSALS[refused]
    told = refused(stack, curl)
    page = refused(stack, curl, "--header", "Accept: text/html,application/xhtml+xml,*/*;q=0.8")

    assert (told.status, page.status) == (status, status)
    assert told["content-type"] == "application/json"
    assert json.loads(told.body)["error"] == error
    assert json.loads(told.body)["request_id"] == told["x-request-id"]
    assert page["content-type"] == "text/html"
    text = page.body.decode()
    assert f"Error {status} · Request <code>{page['x-request-id']}</code>" in text
    assert json.loads(told.body)["detail"] in text
    assert not re.search(r"src=|href=|url\(|<!--", text), "it needs nothing from elsewhere"


def test_an_address_that_is_too_long_is_refused_before_accept_is_read(stack: Stack, curl: Curl) -> None:
    answer = long_path(stack, curl, "--header", "Accept: text/html")

    assert (answer.status, json.loads(answer.body)["error"]) == (414, "uri too long")


def test_a_line_that_is_no_request_gets_an_answer_all_the_same(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'{"error":"bad request"' in answer


def test_a_refused_request_is_logged_as_it_was_sent(stack: Stack, curl: Curl) -> None:
    answer = large_body(stack, curl)
    # Written when the connection is over, which nginx keeps for a while for what the client may still send.
    line = line_of(stack, "nginx", answer["x-request-id"])

    assert (line["method"], line["path"], line["query"], line["status"]) == ("POST", "/upload", "a=1", 413)


def ordinary(version: str, path: str) -> Callable[..., Answer]:
    def answered(stack: Stack, curl: Curl) -> Answer:
        return curl(version, f"{stack.tls_url}{path}")

    answered.__name__ = f"{path} over HTTP/{version}"
    return answered


ANSWERS = [
    *(ordinary(version, path) for version in VERSIONS for path in ("/scope", "/not-there", HASHED)),
    *REFUSALS,
    long_path,
]


@pytest.mark.parametrize("answered", ANSWERS, ids=lambda answered: answered.__name__)
def test_every_kind_of_answer_has_the_security_headers(
    stack: Stack, curl: Curl, answered: Callable[..., Answer]
) -> None:
    answer = answered(stack, curl)

    assert {name: answer[name] for name in SECURITY} == SECURITY
    assert re.fullmatch(r"[0-9a-f]{32}", answer["x-request-id"])
    assert answer["server"] == "nginx"


def test_the_error_page_can_be_read_by_everybody(stack: Stack) -> None:
    """By a screen reader, and in the light or the dark that its reader has chosen."""
    with browser() as page:
        colours = set()
        for scheme in ("light", "dark"):
            page.driver.execute_cdp_cmd(
                "Emulation.setEmulatedMedia",
                {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
            )
            page.driver.get(f"{stack.url}/.well-known/acme-challenge/none")
            colours.add(page.run("return getComputedStyle(document.body).backgroundColor"))

        assert len(colours) == 2
        assert ("heading", "There is nothing here") in page.accessible()
        assert page.run("return document.documentElement.lang") == "en"
        assert page.run("return document.title") == "There is nothing here"


# ---- What is private ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/.edge/error.html", "/.edge/error.json"])
def test_pages_of_errors_are_for_errors(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_key_is_for_nginx_alone(stack: Stack) -> None:
    assert stack.execute("nginx", "stat", "-c", "%a %u", "/certificates/development/privkey.pem").split() == [
        "600",
        "10002",
    ]
