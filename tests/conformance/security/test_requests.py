"""What a client sends, row by row, over real sockets: alone, behind a good request, and in pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance.disagreements import STATUSES
from tests.conformance.responses import read_responses
from tests.conformance.security.conftest import NEXT, Subject
from tests.conformance.security.rows import ROWS, Row

EACH_ROW = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
REFUSED = "Invalid HTTP request received: "
FIRST = b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"


def check(row: Row, subject: Subject, *pieces: bytes, before: int = 0) -> None:
    """`before` requests are in `pieces` ahead of the row, and one behind it, unless nothing may follow."""
    if row.name in STATUSES:
        httptools, h11, _ = STATUSES[row.name]
        status = h11 if subject.parser == "h11" else httptools
        row = replace(row, status=status, served=row.served + (status is None))
    raw = subject.send(*pieces, eof=row.eof)
    seen = subject.seen()
    answers = read_responses(raw, bodiless=frozenset(before + index for index in row.heads))
    final = [answer for answer in answers if answer.status >= 200]
    whole = [request for request in seen if request["complete"]]
    served = row.served + before
    if row.status is None and tail(row):
        served += 1
        assert whole[-1]["path"] == "/next"
    assert len(whole) == served, seen
    assert not any("smuggled" in request["path"] for request in seen)
    assert [answer.status for answer in final[:served]] == [200] * served
    # A request that breaks off may have begun; one whose head is refused has not.
    assert len(seen) <= served + row.begins
    refusals = [answer.status for answer in final[served:]]
    if row.status is None:
        assert not refusals
        if row.seen:
            *sent, (name, _) = (tuple(field) for field in whole[before + row.served - 1]["headers"])
            # The server's own comes last.
            assert (sent, name) == (list(row.seen), "x-request-id")
        assert not any("x-forwarded-for" in dict(request["headers"]) for request in whole)
    else:
        assert refusals == [row.status]
        assert final[-1].fields["connection"] == "close"
        # RFC 9110 §15.5.6: a 405 says which methods there are instead. A proxy's CONNECT has none.
        assert final[-1].fields.get("allow") == ("" if row.status == 405 else None)


def tail(row: Row) -> bytes:
    return b"" if row.last or row.eof else NEXT


@EACH_ROW
def test_alone(subject: Subject, row: Row) -> None:
    check(row, subject, row.raw + tail(row))


@EACH_ROW
def test_behind_a_good_request_in_one_read(subject: Subject, row: Row) -> None:
    check(row, subject, FIRST + row.raw + tail(row), before=1)


@EACH_ROW
def test_in_pieces(subject: Subject, row: Row) -> None:
    raw = row.raw + tail(row)
    size = 1 if len(raw) < 200 else max(7, len(raw) // 50)
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    check(row, subject, *pieces)


def test_rows_have_names_of_their_own() -> None:
    names = [row.id for row in ROWS]
    assert len(set(names)) == len(names)
    assert set(STATUSES) <= {row.name for row in ROWS}


def test_both_servers_go_on(subject: Subject) -> None:
    """After everything above: no traceback, no complaint but the refusals, and an answer."""
    assert subject.send(NEXT).startswith(b"HTTP/1.1 200 ")
    subject.seen()
    printed = subject.server.stderr.so_far()
    assert [line for line in printed if REFUSED not in line and "INFO" not in line] == []
