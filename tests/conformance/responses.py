"""Takes the bytes that a server wrote on one connection apart, and is strict about them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Answer:
    """One response as it stood on the wire; interim ones (1xx) have a status and nothing else."""

    status: int
    fields: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def read_responses(raw: bytes, *, bodiless: frozenset[int] = frozenset()) -> list[Answer]:
    """All responses in `raw`, which ends where the connection did. `bodiless` are the indexes of answers to HEAD."""
    answers: list[Answer] = []
    while raw:
        head, end, raw = raw.partition(b"\r\n\r\n")
        assert end, f"half a head: {head!r}"
        line, *lines = head.split(b"\r\n")
        version, status, _ = line.decode("ascii").split(" ", 2)
        assert version == "HTTP/1.1"
        answer = Answer(int(status))
        for item in lines:
            name, colon, value = item.decode("latin-1").partition(": ")
            assert colon, item
            assert name.lower() not in answer.fields, f"{name} twice"
            answer.fields[name.lower()] = value
        raw = _read_body(answer, raw, index=sum(one.status >= 200 for one in answers), bodiless=bodiless)
        answers.append(answer)
    return answers


def _read_body(answer: Answer, raw: bytes, *, index: int, bodiless: frozenset[int]) -> bytes:
    """Read the body into `answer` (RFC 9112 §6.3); returns what lies behind it."""
    length, coding = answer.fields.get("content-length"), answer.fields.get("transfer-encoding")
    assert length is None or coding is None, "two ways to find the end of the body"
    if answer.status < 200 or answer.status in (204, 304) or index in bodiless:
        return raw
    if coding is not None:
        assert coding == "chunked"
        while True:
            size, end, raw = raw.partition(b"\r\n")
            assert end, "half a chunk"
            count = int(size, 16)
            answer.body += raw[:count]
            assert raw[count : count + 2] == b"\r\n", "a chunk that does not end"
            raw = raw[count + 2 :]
            if not count:
                return raw
    if length is not None:
        answer.body = raw[: int(length)]
        assert len(answer.body) == int(length), "a body that is cut off"
        return raw[int(length) :]
    assert answer.fields.get("connection") == "close", "a body without an end"
    answer.body = raw
    return b""
