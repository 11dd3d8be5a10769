"""The status page in a real browser, and a server that says to it what a test wants to be said.

The pictures of the page are for people to look at: build/status-page/, which git ignores.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.browser import Browser, browser
from tests.integration.status_page.seen import DESK, emulate, until_titled
from tests.support.status_page import Canned, canned, status


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.fixture(scope="package")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canned]:
    with canned(tmp_path_factory.mktemp("status-page")) as running:
        yield running


@pytest.fixture
def server(answering: Canned) -> Canned:
    """What answers the page: a quiet server to begin with, asked twice a second."""
    answering.says(status(interval=0.5))
    return answering


@pytest.fixture
def page(chromium: Browser, server: Canned) -> Iterator[Browser]:
    """The page with its first answer; it is the same page in the end, and the console has nothing to say about it."""
    emulate(chromium, DESK)
    chromium.open(server.url)
    until_titled(chromium, "All is well")
    yield chromium
    assert chromium.complaints() == []
    asked = chromium.run("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert set(asked) == {f"{server.url}status.json"}
    chromium.run("localStorage.clear()")
    chromium.leave()
