"""How HTTP/2 begins: `Upgrade: h2c` on HTTP/1.1 (RFC 7540 §3.2), prior knowledge beside HTTP/1.1, and ALPN."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator

import pytest
import trustme

from tests.conformance.h2.conftest import Subject, started
from tests.support import http_client
from tests.support.h2_frames import PREFACE, Setting, settings
from tests.support.h2_raw_client import Client

WANTED = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c")


def coded(*values: tuple[int, int]) -> str:
    """The payload of a SETTINGS frame as the field HTTP2-Settings has it."""
    return "HTTP2-Settings: " + base64.urlsafe_b64encode(settings(values)[9:]).rstrip(b"=").decode()


def upgraded(client: http_client.Client, *values: tuple[int, int], generous: bool = True) -> Client:
    """The connection behind a 101, whose request is stream 1."""
    head = client.head()
    assert head.status == 101
    assert (head["upgrade"], (head["connection"] or "").lower()) == ("h2c", "upgrade")
    rest = client._buffer
    client._buffer = b""
    found = Client(client.sock, *values, generous=generous)
    found.received = rest
    found.stream(1)
    found._next = 3
    return found


def test_a_request_becomes_stream_1(clear: Subject) -> None:
    with clear.server.connect() as client:
        client.request("GET", "/mirror?a=b", "X-Y: z", *WANTED, coded())
        after = upgraded(client)
        stream = after.response(1)
        assert stream.status == 200
        assert b'"http_version": "2"' in stream.body
        assert b'["x-y", "z"]' in stream.body
        assert after.get().status == 200


@pytest.mark.parametrize("field", ["Content-Length: 4", "Transfer-Encoding: chunked"])
def test_a_body_is_kept(clear: Subject, field: str) -> None:
    """The row of security.md: body kept, or upgrade ignored. Here it is kept, whether it comes with the head or later."""
    body = b"test" if field.startswith("Content") else b"2\r\nte\r\n2\r\nst\r\n0\r\n\r\n"
    for pieces in (1, 2):
        with clear.server.connect() as client:
            head = "\r\n".join(
                ["POST /echo HTTP/1.1", "Host: localhost", *WANTED, coded(), field, "", ""]
            ).encode()
            if pieces == 1:
                client.send(head + body)
            else:
                client.send(head)
                client.send(body[:1])
                client.send(body[1:])
            after = upgraded(client)
            assert bytes(after.response(1).body) == b"test"
            assert after.get().status == 200


def test_a_large_body_is_kept_or_the_upgrade_is_ignored(clear: Subject) -> None:
    size = 300_000
    with clear.server.connect() as client:
        client.request("POST", "/count", *WANTED, coded(), body=bytes(size))
        head = client.head()
        if head.status == 101:
            client._buffer = (
                b"HTTP/1.1 101 Again\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n" + client._buffer
            )
            after = upgraded(client)
            assert bytes(after.response(1).body) == b"%d" % size
        else:
            assert head.status == 200
            assert client.read(int(head["content-length"] or 0)) == b"%d" % size


def test_the_settings_of_the_field_count(clear: Subject) -> None:
    with clear.server.connect() as client:
        client.request("GET", "/size?1000", *WANTED, coded((Setting.INITIAL_WINDOW_SIZE, 7)))
        after = upgraded(client, (Setting.INITIAL_WINDOW_SIZE, 7), generous=False)
        stream = after.stream(1)
        assert after.until(lambda: len(stream.body) == 7)
        assert after.barrier()
        assert len(stream.body) == 7
        after.open_window(1, 993)
        assert len(after.response(1).body) == 1000


IGNORED = {
    "no HTTP2-Settings": (*WANTED,),
    "two HTTP2-Settings": (*WANTED, coded(), coded()),
    "HTTP2-Settings that are no base64": (*WANTED, "HTTP2-Settings: !!!"),
    "HTTP2-Settings of half a setting": (*WANTED, "HTTP2-Settings: AAAA"),
    "no Upgrade among the options of Connection": ("Connection: HTTP2-Settings", "Upgrade: h2c", coded()),
    "h2, which is for TLS": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2", coded()),
}


@pytest.mark.parametrize("what", IGNORED)
def test_an_upgrade_that_is_none(clear: Subject, what: str) -> None:
    """Served as HTTP/1.1, or refused; never half of it."""
    with clear.server.connect() as client:
        client.request("GET", "/", *IGNORED[what])
        response = client.response()
        assert response.status in (200, 400)
        assert response.status == 400 or response.text == "hello"


def test_a_preface_must_follow(clear: Subject) -> None:
    with clear.server.connect() as client:
        client.request("GET", "/", *WANTED, coded())
        assert client.head().status == 101
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP/1.1 200" not in client.rest()


def test_http1_beside_prior_knowledge(clear: Subject) -> None:
    assert clear.server.get("/").text == "hello"
    with clear.server.connect() as client:
        client.send(b"PRI")
        client.send(b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.rest().startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("at", [1, 3, 16, 18, 23])
def test_a_preface_in_pieces(clear: Subject, at: int) -> None:
    with clear.connect(opening=PREFACE[:at]) as client:
        client.send(PREFACE[at:], settings())
        client.stream(1)
        assert client.get().status == 200


# ---- What was not asked for -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def http1_only() -> Iterator[Subject]:
    with started("--no-http2", http2=False) as subject:
        yield subject


def test_without_the_option_there_is_no_http2(http1_only: Subject) -> None:
    with http1_only.connect() as client:
        assert client.end() is None
        assert client.http1.startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 400 "))
    with http1_only.server.connect() as client1:
        client1.request("GET", "/", *WANTED, coded())
        assert client1.response().status == 200


# ---- TLS ------------------------------------------------------------------------------------------------------------


def negotiated(subject: Subject, *protocols: str) -> tuple[str | None, bytes]:
    """What ALPN chose, and the answer to a request of HTTP/1.1 if it chose that or nothing."""
    assert subject.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    with (
        socket.create_connection(("127.0.0.1", subject.server.port), 30) as raw,
        context.wrap_socket(raw) as sock,
    ):
        chosen = sock.selected_alpn_protocol()
        if chosen == "h2":
            return chosen, b""
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answered = b""
        while piece := sock.recv(65_536):
            answered += piece
        return chosen, answered


def test_alpn(over_tls: Subject) -> None:
    assert negotiated(over_tls, "h2")[0] == "h2"
    assert negotiated(over_tls, "http/1.1", "h2")[0] == "h2"
    for protocols, chosen in ((("http/1.1",), "http/1.1"), ((), None), (("http/1.0",), None)):
        found, answered = negotiated(over_tls, *protocols)
        assert found == chosen
        assert answered.startswith(b"HTTP/1.1 200 ")


def test_an_upgrade_over_tls_is_ignored(over_tls: Subject) -> None:
    """RFC 7540 §3.3: h2c is for clear text."""
    assert over_tls.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with over_tls.server.connect(context) as client:
        client.request("GET", "/", *WANTED, coded())
        assert client.response().status == 200


def test_tls_offers_http2_without_being_asked() -> None:
    with started(tls=trustme.CA(), http2=False) as subject, subject.connect() as client:
        assert client.get().status == 200
