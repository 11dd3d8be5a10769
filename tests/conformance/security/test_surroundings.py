"""The rows of security.md about logs, trust and exhaustion, as far as one server over HTTP/1.1 shows them."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Callable
from types import ModuleType

import pytest

from pronghorn.middleware import forwarded
from pronghorn.wire import chunked, h1_h11, h1_httptools, h1_request, h1_response, headers
from tests.conformance.responses import read_responses
from tests.conformance.security.conftest import NEXT, Subject
from tests.support import kernel
from tests.support.waiting import until

# Logs (CVE-2020-7694).

NASTY = {
    "colour in the path": "/{mark}%1b[31mforged",
    "line end in the path": "/{mark}%0d%0aINFO:%20forged",
    "line end in the query": "/{mark}?a=%0aforged",
    "NUL and DEL": "/{mark}%00%7fforged",
    "C1 controls and line separators": "/{mark}%c2%9b31m%e2%80%a8forged",
    "no UTF-8": "/{mark}%ff%fe%0aforged",
    "quotes and backslashes": '/{mark}"\\%22%5c%0aforged',
}


@pytest.mark.parametrize("row", NASTY)
def test_one_line_an_event(subject: Subject, row: str) -> None:
    mark = f"log-{list(NASTY).index(row)}-"
    subject.send(f"GET {NASTY[row].format(mark=mark)} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + NEXT)
    subject.seen()
    line = subject.server.stdout.wait_for(mark)
    assert line.isprintable()
    assert "forged" in line, "all of it in one line"
    if line.startswith("{"):
        assert json.loads(line)


@pytest.mark.parametrize("method", ["F%0aOO", "F'`|~^OO"])
def test_a_method_is_logged_as_it_came(subject: Subject, method: str) -> None:
    """Any token is a method to h11; none of their characters ends a line, and nothing is decoded."""
    raw = subject.send(f"{method} /method-{len(method)} HTTP/1.1\r\nHost: a\r\n\r\n".encode() + NEXT)
    subject.seen()
    if subject.parser == "httptools":
        assert raw.startswith(b"HTTP/1.1 400 ")
    else:
        line = subject.server.stdout.wait_for(f"/method-{len(method)} ")
        assert line.isprintable()
        assert method in line


@pytest.mark.parametrize(
    "claimed", ["6.6.6.6%0d%0aforged", "6.6.6.6\tforged", '6.6.6.6" forged', "\x9b31mforged"]
)
def test_a_claimed_address_that_is_none_is_in_no_log(subject: Subject, claimed: str) -> None:
    mark = f"claim-{len(claimed)}-{claimed.isascii()}"
    request = f"GET /{mark} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {claimed}\r\n\r\n"
    subject.send(request.encode("latin-1") + NEXT)
    subject.seen()
    line = subject.server.stdout.wait_for(mark)
    assert line.isprintable()
    assert "forged" not in line


# Trust.

TRUST = {
    # What a client may claim: the address that a server believes which trusts its peer, and 127.0.0.1 beside it.
    ("X-Forwarded-For: 6.6.6.6",): "6.6.6.6",
    ("X-Forwarded-For: 6.6.6.6, 127.0.0.1",): "6.6.6.6",
    ("X-Forwarded-For: 6.6.6.6, 7.7.7.7",): "7.7.7.7",
    ("X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7"): "7.7.7.7",
    ("X-Forwarded-For: 6.6.6.6, nobody",): None,
    ("X-Forwarded-For: 6.6.6.6, 127.0.0.1.1",): None,
    ("X_Forwarded_For: 6.6.6.6",): None,
    ("X-Real-IP: 6.6.6.6",): None,
    ("Forwarded: for=6.6.6.6",): None,
}


@pytest.mark.parametrize("fields", TRUST, ids=" + ".join)
def test_who_the_client_is(subject: Subject, fields: tuple[str, ...]) -> None:
    lines = "\r\n".join(["GET /who HTTP/1.1", "Host: a", *fields, "", ""])
    subject.send(lines.encode() + NEXT)
    peer = "127.0.0.1" if subject.name.endswith("tcp") else None
    trusted = subject.name in {"httptools-tcp", "h11-unix"}
    assert subject.seen()[0]["client"] == ((TRUST[fields] if trusted else None) or peer)


# Exhaustion.


def descriptors(subject: Subject) -> int:
    return len(kernel.descriptors(subject.server.pid))


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=["nothing", "half a line", "a request", "half a body", "half a chunk", "a bad request"],
)
@pytest.mark.parametrize("end", ["reset", "half-open"])
def test_a_peer_that_goes_leaves_nothing_behind(subject: Subject, sent: bytes, end: str) -> None:
    subject.seen()
    before = descriptors(subject)
    clients = [subject.server.connect() for _ in range(20)]
    for client in clients:
        client.send(sent)
        if end == "reset":
            if client.sock.family == socket.AF_INET:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sock.close()
        else:
            client.sock.shutdown(socket.SHUT_WR)
            raw = client.rest()
            assert all(one.status in {200, 400} for one in read_responses(raw))
    # Served in the order of their coming: when this one is answered, those above were taken in.
    assert subject.send(NEXT).startswith(b"HTTP/1.1 200 ")
    until(lambda: descriptors(subject) <= before, "some stay open")
    for client in clients:
        client.sock.close()
    subject.seen()  # or the next test takes them for its own


LONG = 1_000_000
LINEAR: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "Host, a name": (h1_request._HOST, b"a" * LONG + b"@"),
    "Host, colons": (h1_request._HOST, b":" * LONG),
    "Host, an address": (h1_request._HOST, b"[" + b":" * LONG),
    "target, slashes": (h1_request._ABSOLUTE, b"http://" + b"/" * LONG + b"#"),
    "target, questions": (h1_request._ABSOLUTE, b"http://a" + b"?" * LONG + b"#"),
    "line, one token": (h1_request._REQUEST_LINE, b"a" * LONG),
    "line, one target": (h1_request._REQUEST_LINE, b"a " + b"a" * LONG),
    "field, spaces": (h1_request._FIELD, b"a:" + b" " * LONG + b"\0"),
    "field, a name": (h1_request._FIELD, b"a" * LONG),
    "name of a response field": (headers._NAME, b"a" * LONG + b" "),
    "value of a response field": (headers._VALUE, b" " * LONG + b"\n"),
    "Forwarded, a name": (forwarded.element, b"a" * LONG),
    "Forwarded, spaces": (forwarded.element, b"a=b" + b" " * LONG + b"c"),
    "Forwarded, a quoted string": (forwarded.element, b'a="' + b'\\"' * (LONG // 2)),
    "Forwarded, empty pairs": (forwarded.element, b";" * LONG + b"\0"),
    "hidden port": (forwarded._HIDDEN_PORT, b":" * LONG),
    "prefix": (forwarded.prefix, b"/a" * (LONG // 2) + b"//b"),
    "chunk, extensions": (chunked._SIZE_LINE, b"1" + b";a=b" * (LONG // 4) + b" "),
    "chunk, a quoted string": (chunked._SIZE_LINE, b'1;a="' + b'\\"' * (LONG // 2)),
    "chunk, a beginning": (chunked._BEGINNING, b"1;" + b";" * LONG + b"\0"),
}


# Not held against a million bytes: what the name of the expression stands for is bounded before, or a part of one above.
BOUNDED = {"_PAIR", "_ESCAPED", "_AUTHORITY", "_PREFIX", "_TOKEN", "_BARE_LF"}


@pytest.mark.parametrize(
    "module", [h1_request, h1_httptools, h1_h11, h1_response, chunked, headers, forwarded]
)
def test_every_expression_is_held_to_it(module: ModuleType) -> None:
    held = [match for match, _ in LINEAR.values()]
    for name, value in vars(module).items():
        if isinstance(getattr(value, "__self__", value), re.Pattern):
            assert name in BOUNDED or value in held, name


@pytest.mark.parametrize("name", LINEAR)
def test_no_expression_is_worse_than_linear(name: str) -> None:
    """A million bytes made to match until the very end. At a quadratic cost this would not return within an hour."""
    match, text = LINEAR[name]
    assert match(text) is None
