"""HTTP/2 that says two things about where a request ends: what reaches the application over HTTP/1.1 is what nginx answered.

The frames are written without the checks that a client's library makes. As in test_smuggling.py, nothing is said of which requests are refused:
the application saw those that were answered, whole, and nothing is left over on the connections behind for whoever comes next.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset

from tests.integration.stack import Stack

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True)
class Row:
    name: str
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    method: str = "POST"
    path: str = "/one"


ROWS = [
    Row("Transfer-Encoding", (("transfer-encoding", "chunked"),), b"0\r\n\r\n" + SMUGGLED),
    Row(
        "Transfer-Encoding and Content-Length",
        (("transfer-encoding", "chunked"), ("content-length", "5")),
        b"0\r\n\r\n" + SMUGGLED,
    ),
    Row("TE", (("te", "chunked"),), SMUGGLED),
    Row("Content-Length too small", (("content-length", "0"),), SMUGGLED),
    Row("Content-Length too large", (("content-length", "500"),), SMUGGLED),
    Row("two Content-Lengths", (("content-length", "0"), ("content-length", str(len(SMUGGLED)))), SMUGGLED),
    Row("Content-Length of a sign", (("content-length", f"+{len(SMUGGLED)}"),), SMUGGLED),
    Row("CRLF in a value", (("x-a", "b\r\ntransfer-encoding: chunked"),), b"0\r\n\r\n" + SMUGGLED),
    Row("LF in a value", (("x-a", "b\n\nGET /smuggled HTTP/1.1\nHost: a"),)),
    Row("CRLF in a name", (("x-a: b\r\ncontent-length", "0"),), SMUGGLED),
    Row("a colon in a name", (("transfer-encoding: chunked\r\nx", "y"),), b"0\r\n\r\n" + SMUGGLED),
    Row("a space in a name", (("transfer-encoding ", "chunked"),), b"0\r\n\r\n" + SMUGGLED),
    Row("an upper case name", (("Transfer-Encoding", "chunked"),), b"0\r\n\r\n" + SMUGGLED),
    Row("a method with a line in it", method="GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET"),
    Row("a path with a line in it", path="/one HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled"),
    Row("a path with a space in it", path="/one /two"),
    Row("Connection", (("connection", "keep-alive, transfer-encoding"),), SMUGGLED),
    Row("Upgrade", (("upgrade", "websocket"), ("connection", "upgrade")), SMUGGLED, method="GET"),
    Row("another Host", (("host", "evil.example"),), SMUGGLED),
    Row("Expect", (("expect", "100-continue"), ("content-length", str(len(SMUGGLED)))), SMUGGLED),
]


def converse(stack: Stack, row: Row) -> bytes | None:
    """The body of the answer to one request that the application answered; None if it did not."""
    context = stack.trust()
    context.set_alpn_protocols(["h2"])
    settings = H2Configuration(
        header_encoding=None,
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
        validate_inbound_headers=False,
    )
    h2 = H2Connection(settings)
    h2.initiate_connection()
    pseudo = [(":method", row.method), (":scheme", "https"), (":authority", "a"), (":path", row.path)]
    h2.send_headers(1, [*pseudo, *row.fields], end_stream=not row.body)
    if row.body:
        h2.send_data(1, row.body, end_stream=True)
    seen, body = False, b""
    with (
        socket.create_connection(("127.0.0.1", stack.tls_port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"
        connection.sendall(h2.data_to_send())
        while data := connection.recv(65536):
            for event in h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    seen = (b"x-seen", b"yes") in event.headers
                elif isinstance(event, DataReceived):
                    body += event.data
                elif isinstance(event, StreamEnded | StreamReset | ConnectionTerminated):
                    return body if seen else None
    return None


@pytest.fixture
def others(client: httpx.Client) -> Iterator[httpx.Client]:
    """Somebody else, before whom nothing has been remembered."""
    client.get("/seen")
    yield client
    client.get("/seen")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_request_is_one_request(stack: Stack, others: httpx.Client, row: Row) -> None:
    answered = converse(stack, row)
    reached = others.get("/seen").json()

    assert [one["path"] for one in reached] == ([] if answered is None else [json.loads(answered)["path"]])
    assert all(one["complete"] for one in reached)
    assert "/smuggled" not in [one["path"] for one in reached]

    probes = [f"/probe-{number}" for number in range(3)]
    assert [others.get(probe).json()["path"] for probe in probes] == probes
    assert [one["path"] for one in others.get("/seen").json()] == probes
