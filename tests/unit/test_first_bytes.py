"""One port for HTTP/1.1 and HTTP/2: which one it is, from the first bytes, from ALPN, or from `Upgrade: h2c`."""

from __future__ import annotations

from typing import Any

import pytest
from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection as H2Client

from pronghorn.net.first_bytes import FirstBytes
from pronghorn.net.h1_connection import H1Connection
from pronghorn.net.service import Service
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.h2_frames import PREFACE, settings
from tests.support.h2_client import http2
from tests.support.scripted import PARSERS, ScriptedTransport, make_service, turns

GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The version, and the body, in one piece."""
    body: bytes = b""
    more = True
    while more:
        event = await receive()
        body += event["body"]
        more = event["more_body"]
    names = b",".join(name for name, _ in scope["headers"])
    await send({"type": "http.response.start", "status": 200})
    await send(
        {"type": "http.response.body", "body": b"%b %b %b" % (scope["http_version"].encode(), names, body)}
    )


def connected(service: Service, protocol: Any = None) -> ScriptedTransport:
    transport = ScriptedTransport()
    transport.connect(protocol or FirstBytes(service))
    return transport


@pytest.mark.parametrize("cuts", [[], [1], [3], [16], [23], [1, 2, 3]])
async def test_preface_is_http_2_however_it_comes(cuts: list[int]) -> None:
    service = make_service(app, http2=http2(clear=True))
    transport = connected(service)
    opening = PREFACE + settings({})
    for begin, end in zip([0, *cuts], [*cuts, len(opening)], strict=True):
        transport.feed(opening[begin:end])
    await turns()
    assert bytes(transport.written[3:5]) == b"\x04\x00"  # SETTINGS
    assert len(service.connections) == 1


@pytest.mark.parametrize(
    "first", [GET, b"P" + b"OST" + GET[3:], b"PRI * HTTP/1.1\r\nHost: example.org\r\n\r\n"]
)
async def test_anything_else_is_http_1(first: bytes) -> None:
    service = make_service(app, http2=http2(clear=True))
    transport = connected(service)
    transport.feed(first[:1])
    assert transport.written == b""
    transport.feed(first[1:])
    await turns()
    assert transport.written.startswith(b"HTTP/1.1 ")


async def test_other_version_of_the_preface_is_refused() -> None:
    transport = connected(make_service(app, http2=http2(clear=True)))
    transport.feed(b"PRI * HTTP/2.0\r\n\r\nXX")
    await turns()
    assert transport.written.startswith(b"HTTP/1.1 505 ") or transport.written.startswith(b"HTTP/1.1 400 ")


async def test_who_says_nothing_is_closed_in_time() -> None:
    service = make_service(app, http2=http2(clear=True))
    transport = connected(service)
    transport.feed(PREFACE[:5])
    for _ in range(service.header_ticks):
        assert not transport.closed
        service.deadlines.advance()
    assert transport.closed
    await turns()
    assert (service.connections, len(service.deadlines)) == (set(), 0)


async def test_drain_closes_who_has_said_nothing() -> None:
    service = make_service(app, http2=http2(clear=True))
    transport = connected(service)
    (waiting,) = service.connections
    assert waiting.fresh
    assert not waiting.busy
    waiting.shutdown()
    assert transport.closed


# Upgrade: h2c.


def asking(*lines: str, settings_line: str = "AAMAAABkAAQAoAAAAAIAAAAA", body: bytes = b"") -> bytes:
    head = [
        "POST /a HTTP/1.1" if body or lines else "GET /a HTTP/1.1",
        *(
            "Host: example.org",
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            f"HTTP2-Settings: {settings_line}",
        ),
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize("parser", sorted(PARSERS))
@pytest.mark.parametrize(
    ("request_bytes", "body"),
    [
        (asking(), b""),
        (asking("Content-Length: 5", body=b"hello"), b"hello"),
        (asking("Transfer-Encoding: chunked", body=b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), b"hello"),
    ],
)
async def test_upgrade_keeps_the_body_and_answers_on_stream_1(
    parser: str, request_bytes: bytes, body: bytes
) -> None:
    service = make_service(app, parser=parser, http2=http2(clear=True))
    transport = connected(service, H1Connection(service))
    for place in range(len(request_bytes)):
        transport.feed(request_bytes[place : place + 1])
    await turns()
    head, _, rest = bytes(transport.written).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"upgrade: h2c\r\nconnection: Upgrade" in head
    client = H2Client(H2Configuration(client_side=True, header_encoding=None))
    client.initiate_upgrade_connection()
    transport.feed(client.data_to_send())
    await turns()
    seen = client.receive_data(rest + bytes(transport.written[len(head) + 4 + len(rest) :]))
    data = b"".join(event.data or b"" for event in seen if isinstance(event, events.DataReceived))
    names = b"host,content-length" if b"Content-Length" in request_bytes else b"host"
    assert data == b"2 " + names + b" " + body
    assert any(isinstance(event, events.StreamEnded) and event.stream_id == 1 for event in seen)
    assert service.active == 0
    assert service.requests == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        asking().replace(b"Connection: Upgrade, HTTP2-Settings", b"Connection: Upgrade"),
        asking().replace(b"HTTP2-Settings: A", b"X-Nothing: A"),
        asking("HTTP2-Settings: AAMAAABk"),
        asking(settings_line="not*base64"),
        asking(settings_line="AAMAAABkAA"),
        asking(settings_line="AAT_____"),  # a window above the largest there is
        asking("Content-Length: 40000", body=bytes(40_000)),
        asking("Transfer-Encoding: chunked", body=b"9c40\r\n%b\r\n0\r\n\r\n" % bytes(40_000)),
    ],
)
async def test_upgrade_is_ignored_where_it_is_asked_for_wrongly_or_the_body_is_large(
    request_bytes: bytes,
) -> None:
    service = make_service(app, http2=http2(clear=True))
    transport = connected(service, H1Connection(service))
    transport.feed(request_bytes)
    await turns(10)
    assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
    transport.written.clear()
    transport.feed(GET)  # and the connection goes on
    await turns(10)
    assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("spoken", [None, http2()])
async def test_upgrade_is_ignored_where_nobody_speaks_it_in_clear_text(spoken: Any) -> None:
    service = make_service(app, http2=spoken)
    transport = connected(service, H1Connection(service))
    transport.feed(asking())
    await turns()
    assert transport.written.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_upgrade_with_another_request_behind_it_is_ignored() -> None:
    service = make_service(app, http2=http2(clear=True))
    transport = connected(service, H1Connection(service))
    transport.feed(asking() + GET)
    await turns(10)
    assert transport.written.count(b"HTTP/1.1 200 OK\r\n") == 2
