"""Log files opened anew: nothing is lost, nothing is emptied, and the file that cannot be had stays the one in use."""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pronghorn.observe.reopen import reopen
from tests.support.files_logged import APP, LOG_CONFIG
from tests.support.process import serving


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.reopen")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture
def others() -> int:
    """How many file handlers there are besides those of the test: pytest's own."""
    return reopen()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.mark.parametrize("mode", ["a", "w", "x"])
def test_the_next_line_is_in_the_new_file(
    tmp_path: Path, logger: logging.Logger, others: int, mode: str
) -> None:
    path = tmp_path / "app.log"
    handler = logging.FileHandler(path, mode)
    logger.addHandler(handler)
    logger.info("one")
    old = handler.stream
    path.rename(tmp_path / "app.log.1")
    logger.info("two")
    assert reopen() == others + 1
    logger.info("three")
    assert lines(tmp_path / "app.log.1") == ["one", "two"]
    assert lines(path) == ["three"]
    assert old is not None
    assert old.closed
    # Again, with nothing moved.
    assert reopen() == others + 1
    logger.info("four")
    assert lines(path) == ["three", "four"]
    assert handler.mode == mode


def test_no_line_is_lost_while_threads_write(tmp_path: Path, logger: logging.Logger, others: int) -> None:
    path = tmp_path / "app.log"
    logger.addHandler(logging.FileHandler(path))
    begun = threading.Barrier(4)

    def write(name: int) -> None:
        begun.wait()
        for number in range(500):
            logger.info("%d-%d", name, number)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(3)]
    for thread in threads:
        thread.start()
    begun.wait()
    moved: list[Path] = []
    while any(thread.is_alive() for thread in threads):
        moved.append(path.rename(tmp_path / f"app.log.{len(moved)}"))
        assert reopen() == others + 1
    for thread in threads:
        thread.join()
    written = [line for file in (*moved, path) for line in lines(file)]
    assert sorted(written) == sorted(f"{name}-{number}" for name in range(3) for number in range(500))


def test_a_handler_behind_a_queue_is_found(tmp_path: Path, logger: logging.Logger, others: int) -> None:
    path = tmp_path / "app.log"
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handler = logging.handlers.WatchedFileHandler(path)
    listener = logging.handlers.QueueListener(records, handler)
    logger.addHandler(logging.handlers.QueueHandler(records))
    listener.start()
    try:
        path.rename(tmp_path / "app.log.1")
        assert reopen() == others + 1
        logger.info("one")
    finally:
        listener.stop()
        handler.close()
    assert lines(path) == ["one"]


def test_a_file_that_was_never_opened_stays_closed(
    tmp_path: Path, logger: logging.Logger, others: int
) -> None:
    logger.addHandler(logging.FileHandler(tmp_path / "app.log", delay=True))
    assert reopen() == others
    assert not (tmp_path / "app.log").exists()


def test_what_cannot_be_opened_leaves_the_old_file_in_use(
    tmp_path: Path, logger: logging.Logger, others: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    logger.addHandler(logging.FileHandler(folder / "app.log"))
    folder.rename(tmp_path / "moved")
    with caplog.at_level(logging.WARNING, "pronghorn.error"):
        assert reopen() == others
    assert f"{folder / 'app.log'} cannot be reopened, the old file stays in use" in caplog.text
    logger.info("one")
    assert lines(tmp_path / "moved" / "app.log") == ["one"]


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_sigusr1_has_a_server_reopen_its_logs(tmp_path: Path, loop: str) -> None:
    (tmp_path / "log.json").write_text(json.dumps(LOG_CONFIG))
    flags = ("--log-config", "log.json", "--lifespan", "off", "--loop", loop)
    path, moved = tmp_path / "access.log", tmp_path / "access.log.1"
    with serving(tmp_path, APP, *flags) as server, server.connect() as client:
        targets = [f"/{number}" for number in range(30)]
        for number, target in enumerate(targets):
            if number == 10:
                path.rename(moved)
            if number == 20:
                server.send_signal(signal.SIGUSR1)
                server.stderr.wait_for("Log files were reopened: 1")
            assert client.get(target).text == "hello"
        assert server.stop() == -signal.SIGTERM
    assert [line.split()[3] for line in lines(moved)] == targets[:20]
    assert [line.split()[3] for line in lines(path)] == targets[20:]


def test_without_log_files_sigusr1_is_harmless(tmp_path: Path) -> None:
    with serving(tmp_path, APP, "--lifespan", "off") as server:
        server.send_signal(signal.SIGUSR1)
        server.stderr.wait_for("Log files were reopened: 0")
        assert server.get("/").text == "hello"


def test_a_program_s_own_sigusr1_stays_its_own(tmp_path: Path) -> None:
    program = """
        import asyncio, os, signal
        from pronghorn import Config, Server

        async def app(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGINT)
            await receive()
            await send({"type": "lifespan.shutdown.complete"})

        signal.signal(signal.SIGUSR1, lambda number, frame: print("mine"))
        try:
            asyncio.run(Server(Config(app, port=0)).serve())
        except KeyboardInterrupt:
            print("done")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "mine\ndone\n"
    assert "reopened" not in done.stderr
