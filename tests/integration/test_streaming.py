"""What an application streams arrives piece by piece, in an order that no clock has to prove: it sends its next piece only after
the client, having read the one before, has asked for it in another request."""

from __future__ import annotations

import secrets

import httpx
import pytest

from tests.integration.stack import Stack


@pytest.mark.parametrize(
    ("events", "piece"), [("0", "piece {}\n"), ("1", "data: {}\n\n")], ids=["plain", "server-sent events"]
)
def test_each_piece_arrives_before_the_next_is_sent(
    stack: Stack, client: httpx.Client, events: str, piece: str
) -> None:
    gate = secrets.token_hex(4)
    with stack.client() as other, client.stream("GET", f"/stream?gate={gate}&sse={events}") as answer:
        pieces = answer.iter_text()
        for number in range(3):
            if number:
                assert other.get(f"/step?gate={gate}").status_code == 200
            assert next(pieces) == piece.format(number)
        assert not list(pieces)


def test_event_streams_say_what_they_are_and_keep_nginx_hint_to_themselves(
    stack: Stack, client: httpx.Client
) -> None:
    gate = secrets.token_hex(4)
    with stack.client() as other:
        for _ in range(2):
            other.get(f"/step?gate={gate}")
    answer = client.get(f"/stream?gate={gate}&sse=1", headers={"Accept-Encoding": "gzip"})

    assert answer.headers["content-type"] == "text/event-stream"
    assert "content-encoding" not in answer.headers
    assert "x-accel-buffering" not in answer.headers
    assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
