"""Chromium over TLS: what a page does on one connection, WebSockets (RFC 8441) among it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.h2_clients.kit import SIZE, Origin, body, described, scope_in
from tests.integration.browser import Browser, browser

# A WebSocket that collects what it gets, and what became of it.
SOCKET = """
return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${location.host}${arguments[0]}`);
    const found = { messages: [] };
    socket.binaryType = "arraybuffer";
    socket.onopen = () => arguments[1].forEach((message) => socket.send(message));
    socket.onmessage = ({ data }) => {
        found.messages.push(typeof data === "string" ? data : data.byteLength);
        if (found.messages.length === arguments[1].length) socket.close(3333, "enough");
    };
    socket.onclose = ({ code, reason, wasClean }) => resolve({ ...found, code, reason, wasClean });
});
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def page(chromium: Browser, tls: Origin) -> Browser:
    chromium.driver.set_script_timeout(30)
    chromium.driver.get(f"{tls.url}/page")
    return chromium


def test_fifty_fetches_are_there_at_the_same_time(page: Browser) -> None:
    ports = page.run(
        """
        // Without a word on the cache the second would wait for what the first one puts there.
        const asked = Array.from({ length: 50 }, () => fetch("/together?50&browser", { cache: "no-store" }));
        return Promise.all(asked.map((response) => response.then((found) => found.text())));
        """
    )
    assert len(ports) == 50
    assert len(set(ports)) == 1
    protocols = page.run(
        "return performance.getEntriesByType('resource').map(({ nextHopProtocol }) => nextHopProtocol)"
    )
    assert set(protocols) == {"h2"}


def test_what_a_page_uploads_arrives_and_comes_back(page: Browser, tls: Origin) -> None:
    told = page.run(
        """
        const file = await (await fetch("/file?large")).arrayBuffer();
        const told = await fetch("/describe", { method: "POST", body: file });
        const sent = await fetch("/echo", { method: "POST", body: file });
        return [file.byteLength, await told.text(), (await sent.arrayBuffer()).byteLength];
        """
    )
    assert told == [SIZE, described(body()).decode(), SIZE]


def test_events_arrive_and_the_application_hears_that_nobody_listens(page: Browser, tls: Origin) -> None:
    with tls.telling("app: nobody listens to events"):
        told = page.run(
            """
            return new Promise((resolve) => {
                const source = new EventSource("/events"), got = [];
                source.onmessage = ({ data }) => {
                    got.push(data);
                    if (got.length === 3) { source.close(); resolve(got); }
                };
            });
            """
        )
    assert told == ["0 2", "1 2", "2 2"]


def test_what_is_aborted_disconnects_its_application(page: Browser, tls: Origin) -> None:
    with tls.telling("app: send raised ClientDisconnected"):
        page.run(
            """
            const abort = new AbortController();
            const response = await fetch("/listen", { signal: abort.signal });
            await response.body.getReader().read();
            abort.abort();
            """
        )


class TestWebSocket:
    def test_it_is_a_stream_of_the_connection(self, page: Browser) -> None:
        told: dict[str, Any] = page.run(SOCKET, "/scope?a=b", [])
        scope = scope_in(told["messages"][0])
        assert scope["http_version"] == "2"
        assert (scope["scheme"], scope["path"], scope["query_string"]) == ("wss", "/scope", b"a=b")
        names = [name for name, _ in scope["headers"]]
        assert names[0] == "host"
        assert "origin" in names
        assert (told["code"], told["reason"], told["wasClean"]) == (3000, "shown", True)
        # From where the page came.
        assert str(scope["client"][1]) == page.run("return fetch('/together?1&ws').then((r) => r.text())")

    def test_messages_come_back(self, page: Browser) -> None:
        large = "x" * 1_000_000
        told = page.run(SOCKET, "/", ["one", "two", large])
        assert told["messages"] == ["one", "two", large]
        assert (told["code"], told["wasClean"]) == (3333, True)

    def test_a_refused_one_does_not_open(self, page: Browser) -> None:
        told = page.run(SOCKET, "/refuse", [])
        assert (told["code"], told["wasClean"], told["messages"]) == (1006, False, [])

    def test_one_that_is_left_ends_its_application(self, page: Browser, tls: Origin) -> None:
        """That of a frame which is taken out of the page: its stream is reset, without a word from the WebSocket."""
        ended = "app: received {'type': 'websocket.disconnect', 'code': 1006"
        with tls.telling(ended), tls.telling("app: cleaned up"):
            page.run(
                """
                const frame = document.body.appendChild(document.createElement("iframe"));
                const socket = new frame.contentWindow.WebSocket(`wss://${location.host}/goodbye`);
                await new Promise((resolve) => { socket.onopen = resolve; });
                frame.remove();
                """
            )
