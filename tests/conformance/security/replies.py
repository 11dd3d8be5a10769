"""The rows of security.md that are about what an application sends: its events, and what may stand on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What goes out for `events`: a status, a body, and fields that have to be there with this value or, if None, not.

    `closes` says that the connection is over after it; `logged` is part of a line that the server writes about it.
    """

    name: str
    events: list[dict[str, Any]]
    status: int = 200
    body: bytes = b""
    fields: Mapping[str, str | None] = field(default_factory=dict)
    closes: bool = False
    cut: bool = False
    logged: str = ""
    method: str = "GET"
    version: str = "1.1"
    cve: str = ""


def start(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


def last(body: bytes = b"") -> dict[str, Any]:
    return {"type": "http.response.body", "body": body}


ERROR = b"Internal Server Error"
LENGTH = b"content-length"
BODILESS = {"content-length": None, "transfer-encoding": None}


def _refused(name: str, *headers: tuple[bytes, bytes], cve: str = "") -> list[Reply]:
    """Fields that are not put on the wire, in a response of one piece and in one that goes on."""
    answer: dict[str, Any] = {
        "status": 500,
        "body": ERROR,
        "closes": True,
        "logged": "InvalidResponse",
        "fields": {"x-smuggled": None, "set-cookie": None},
        "cve": cve,
    }
    return [
        Reply(name, [start(*headers), last(b"body")], **answer),
        Reply(f"{name}, streamed", [start(*headers), piece(b"body"), last()], **answer),
    ]


def _bodiless(status: int) -> list[Reply]:
    length: dict[str, str | None] = {} if status == 304 else {"content-length": None}
    return [
        Reply(f"{status} with a body", [start(status=status), last(b"body")], status, fields=BODILESS),
        Reply(
            f"{status} with a length",
            [start((LENGTH, b"4"), status=status), last(b"body")],
            status,
            fields={**length, "transfer-encoding": None},
        ),
        Reply(
            f"{status} streamed", [start(status=status), piece(b"bo"), last(b"dy")], status, fields=BODILESS
        ),
    ]


def _head(name: str, *events: dict[str, Any], length: str | None) -> Reply:
    fields = {"content-length": length, "transfer-encoding": None}
    return Reply(f"HEAD, {name}", list(events), fields=fields, method="HEAD")


_ALL = [
    *_refused("CR LF in a value", (b"x", b"a\r\nx-smuggled: 1"), cve="CVE-2020-7695"),
    *_refused("LF in a value", (b"x", b"a\nx-smuggled: 1"), cve="CVE-2020-7695"),
    *_refused("CR in a value", (b"x", b"a\rx-smuggled: 1"), cve="CVE-2020-7695"),
    *_refused("NUL in a value", (b"x", b"a\0b")),
    *_refused("an empty line in a value", (b"x", b"a\r\n\r\n<script>"), cve="CVE-2020-7695"),
    *_refused("CR LF in a name", (b"x: 1\r\nset-cookie", b"a"), cve="CVE-2020-7695"),
    *_refused("an empty name", (b"", b"a")),
    *_refused("a space in a name", (b"x y", b"a")),
    *_refused("a colon in a name", (b"x:", b"a")),
    *_refused("a name above ASCII", (b"x\xe4", b"a")),
    *_refused("a bad field behind a good one", (b"set-cookie", b"a"), (b"x", b"\n")),
    *_refused("Content-Length that is none", (LENGTH, b"4, 4")),
    *_refused("negative Content-Length", (LENGTH, b"-1")),
    *_refused("two different lengths", (LENGTH, b"4"), (LENGTH, b"5")),
    *_bodiless(204),
    *_bodiless(304),
    _head("body of one piece", start(), last(b"body"), length="4"),
    _head("declared length", start((LENGTH, b"9")), last(), length="9"),
    _head("streamed", start(), piece(b"bo"), last(b"dy"), length=None),
    Reply("the same length twice", [start((LENGTH, b"4"), (LENGTH, b"4")), last(b"body")], body=b"body",
          fields={"content-length": "4"}),
    Reply("length and chunks", [start((LENGTH, b"4"), (b"transfer-encoding", b"chunked")), last(b"body")], body=b"body",
          fields={"content-length": "4", "transfer-encoding": None}),
    Reply("chunks in chunks", [start((b"transfer-encoding", b"chunked")), piece(b"4\r\n"), last(b"body\r\n0\r\n\r\n")],
          body=b"4\r\nbody\r\n0\r\n\r\n", fields={"content-length": None, "transfer-encoding": "chunked"}),
    Reply("another coding", [start((b"transfer-encoding", b"gzip")), piece(b"bo"), last(b"dy")], body=b"body",
          fields={"content-length": None, "transfer-encoding": "chunked"}),
    Reply("more than declared", [start((LENGTH, b"2")), last(b"body")], body=b"bo", logged="is longer than"),
    Reply("more than declared, streamed", [start((LENGTH, b"3")), piece(b"bo"), piece(b"dy"), last(b"!")], body=b"bod",
          logged="is longer than"),
    Reply("less than declared", [start((LENGTH, b"9")), last(b"body")], body=b"body", closes=True, cut=True,
          logged="is shorter than"),
    Reply("less than declared, streamed", [start((LENGTH, b"9")), piece(b"body"), last()], body=b"body", closes=True,
          cut=True, logged="is shorter than"),
    Reply("status 101 as a final one", [start(status=101), last()], 500, ERROR, closes=True, logged="is no final HTTP status"),
    Reply("status 199 as a final one", [start(status=199), last()], 500, ERROR, closes=True, logged="is no final HTTP status"),
    Reply("status 600", [start(status=600), last()], 500, ERROR, closes=True, logged="is no final HTTP status"),
    Reply("two starts", [start(), start(status=201), last()], 500, ERROR, closes=True, logged="Expected ASGI message"),
    Reply("body before a start", [last(b"body")], 500, ERROR, closes=True, logged="Expected ASGI message"),
    Reply("nothing at all", [], 500, ERROR, closes=True, logged="returned without starting response"),
    Reply("HTTP/1.0 without a length", [start(), piece(b"bo"), last(b"dy")], body=b"body", closes=True, version="1.0",
          fields={"content-length": None, "transfer-encoding": None}),
    Reply("HTTP/1.0 and a chunked application", [start((b"transfer-encoding", b"chunked")), piece(b"body"), last()],
          body=b"body", closes=True, version="1.0", fields={"transfer-encoding": None}),
]  # fmt: skip

REPLIES = {reply.name: reply for reply in _ALL}
assert len(REPLIES) == len(_ALL)
