"""The attacks of the security suite, through nginx: it and the server never disagree about where a message ends.

nginx forgives other things than the server does, and what it forgives it sends on in its own words. So nothing is said here
about which of the two refuses. What has to hold is that every request which the application saw is one that nginx answered
to this client, in the same order, and that nothing is left over on the connections between the two, where the next
client would get it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from typing import Any

import pytest

from tests.conformance.responses import Answer, read_responses
from tests.conformance.security.rows import ROWS, Row
from tests.integration.stack import Stack

# nginx speaks HTTP/0.9, in which an answer is nothing but its body; the server is asked in HTTP/1.1 all the same.
NO_HEAD = b"HTTP/1.1 404 Not Found\r\nX-Seen: yes\r\nContent-Length: %d\r\n\r\n"
MARKER = b"GET /marker HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

#: Seconds without a word after which nginx is taken to wait for the client. Who ends its half while nginx has only been slow gets no answer
#: to what the application has seen: a client that has gone, to nginx.
MOMENT = 10


@pytest.fixture(scope="module")
def port(stack: Stack) -> int:
    """The published port, asked for once: compose takes a second to tell it."""
    return stack.port


def get(port: int, path: str) -> Any:
    """What the application answers to somebody else, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return json.load(connection.getresponse())


def converse(port: int, data: bytes, *, eof: bool) -> bytes:
    """All that comes back. A client that nginx waits for ends its half after a moment, and takes what still comes."""
    answered = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(data)
            if eof:
                connection.shutdown(socket.SHUT_WR)
            connection.settimeout(MOMENT)
            while piece := _receive(connection):
                answered.append(piece)
        except ConnectionError:
            pass  # nginx closes on a request that it refuses while more of it comes
    return b"".join(answered)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except TimeoutError:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30)
        return connection.recv(65536)


def paths(answers: list[Answer]) -> list[str]:
    """The requests that the application answered: it says which in every answer."""
    return [
        json.loads(answer.body)["path"] if answer.body else "HEAD"
        for answer in answers
        if "x-seen" in answer.fields
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_both_see_the_same_messages(port: int, row: Row) -> None:
    get(port, "/seen")
    raw = converse(port, row.raw + (b"" if row.last or row.eof else MARKER), eof=row.eof)
    if raw.startswith(b"{"):
        raw = NO_HEAD % len(raw) + raw
    answers = read_responses(raw, bodiless=frozenset(row.heads))
    reached = get(port, "/seen")

    # What nginx takes for a request of its own, behind a line that ends with LF for instance, is one to both.
    complete = ["HEAD" if one["method"] == "HEAD" else one["path"] for one in reached if one["complete"]]
    assert paths(answers) == complete
    assert len(complete) == len(reached), "half a request"
    assert "/marker" not in complete[:-1], "something behind the last request"

    # Nothing is left on the kept connections for whoever comes next.
    probes = [f"/probe-{number}" for number in range(3)]
    assert [get(port, probe) for probe in probes] == [{"path": probe} for probe in probes]
    assert [one["path"] for one in get(port, "/seen")] == probes
