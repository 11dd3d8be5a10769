"""Access lines: where they go, whatever becomes of their reader, and which of the two ways writes them."""

import asyncio
import contextlib
import fcntl
import io
import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pronghorn.observe import access, logs
from pronghorn.observe.access import FastAccessLog, LoggingAccessLog
from pronghorn.observe.logs import ConsoleHandler
from tests.support.exchanges import Loop, exchange, fast

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
            log.response_complete(exchange(request_id="7"))
        finally:
            logging.setLogRecordFactory(before)
        assert stream.getvalue() == "from the factory GET\n7 GET\n"


def test_the_default_clock_is_the_cycles() -> None:
    log, _ = FastAccessLog(Loop(), ConsoleHandler("stdout", "text", False)), None  # type: ignore[arg-type]
    assert log._clock is time.perf_counter
