"""Access lines: what they say, and that nothing a client sends can make two of one."""

import io
import json
import logging
import os
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pronghorn.observe import access, logs
from pronghorn.observe.access import FastAccessLog, LoggingAccessLog
from pronghorn.observe.json_formatter import JsonFormatter
from pronghorn.observe.logs import ConsoleHandler
from tests.support.exchanges import NOW, Exchange, Loop, exchange, fast


def line_of(one: Any, fmt: str = "text", *, colors: bool = False) -> str:
    stream, before = io.StringIO(), sys.stdout
    sys.stdout = stream
    try:
        log, loop = fast(fmt, colors=colors)
        log.response_complete(one)
        loop.turn()
    finally:
        sys.stdout = before
    return stream.getvalue()


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (exchange(), 'INFO:     127.0.0.1:5000 - "GET /a?b HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(b"/"), 'INFO:     127.0.0.1:5000 - "GET / HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(b"/%1b%0d%0a"), 'INFO:     127.0.0.1:5000 - "GET /%1b%0d%0a HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(client=None), 'INFO:     unix: - "GET /a?b HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(client=("192.0.2.1", 0)), 'INFO:     192.0.2.1 - "GET /a?b HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(client=("::1", 5000)), 'INFO:     [::1]:5000 - "GET /a?b HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(client=("::1", 0)), 'INFO:     ::1 - "GET /a?b HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(status=404), 'INFO:     127.0.0.1:5000 - "GET /a?b HTTP/1.1" 404 Not Found 13B 0.42ms'),
        (exchange(status=799), 'INFO:     127.0.0.1:5000 - "GET /a?b HTTP/1.1" 799 13B 0.42ms'),
        # No response was sent: the client left, or the application never began one.
        (exchange(status=0), 'INFO:     127.0.0.1:5000 - "GET /a?b HTTP/1.1" - 13B 0.42ms'),
        (exchange(method="BREW"), 'INFO:     127.0.0.1:5000 - "BREW /a?b HTTP/1.1" 200 OK 13B 0.42ms'),
        (exchange(http_version="2"), 'INFO:     127.0.0.1:5000 - "GET /a?b HTTP/2" 200 OK 13B 0.42ms'),
    ],
)
def test_text(one: Exchange, line: str) -> None:
    assert line_of(one) == line + "\n"


def test_colours_are_those_of_the_formatter() -> None:
    logger = logging.Logger("pronghorn.access")  # noqa: LOG001 - one of its own
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.AccessFormatter(logs.ACCESS_FORMAT, use_colors=True))
    logger.addHandler(handler)
    for status in (0, 200, 302, 404, 500, 799):
        LoggingAccessLog(logger, lambda: 100.00042).response_complete(exchange(status=status))
    assert stream.getvalue() == "".join(
        line_of(exchange(status=status), colors=True) for status in (0, 200, 302, 404, 500, 799)
    )
    assert stream.getvalue().startswith(
        '\x1b[32mINFO\x1b[0m:     127.0.0.1:5000 - "\x1b[1mGET /a?b HTTP/1.1\x1b[0m" -'
    )


@pytest.mark.parametrize(
    ("one", "shown"),
    [
        (exchange(b"/\x1b[31m?\r\nINFO: x"), r'"GET /\x1B[31m?\x0D\x0AINFO: x HTTP/1.1"'),
        (exchange(b'/" 200 OK \\'), r'"GET /\x22 200 OK \x5C HTTP/1.1"'),
        (exchange(b"/\xff\xc3\xa9\x7f\x85"), r'"GET /\xFF\xC3\xA9\x7F\x85 HTTP/1.1"'),
        (exchange(method="G\nET"), r'"G\x0AET /a?b HTTP/1.1"'),
        (exchange(http_version="1.1\r\n"), r'HTTP/1.1\x0D\x0A"'),
        (exchange(client=("\x1b[31m\u2028", 1)), r"     \x1B[31m\xE2\x80\xA8:1 - "),
        (exchange(client=["not", "a", "pair"]), "     ['not', 'a', 'pair'] - "),
        (exchange(client=["192.0.2.1", 80]), "     192.0.2.1:80 - "),
        (exchange(raw_path=None, path="/caf\u00e9 \ud800"), '"GET /caf%C3%A9%20%3F?b HTTP/1.1"'),
        (exchange(raw_path="/str", query_string="q\n"), r'"GET /str?q\x0A HTTP/1.1"'),
        (Exchange({}), '     unix: - "  HTTP/" 200'),
    ],
)
@pytest.mark.parametrize("fmt", ["text", "json"])
def test_hostile_and_spoilt_scopes(one: Exchange, shown: str, fmt: str) -> None:
    line = line_of(one, fmt)
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    if fmt == "text":
        assert shown in line
    else:
        assert shown.strip() in json.loads(line)["message"]


def as_record(one: Any) -> dict[str, Any]:
    """What the logging way makes of it, through the same formatter that --log-format json installs."""
    logger = logging.Logger("pronghorn.access")  # noqa: LOG001 - one of its own
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    LoggingAccessLog(logger, lambda: 100.00042).response_complete(one)
    (line,) = stream.getvalue().splitlines()
    loaded: dict[str, Any] = json.loads(line)
    return loaded


ID = b"x-request-id"


@settings(deadline=None)
@given(
    raw=st.binary(max_size=30),
    query=st.binary(max_size=20),
    method=st.sampled_from(["GET", "POST"]) | st.text(max_size=5),
    version=st.sampled_from(["1.0", "1.1", "2"]) | st.text(max_size=3),
    client=st.none() | st.tuples(st.ip_addresses().map(str) | st.text(max_size=9), st.integers(0, 65535)),
    headers=st.lists(st.tuples(st.sampled_from([b"host", ID]), st.binary(max_size=200)), max_size=3),
    status=st.sampled_from([0, 200, 204, 418, 599, 999]),
    first_byte=st.sampled_from([0.0, 100.0001, 100.00042]),
)
@example(b"/", b"", "GET", "1.1", None, [], 200, 0.0)
@example(b"/", b"q", "GET", "1.1", ("192.0.2.1", 0), [(ID, b"abc"), (ID, b"def")], 0, 100.0001)
@example(b"/\x7f", b"\x80", "GET", "1.1", ("::1", 5), [(ID, b"x" * 129)], 200, 100.0001)
@example(b"/", b"", "\ud800", "\x7f", ("\udcff", 5), [(ID, b"\x00")], 200, 0.0)
def test_both_ways_write_the_same_json(
    raw: bytes,
    query: bytes,
    method: str,
    version: str,
    client: Any,
    headers: Any,
    status: int,
    first_byte: float,
) -> None:
    one = exchange(
        raw_path=raw,
        query_string=query,
        method=method,
        http_version=version,
        client=client,
        headers=headers,
        status=status,
        first_byte=first_byte,
    )
    line = line_of(one, "json")
    assert line.count("\n") == 1
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    mine, theirs = json.loads(line), as_record(one)
    assert mine.pop("time") == "2027-01-15T08:00:00.123Z"
    theirs.pop("time")
    theirs.pop("taskName", None)
    assert mine == theirs


def test_json_line() -> None:
    headers = [(b"host", b"a"), (b"x-request-id", b"7f-3a")]
    one = exchange(b"/a?b=1", headers=headers, status=201, bytes_in=7)
    assert json.loads(line_of(one, "json")) == {
        "time": "2027-01-15T08:00:00.123Z",
        "level": "INFO",
        "logger": "pronghorn.access",
        "message": '127.0.0.1:5000 - "GET /a?b=1 HTTP/1.1" 201',
        "client": "127.0.0.1:5000",
        "method": "GET",
        "path": "/a",
        "query": "b=1",
        "protocol": "HTTP/1.1",
        "status": 201,
        "bytes_in": 7,
        "bytes_out": 13,
        "duration_ms": 0.42,
        "first_byte_ms": 0.42,
        "worker": os.getpid(),
        "request_id": "7f-3a",
    }


def test_the_first_byte_of_a_response_in_pieces() -> None:
    told = json.loads(line_of(exchange(first_byte=100.0001), "json"))
    assert (told["first_byte_ms"], told["duration_ms"]) == (0.1, 0.42)
    assert json.loads(line_of(exchange(status=0), "json"))["first_byte_ms"] is None


def test_timestamps_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    moments = iter([NOW, NOW + 0.0004, NOW + 0.0015, NOW + 1, 0.0, NOW + 86400 * 365])
    loop: Any = Loop()
    log = FastAccessLog(loop, ConsoleHandler("stdout", "json", False), wall=lambda: next(moments))
    for _ in range(6):
        log.response_complete(exchange())
    loop.turn()
    assert [json.loads(line)["time"] for line in out.getvalue().splitlines()] == [
        "2027-01-15T08:00:00.123Z",
        "2027-01-15T08:00:00.123Z",
        "2027-01-15T08:00:00.124Z",
        "2027-01-15T08:00:01.123Z",
        "1970-01-01T00:00:00.000Z",
        "2028-01-15T08:00:00.123Z",
    ]


@pytest.mark.parametrize("fmt", ["text", "json"])
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch, fmt: str) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    log, loop = fast(fmt)
    for number in range(access._REMEMBERED + 10):
        log.response_complete(exchange(b"/%d" % number, client=("192.0.2.1", number + 1)))
    assert len(log._peers) <= access._REMEMBERED
    assert len(log._middles) <= access._REMEMBERED
    loop.turn()
    assert out.getvalue().count("\n") == access._REMEMBERED + 10


def test_what_is_remembered_is_of_the_same_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    log, loop = fast("json")
    several: list[Exchange] = [
        exchange(b"/", **changes)
        for changes in (
            {},
            {"client": None},
            {"method": "POST"},
            {"http_version": "1.0"},
            {"status": 404},
            {"status": 0},
            {"query_string": b"b"},
        )
    ]
    several.append(exchange(b"/b"))
    for one in [*several, *several]:
        log.response_complete(one)
    loop.turn()
    lines = out.getvalue().splitlines()
    assert lines[: len(several)] == lines[len(several) :]
    assert len(set(lines)) == len(several)
    assert "".join(f"{line}\n" for line in lines[: len(several)]) == "".join(
        line_of(one, "json") for one in several
    )
