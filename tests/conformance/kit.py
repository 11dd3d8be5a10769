"""The kit that every parser behind `wire.ports.HttpParser` has to pass.

`check_http_parser` feeds one golden request in pieces and compares every call that the parser makes with the outcome
that lies beside it, and checks the promises of the port on the way: the order of calls, silence after `on_lost`, and
`idle` between messages only.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pronghorn.wire.ports import HttpParser, Inbound, RequestError, RequestHead

REQUESTS = Path(__file__).parent / "requests"

MakeParser = Callable[[Inbound], HttpParser]


@dataclass
class Golden:
    """One request file and what has to come of it; `error` is the status that refuses it, or None."""

    name: str
    raw: bytes
    requests: list[dict[str, Any]]
    error: int | None
    eof: bool


def load(path: Path) -> Golden:
    expected = json.loads(path.with_suffix(".json").read_text())
    return Golden(
        name=path.stem,
        raw=path.read_bytes(),
        requests=[{"complete": True, **request} for request in expected["requests"]],
        error=expected.get("error"),
        eof=expected.get("eof", False),
    )


ALL = [load(path) for path in sorted(REQUESTS.glob("*.http"))]


@dataclass
class Recorded:
    """An `Inbound` that checks the order of calls as they come."""

    heads: list[RequestHead] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    complete: list[bool] = field(default_factory=list)
    error: RequestError | None = None

    def on_head(self, head: RequestHead) -> None:
        assert self.error is None
        assert not self.complete or self.complete[-1], "a head inside a message"
        self.heads.append(head)
        self.bodies.append(b"")
        self.complete.append(False)

    def on_body(self, data: bytes) -> None:
        assert self.error is None
        assert self.complete, "a body without a head"
        assert not self.complete[-1], "a body behind its end"
        assert type(data) is bytes
        assert data, "an empty piece says nothing"
        self.bodies[-1] += data

    def on_end(self) -> None:
        assert self.error is None
        assert not self.complete[-1], "a second end"
        self.complete[-1] = True

    def on_upgrade(self, data: bytes) -> None:
        raise AssertionError("nobody has taken the head")

    def on_lost(self, exc: RequestError) -> None:
        assert self.error is None, "lost twice"
        self.error = exc


def check_http_parser(make: MakeParser, golden: Golden, pieces: Iterable[bytes]) -> None:
    inbound = Recorded()
    parser = make(inbound)
    assert parser.idle is True
    for piece in pieces:
        parser.feed(piece)
    if golden.eof:
        assert inbound.error is None, inbound.error
        parser.feed_eof()
    found = [describe(*seen) for seen in zip(inbound.heads, inbound.bodies, inbound.complete, strict=True)]
    for request, expected in zip(found, golden.requests, strict=True):
        assert {key: request[key] for key in expected} == expected
    assert (inbound.error.status if inbound.error else None) == golden.error, inbound.error
    if golden.error is None:
        assert parser.idle is True
        parser.feed_eof()
        assert inbound.error is None, "the end of the stream between messages is no error"
    else:
        before = len(inbound.heads)
        parser.feed(b"GET /after HTTP/1.1\r\nHost: example.org\r\n\r\n")
        parser.feed_eof()
        assert len(inbound.heads) == before, "a request behind a bad one was read"


def describe(head: RequestHead, body: bytes, complete: bool) -> dict[str, Any]:
    return {
        "method": head.method,
        "target": head.target.decode("latin-1"),
        "raw_path": head.raw_path.decode("latin-1"),
        "query": head.query.decode("latin-1"),
        "http_version": head.http_version,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in head.headers],
        "body": body.decode("latin-1"),
        "complete": complete,
        "keep_alive": head.keep_alive,
        "expects_continue": head.expects_continue,
    }
