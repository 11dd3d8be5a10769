"""Access lines: what they say, that nothing a client sends can make two of one, and where they go."""

import asyncio
import contextlib
import fcntl
import io
import json
import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pronghorn.observe import access, logs
from pronghorn.observe.access import FastAccessLog, LoggingAccessLog
from pronghorn.observe.json_formatter import JsonFormatter
from pronghorn.observe.logs import ConsoleHandler

NOW = 1_800_000_000.123


@dataclass
class Exchange:
    scope: dict[str, Any]
    status: int = 200
    bytes_in: int = 0
    bytes_out: int = 13
    started: float = 100.0


def exchange(target: bytes = b"/a?b", *, headers: Any = (), **changes: Any) -> Exchange:
    raw_path, _, query = target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": raw_path.decode("latin-1"),
        "raw_path": raw_path,
        "query_string": query,
        "http_version": "1.1",
        "client": ("127.0.0.1", 5000),
        "headers": list(headers),
    }
    known = {name: changes.pop(name) for name in ("status", "bytes_in", "bytes_out") if name in changes}
    return Exchange(scope | changes, **known)


@dataclass
class Loop:
    """As much of an event loop as an access log needs, turned by hand."""

    soon: list[Callable[[], None]] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        assert delay > 0
        self.later.append(callback)

    def turn(self) -> None:
        calls, self.soon, self.later = self.soon + self.later, [], []
        for call in calls:
            call()


def fast(fmt: str = "text", *, colors: bool = False) -> tuple[FastAccessLog, Any]:
    loop: Any = Loop()
    handler = ConsoleHandler("stdout", fmt, colors)
    return FastAccessLog(loop, handler, clock=lambda: 100.00042, wall=lambda: NOW), loop


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
)
@example(b"/", b"", "GET", "1.1", None, [], 200)
@example(b"/", b"q", "GET", "1.1", ("192.0.2.1", 0), [(ID, b"abc"), (ID, b"def")], 0)
@example(b"/\x7f", b"\x80", "GET", "1.1", ("::1", 5), [(ID, b"x" * 129)], 200)
@example(b"/", b"", "\ud800", "\x7f", ("\udcff", 5), [(ID, b"\x00")], 200)
def test_both_ways_write_the_same_json(
    raw: bytes, query: bytes, method: str, version: str, client: Any, headers: Any, status: int
) -> None:
    one = exchange(
        raw_path=raw,
        query_string=query,
        method=method,
        http_version=version,
        client=client,
        headers=headers,
        status=status,
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
        "request_id": "7f-3a",
    }


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


def test_the_cache_of_peers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", out := io.StringIO())
    log, loop = fast()
    for number in range(access._PEERS + 10):
        log.response_complete(exchange(client=("192.0.2.1", number + 1)))
    assert len(log._peers) <= access._PEERS
    loop.turn()
    assert out.getvalue().count("\n") == access._PEERS + 10


# --- where lines go --------------------------------------------------------------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, Any]]:
    """Give the reading end of a pipe, and a stream to put in the place of stdout.

    The test does that, not the fixture: pytest puts its own stdout back between the two.
    """
    read, write = os.pipe()
    stream = os.fdopen(write, "w")
    yield read, stream
    with contextlib.suppress(OSError):
        os.close(read)
    stream.close()


def test_one_write_for_an_iteration_of_the_loop(
    pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", pipe[1])
    writes: list[bytes] = []
    real = os.write

    def noted(fd: int, data: bytes) -> int:
        writes.append(data)
        return real(fd, data)

    monkeypatch.setattr(os, "write", noted)

    async def main() -> None:
        handler = ConsoleHandler("stdout", "text", False)
        log = FastAccessLog(asyncio.get_running_loop(), handler)
        for _ in range(3):
            log.response_complete(exchange())
        assert writes == []
        await asyncio.sleep(0)
        log.response_complete(exchange())
        log.flush()
        log.flush()

    asyncio.run(main())
    assert [data.count(b"\n") for data in writes] == [3, 1]
    assert os.read(pipe[0], 65536) == b"".join(writes)


def lost(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "pronghorn.error"]


def test_a_reader_that_is_gone(
    pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "stdout", pipe[1])
    log, loop = fast()
    os.close(pipe[0])
    for _ in range(3):
        log.response_complete(exchange())
        loop.turn()
    log.flush()
    assert lost(caplog) == ["Access lines are lost: cannot write to stdout ([Errno 32] Broken pipe)."]
    assert not loop.soon
    assert not loop.later


def test_a_stream_that_is_closed_and_then_replaced(
    pipe: tuple[int, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", pipe[1])
    log, loop = fast()
    pipe[1].close()
    log.response_complete(exchange())
    loop.turn()
    assert len(lost(caplog)) == 1
    again = io.StringIO()
    monkeypatch.setattr(sys, "stdout", again)
    log.response_complete(exchange())
    loop.turn()
    assert again.getvalue().count("\n") == 1
    monkeypatch.setattr(sys, "stdout", None)
    log.response_complete(exchange())
    log.flush()
    assert len(lost(caplog)) == 1


def fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(descriptor, b"." * 4096):
            pass


def drain(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    data = b""
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(descriptor, 1 << 20):
            data += piece
    return data


def test_a_pipe_that_is_full_and_not_blocking(pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", pipe[1])
    fill(pipe[1].fileno())
    log, loop = fast()
    log.response_complete(exchange(b"/1"))
    loop.turn()
    assert len(loop.later) == 1
    log.response_complete(exchange(b"/2"))
    assert loop.soon == [], "the attempt that is under way takes it along"
    loop.turn()
    assert len(loop.later) == 1
    drain(pipe[0])
    loop.turn()
    assert [line.split(b" ")[8] for line in drain(pipe[0]).splitlines()] == [b"/1", b"/2"]
    assert loop.later == []
    log.response_complete(exchange(b"/3"))
    loop.turn()
    assert b"/3" in drain(pipe[0])


def test_what_waits_for_a_reader_is_bounded(
    pipe: tuple[int, Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", pipe[1])
    fcntl.fcntl(pipe[1].fileno(), fcntl.F_SETPIPE_SZ, 4096)
    fill(pipe[1].fileno())
    log, loop = fast()
    for _ in range(2):
        for _ in range(20_000):
            log.response_complete(exchange())
        loop.turn()
    assert len(log._output._unwritten) < 200
    assert lost(caplog) == ["Access lines are lost: cannot write to stdout (nobody reads it)."]
    monkeypatch.setattr("pronghorn.observe.output._PATIENCE", 0.0)
    log.flush()


def test_flush_gives_a_slow_reader_time(pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", pipe[1])
    fill(pipe[1].fileno())
    log, _ = fast()
    log.response_complete(exchange())
    real = select.select
    got: list[bytes] = []

    def reading(*args: Any) -> Any:
        got.append(drain(pipe[0]))
        return real(*args)

    monkeypatch.setattr(select, "select", reading)
    log.flush()
    assert len(got) == 1
    assert drain(pipe[0]).count(b"\n") == 1


# --- which way is taken ----------------------------------------------------------------------------------------


@pytest.fixture
def loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logging module of this test's own: all of its state hangs on the manager and the root logger."""
    root = logging.RootLogger(logging.WARNING)
    manager = logging.Manager(root)
    monkeypatch.setattr(logging, "root", root)
    monkeypatch.setattr(logging.Logger, "root", root)
    monkeypatch.setattr(logging.Logger, "manager", manager)


def made(**options: Any) -> Any:
    logs.configure(**options)
    loop: Any = Loop()
    return access.make(loop)


def named(name: str) -> logging.Logger:
    return logging.getLogger(name)


@pytest.mark.usefixtures("loggers")
class TestMake:
    def test_default(self) -> None:
        assert isinstance(made(), FastAccessLog)
        assert isinstance(made(fmt="json"), FastAccessLog)

    @pytest.mark.parametrize("options", [{"access_log": False}, {"level": "warning"}])
    def test_off(self, options: Any) -> None:
        assert made(**options) is None
        assert isinstance(made(), FastAccessLog)

    @pytest.mark.parametrize("name", ["pronghorn.access", "uvicorn.access"])
    def test_what_the_application_did_counts(self, name: str) -> None:
        logs.configure()
        loop: Any = Loop()
        logger = named(name)
        only_errors: Callable[[logging.LogRecord], bool] = lambda record: record.args[4] != 200  # type: ignore[index]  # noqa: E731
        logger.addFilter(only_errors)
        chosen = access.make(loop)
        assert isinstance(chosen, LoggingAccessLog)
        stream = io.StringIO()
        logger.addHandler(logging.StreamHandler(stream))
        chosen = access.make(loop)
        assert chosen is not None
        chosen.response_complete(exchange())
        chosen.response_complete(exchange(status=500))
        chosen.flush()
        assert stream.getvalue() == '127.0.0.1:5000 - "GET /a?b HTTP/1.1" 500\n'
        logger.setLevel(logging.WARNING)
        chosen.response_complete(exchange(status=500))
        assert access.make(loop) is None
        logger.setLevel(logging.INFO)
        logger.disabled = True
        assert access.make(loop) is None

    def test_propagating(self) -> None:
        logs.configure()
        named("pronghorn.access").propagate = True
        assert isinstance(access.make(Loop()), LoggingAccessLog)  # type: ignore[arg-type]

    def test_log_config(self) -> None:
        config = {
            "version": 1,
            "handlers": {"h": {"class": "logging.NullHandler"}},
            "loggers": {"uvicorn.access": {"handlers": ["h"], "level": "INFO"}},
        }
        assert isinstance(made(log_config=config), LoggingAccessLog)

    def test_a_record_factory_that_sets_our_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Record(logging.LogRecord):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.request_id = "from the factory"

        logs.configure()
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(request_id)s %(method)s"))
        named("pronghorn.access").addHandler(handler)
        log = access.make(Loop())  # type: ignore[arg-type]
        assert log is not None
        before = logging.getLogRecordFactory()
        logging.setLogRecordFactory(Record)
        try:
            log.response_complete(exchange())
            log.response_complete(exchange(headers=[(ID, b"7")]))
        finally:
            logging.setLogRecordFactory(before)
        assert stream.getvalue() == "from the factory GET\n7 GET\n"


def test_the_default_clock_is_the_cycles() -> None:
    log, _ = FastAccessLog(Loop(), ConsoleHandler("stdout", "text", False)), None  # type: ignore[arg-type]
    assert log._clock is time.perf_counter
