"""What an application sends, row by row: one framing on the wire, and the next pipelined response is where it belongs."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.conformance.responses import read_responses
from tests.conformance.security.conftest import NEXT, Subject
from tests.conformance.security.replies import REPLIES, Reply


@pytest.mark.parametrize("reply", REPLIES.values(), ids=lambda reply: f"{reply.name} {reply.cve}".strip())
def test_reply(subject: Subject, reply: Reply) -> None:
    line = f"{reply.method} /send/{quote(reply.name)} HTTP/{reply.version}\r\nHost: a\r\n\r\n"
    before = sum(reply.logged in text for text in subject.server.stderr.so_far())
    raw = subject.send(line.encode() + NEXT)
    paths = [request["path"] for request in subject.seen()]
    if reply.cut:
        head, _, rest = raw.partition(b"\r\n\r\n")
        assert (head.split(b" ")[1], rest) == (b"%d" % reply.status, reply.body)
    else:
        answers = read_responses(raw, bodiless=frozenset({0} if reply.method == "HEAD" else ()))
        assert [(one.status, one.body) for one in answers] == [
            (reply.status, reply.body),
            *([] if reply.closes else [(200, b"seen")]),
        ]
        assert {name: answers[0].fields.get(name) for name in reply.fields} == reply.fields
        assert (answers[0].fields.get("connection") == "close") is reply.closes
    assert paths == ([] if reply.closes else ["/next"])
    if reply.logged:
        subject.server.stderr.wait_for(reply.logged, count=before + 1)
