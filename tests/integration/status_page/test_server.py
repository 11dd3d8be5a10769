"""The status page, whatever becomes of the server; and with the real one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from tests.integration.browser import Browser
from tests.integration.status_page.seen import (
    DESK,
    NOTHING,
    column,
    drawn,
    emulate,
    numbers,
    picture,
    until_titled,
)
from tests.support.admin import FREE, AdminListener
from tests.support.ports import free_port
from tests.support.process import ServerProcess, serving
from tests.support.status_page import Canned, canned, status
from tests.support.waiting import until


def test_a_server_that_is_gone_and_back(chromium: Browser, tmp_path: Path) -> None:
    Canned(tmp_path).says(status(interval=0.5))
    port = free_port()
    with canned(tmp_path, port) as running:
        chromium.open(running.url)
        until_titled(chromium, "All is well")
        before = drawn(chromium)
    until_titled(chromium, "No answer")
    [reason] = chromium.texts("#reasons li")
    assert reason.startswith("Since ")
    assert reason.endswith(". It cannot be reached.")
    assert chromium.texts("#pulse") == ["Asking again"]
    assert drawn(chromium) == before

    with canned(tmp_path, port):
        until_titled(chromium, "All is well")
        assert chromium.texts("#reasons li") == []
        # Refused; or, where the server was killed while it answered, whatever that looks like.
        assert all("net::ERR_" in complaint for complaint in chromium.complaints())
        chromium.leave()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "It answers with 503."),
        ("<h1>Another page</h1>", "It answers, but not with a status."),
        ("[]", "It answers, but not with a status."),
        (json.dumps({"now": "today", "samples": []}), "It answers, but not with a status."),
    ],
)
def test_an_answer_that_is_none(chromium: Browser, server: Canned, text: str, reason: str) -> None:
    chromium.open(server.url)
    until_titled(chromium, "All is well")
    server.says_text(text)
    until_titled(chromium, "No answer")
    assert chromium.texts("#reasons li")[0].endswith(reason)

    server.says(status(interval=0.5))
    until_titled(chromium, "All is well")
    assert all("503" in complaint for complaint in chromium.complaints())
    chromium.leave()


def test_a_page_that_nobody_sees_asks_nothing(page: Browser, server: Canned) -> None:
    """And asks at once when it is seen again."""
    asked = "return performance.getEntriesByType('resource').length"
    page.driver.minimize_window()
    until(lambda: page.run("return document.hidden"), "a hidden page")
    before = page.run(asked)
    # As long as it takes to be asked twice, by a clock that runs in a hidden page too.
    page.driver.execute_async_script("setTimeout(arguments[0], 1000)")
    assert page.run(asked) == before

    server.says(status(interval=0.5, ready=False))
    page.driver.set_window_rect(0, 0, 1100, 700)
    until_titled(page, "Not ready")


APPLICATION = """
    async def app(scope, receive, send):
        assert scope["type"] == "http"
        status = 404 if scope["path"] == "/nothing" else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 1000})
"""


@contextmanager
def load(server: ServerProcess) -> Iterator[None]:
    """Requests without a pause, each tenth of them for nothing, and on a new connection as often as the server ends one."""
    ended = Event()

    def ask() -> None:
        while not ended.is_set():
            # A worker that is killed takes with it what it has begun.
            with suppress(OSError, EOFError, AssertionError), server.connect() as client:
                for number in range(200):
                    client.get("/nothing" if number % 10 == 0 else "/")

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        try:
            yield
        finally:
            ended.set()
        asking.result()


def test_the_real_server(chromium: Browser, tmp_path: Path) -> None:
    """Under load, with two workers, of which one is killed; and its end."""
    emulate(chromium, DESK)
    with serving(tmp_path, APPLICATION, "--workers", "2", "--lifespan", "off", *FREE) as server:
        admin = AdminListener(server)
        with load(server):
            admin.until("/readyz", 200)
            chromium.open(f"http://{admin.address}/")
            until(lambda: numbers(chromium, "Latency").get("p99", NOTHING) != NOTHING, "requests on the page")
            assert chromium.run("return document.querySelector('#verdict').dataset.kind") in {"ok", "warn"}
            assert chromium.texts("#app, #facts dd")[::3] == ["main:app", str(server.pid)]
            until(lambda: column(chromium, "state") == ["ready", "ready"], "both workers")
            # A busy machine may leave one sample without any request.
            until(lambda: numbers(chromium, "Requests")["4xx"] not in {NOTHING, "0/s"}, "those for nothing")
            assert numbers(chromium, "Requests")["5xx"] == "0/s"

            victim = int(column(chromium, "pid")[0])
            os.kill(victim, signal.SIGKILL)
            until(lambda: numbers(chromium, "Workers ready")["ended"] == "1", "the end of a worker")
            until(lambda: len(set(column(chromium, "pid")) - {str(victim)}) == 2, "its successor")
            until(lambda: len(drawn(chromium)["rate"]) > 40, "lines")
            assert chromium.run("return document.querySelectorAll('.flag').length") >= 1
            picture(chromium, "real")
            assert chromium.complaints() == []
        assert server.stop() == -signal.SIGTERM
    until_titled(chromium, "No answer")
    chromium.complaints()
    chromium.leave()
