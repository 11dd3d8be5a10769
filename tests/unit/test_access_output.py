"""Access lines: where they go, whatever becomes of their reader, and which of the two ways writes them."""

import asyncio
import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pronghorn.observe import access, logs
from pronghorn.observe.access import FastAccessLog, LoggingAccessLog
from pronghorn.observe.logs import ConsoleHandler
from tests.support.exchanges import Loop, exchange, fast
from tests.support.fresh_logging import fresh_logging

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


def test_flush_writes_what_this_iteration_has_not(
    pipe: tuple[int, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", pipe[1])
    log, loop = fast()
    log.response_complete(exchange(b"/1"))
    log.flush()
    assert os.read(pipe[0], 65536).count(b"\n") == 1
    loop.turn()
    log.response_complete(exchange(b"/2"))
    loop.turn()
    assert os.read(pipe[0], 65536).count(b"\n") == 1


# --- which way is taken ----------------------------------------------------------------------------------------


@pytest.fixture
def loggers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with fresh_logging(monkeypatch):
        yield


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
