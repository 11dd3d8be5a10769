"""When applications are called: after all reads of an iteration of the loop, or at once where few requests come."""

import asyncio
from typing import Any

import pytest

from pronghorn.net.rounds import Rounds
from pronghorn.net.service import Service
from pronghorn.types import Receive, Scope, Send
from tests.support.scripted import connect, make_service, turns

GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


class Connection:
    """Tells a list of whatever is called."""

    def __init__(self, told: list[str], name: str, *, broken: bool = False) -> None:
        self._told, self._name, self._broken = told, name, broken

    def advance(self) -> None:
        self._told.append(self._name)
        if self._broken:
            raise RuntimeError(self._name)

    def abort(self) -> None:
        self._told.append(f"{self._name} aborted")


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def waiting_service() -> Service:
    """One whose requests wait, on every version of Python."""
    service = make_service(app)
    service.rounds = Rounds(service.loop, eager=True)
    return service


async def test_applications_wait_until_all_is_read() -> None:
    told: list[str] = []
    waiting = Rounds(asyncio.get_running_loop(), eager=True)

    for name in "abc":
        waiting.join(Connection(told, name))
        told.append(f"read {name}")
    await asyncio.sleep(0)

    assert told == ["read a", "read b", "read c", "a", "b", "c"]


async def test_few_do_not_wait_until_it_is_looked_again() -> None:
    told: list[str] = []
    waiting = Rounds(asyncio.get_running_loop(), eager=True)
    waiting.join(Connection(told, "first"))
    await asyncio.sleep(0)

    at_once = 0
    while len(told) == 1 + at_once:
        waiting.join(Connection(told, "next"))
        at_once += 1
        assert at_once < 100, "it is never looked again"
    await asyncio.sleep(0)

    assert at_once > 8
    assert len(told) == 1 + at_once


async def test_many_go_on_waiting() -> None:
    told: list[str] = []
    waiting = Rounds(asyncio.get_running_loop(), eager=True)

    for iteration in range(1, 5):
        for _ in range(3):
            waiting.join(Connection(told, "one"))
        assert len(told) == 3 * (iteration - 1)
        await asyncio.sleep(0)
        assert len(told) == 3 * iteration


async def test_without_eager_tasks_nobody_waits_twice() -> None:
    told: list[str] = []

    Rounds(asyncio.get_running_loop(), eager=False).join(Connection(told, "one"))

    assert told == ["one"]


async def test_a_connection_that_fails_fails_alone() -> None:
    told: list[str] = []
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    waiting = Rounds(loop, eager=True)

    waiting.join(Connection(told, "a", broken=True))
    waiting.join(Connection(told, "b"))
    await asyncio.sleep(0)

    assert told == ["a", "a aborted", "b"]
    assert [str(context["exception"]) for context in contexts] == ["a"]


@pytest.mark.parametrize("pieces", [(GET,), (GET[:20], GET[20:])], ids=["whole", "in pieces"])
async def test_a_deadline_in_the_iteration_of_its_request_is_kept(pieces: tuple[bytes, ...]) -> None:
    service = waiting_service()
    transport = connect(service)

    for piece in pieces:
        transport.feed(piece)
    for _ in range(30):
        service.deadlines.advance()
    await turns()

    assert transport.written.startswith(b"HTTP/1.1 200 OK")
    assert not transport.closed


async def test_a_request_that_comes_with_the_end_has_its_turn_before_it() -> None:
    service = waiting_service()
    transport = connect(service)

    transport.feed(GET)
    transport.feed_eof()

    assert service.requests == 1
    await turns()


async def test_who_is_gone_before_its_turn_is_not_served() -> None:
    service = waiting_service()
    transport = connect(service)

    transport.feed(GET)
    transport.lose()
    await turns()

    assert service.requests == service.active == 0
    assert not service.connections
