"""The WebSocket cycle against a channel that only records: the ASGI WebSocket specification, sentence by sentence."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.asgi import ws_states as states_module
from pronghorn.asgi.disconnect import ClientDisconnected, IgnoringSend
from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.websocket import QUEUED, WebSocketCycle
from pronghorn.asgi.ws_states import CONNECTING, DENYING, FINISHED, LOST, OPEN, REFUSED, TRANSITIONS
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.headers import field_line
from pronghorn.wire.ports import InvalidResponse, RequestHead, WebSocketChannel
from tests.support.drawn import drawn
from tests.support.scripted import Recorder, turns
from tests.unit.test_cycle import Writer

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept"}
START = {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-a", b"b")]}
BODY = {"type": "websocket.http.response.body", "body": b"no"}
CLOSE = {"type": "websocket.close", "code": 4001, "reason": "enough"}


def text(data: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": data}


class Channel:
    """A `WebSocketChannel`, and the `Opener` that makes it, that keep the calls made to them."""

    def __init__(self, http: HttpCycle) -> None:
        self.failures = 0
        self.http = http
        self.calls: list[tuple[Any, ...]] = []
        self.paused = False
        self.resumed: asyncio.Event | None = None

    def open(self, subprotocol: str | None, headers: list[tuple[bytes, bytes]]) -> WebSocketChannel:
        for name, value in headers:
            field_line(name, value)
        self.calls.append(("open", subprotocol, headers))
        self.http.switched(101, headers)
        return self

    def text(self, data: str) -> bool:
        self.calls.append(("text", data))
        return self.paused

    def binary(self, data: bytes) -> bool:
        self.calls.append(("binary", data))
        return self.paused

    def close(self, code: int, reason: str) -> None:
        self.calls.append(("close", code, reason))

    def failed(self) -> None:
        self.failures += 1

    def resume(self) -> None:
        self.calls.append(("resume",))

    async def drain(self) -> None:
        assert self.resumed is not None
        await self.resumed.wait()


class Made:
    """A cycle with everything around it."""

    def __init__(self, max_queue: int = 4) -> None:
        head = RequestHead()
        head.method, head.target, head.http_version, head.expects_continue = "GET", b"/chat", "1.1", False
        head.request_id, head.id_line = "", b""
        self.writer, self.recorder = Writer(), Recorder()
        scope = {"type": "http", "path": "/chat"}
        self.http = HttpCycle(
            head, scope, self.writer, self.recorder, logging.getLogger("pronghorn.error"), 0
        )
        self.http.feed_end()
        self.channel = Channel(self.http)
        self.cycle = WebSocketCycle(self.http, {"type": "websocket"}, self.channel, max_queue)

    async def opened(self) -> "Made":
        assert await self.cycle.receive() == CONNECT
        await self.cycle.send(ACCEPT)
        self.channel.calls.clear()
        return self

    @property
    def answered(self) -> list[int]:
        return [call[1] for call in self.writer.calls if call[0] in ("respond", "begin")]


# The state machine.

EVENTS: dict[str, dict[str, Any]] = {
    "accept": ACCEPT,
    "send": text("hello"),
    "close": CLOSE,
    "start": START,
    "body+": {**BODY, "more_body": True},
    "body": BODY,
    "nonsense": {"type": "http.response.start", "status": 200},
}


@given(st.lists(st.sampled_from([*EVENTS, "turn", "disconnect", "message"]), max_size=12))
def test_send_agrees_with_the_table(steps: list[str]) -> None:
    async def main() -> None:
        made = Made()
        state = CONNECTING
        for step in steps:
            if step == "turn":
                await turns()
            elif step == "message":
                if state == OPEN:
                    made.cycle.feed("message")
            elif step == "disconnect":
                made.http.disconnect()
                made.cycle.disconnect(1006, "")
                state = LOST if state <= OPEN else state
            elif (state, step) in TRANSITIONS:
                await made.cycle.send(EVENTS[step])
                state = TRANSITIONS[state, step]
            else:
                with pytest.raises(ClientDisconnected if state == LOST else RuntimeError):
                    await made.cycle.send(EVENTS[step])
            assert made.cycle.state == state
        names = [call[0] for call in made.channel.calls]
        assert names.count("open") <= 1
        assert names.count("close") == (state == FINISHED)
        assert "close" not in names[:-1], "nothing behind the end"
        await turns()
        opened = "open" in names
        assert len(made.answered) <= (not opened), "an open WebSocket is answered by 101 alone"
        assert made.answered or state != REFUSED
        assert len(made.recorder.seen) == (opened or state in (REFUSED, LOST))

    asyncio.run(main())


def test_the_table_says_how_to_get_out_of_every_state() -> None:
    assert {before for before, _ in TRANSITIONS} == {CONNECTING, DENYING, OPEN}
    assert set(TRANSITIONS.values()) == {OPEN, DENYING, REFUSED, FINISHED}


def test_the_docs_draw_the_same_table() -> None:
    assert drawn("### A WebSocket, as a table", states_module) == TRANSITIONS


# Opening.


async def test_accept_says_subprotocol_and_headers() -> None:
    made = Made()
    assert await made.cycle.receive() == CONNECT
    await made.cycle.send({**ACCEPT, "subprotocol": "chat", "headers": [(b"set-cookie", b"a=b")]})
    assert made.channel.calls == [("open", "chat", [(b"set-cookie", b"a=b")])]


async def test_accept_with_bad_headers_can_still_become_something_else() -> None:
    made = Made()
    with pytest.raises(InvalidResponse):
        await made.cycle.send({**ACCEPT, "headers": [(b"x", b"a\r\nb")]})
    assert made.cycle.state == CONNECTING
    await made.cycle.send(CLOSE)
    assert made.answered == [403]


async def test_close_before_accept_is_403() -> None:
    made = Made()
    await made.cycle.receive()
    await made.cycle.send({"type": "websocket.close"})
    assert made.answered == [403]
    assert made.channel.calls == []
    assert made.recorder.seen == [("/chat", 403, 0, 9)]
    assert (await made.cycle.receive())["type"] == "websocket.disconnect"


async def test_denial_response() -> None:
    made = Made()
    await made.cycle.send(START)
    await made.cycle.send({**BODY, "more_body": True})
    await made.cycle.send(BODY)
    assert made.writer.calls == [("begin", 401, b"no"), ("chunk", b"no"), ("end",)]
    assert made.writer.headers == [(b"x-a", b"b")]
    assert made.cycle.state == REFUSED


async def test_denial_response_in_one_piece() -> None:
    made = Made()
    await made.cycle.send(START)
    await made.cycle.send(BODY)
    assert made.writer.calls == [("respond", 401, b"no")]


async def test_client_that_leaves_before_it_is_answered() -> None:
    made = Made()
    await made.cycle.receive()
    receiving = asyncio.ensure_future(made.cycle.receive())
    await turns()
    made.cycle.disconnect(1006, "")
    assert await receiving == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    with pytest.raises(ClientDisconnected):
        await made.cycle.send(ACCEPT)


# Messages.


async def test_messages_both_ways() -> None:
    made = await Made().opened()
    assert made.cycle.feed("hello")
    assert made.cycle.feed(b"\xff")
    assert await made.cycle.receive() == {"type": "websocket.receive", "text": "hello"}
    assert await made.cycle.receive() == {"type": "websocket.receive", "bytes": b"\xff"}
    await made.cycle.send(text("one"))
    await made.cycle.send({"type": "websocket.send", "bytes": b"two"})
    await made.cycle.send({"type": "websocket.send", "bytes": bytearray(b"three"), "text": None})
    await made.cycle.send({"type": "websocket.send", "bytes": None, "text": ""})
    assert made.channel.calls == [("text", "one"), ("binary", b"two"), ("binary", b"three"), ("text", "")]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "websocket.send"}, RuntimeError),
        ({"type": "websocket.send", "text": None, "bytes": None}, RuntimeError),
        ({"type": "websocket.send", "text": b"bytes"}, TypeError),
        ({"type": "websocket.send", "bytes": "text"}, TypeError),
        ({"type": "websocket.close", "code": 1005}, RuntimeError),
        ({"type": "websocket.close", "code": 99}, RuntimeError),
    ],
)
async def test_what_cannot_be_sent(message: dict[str, Any], error: type[Exception]) -> None:
    made = await Made().opened()
    with pytest.raises(error):
        await made.cycle.send(message)
    assert made.channel.calls == []
    assert made.cycle.state == OPEN


async def test_receive_waits_for_the_next_message() -> None:
    made = await Made().opened()
    receiving = asyncio.ensure_future(made.cycle.receive())
    await turns()
    assert not receiving.done()
    made.cycle.feed("hello")
    assert await receiving == {"type": "websocket.receive", "text": "hello"}


async def test_several_tasks_may_wait() -> None:
    made = await Made().opened()
    receiving = [asyncio.ensure_future(made.cycle.receive()) for _ in range(3)]
    await turns()
    receiving[1].cancel()
    await turns()
    made.cycle.feed("one")
    made.cycle.feed("two")
    found = [await receiving[0], await receiving[2]]
    assert sorted(message["text"] for message in found) == ["one", "two"]


async def test_a_receive_that_is_cancelled_loses_no_message() -> None:
    made = await Made().opened()
    receiving = asyncio.ensure_future(made.cycle.receive())
    await turns()
    made.cycle.feed("hello")
    receiving.cancel()
    await turns()
    assert receiving.cancelled()
    assert await made.cycle.receive() == {"type": "websocket.receive", "text": "hello"}


async def test_a_full_queue_holds_the_peer_up_until_half_of_it_is_taken() -> None:
    made = await Made(max_queue=4).opened()
    assert [made.cycle.feed("x") for _ in range(4)] == [True, True, True, False]
    await made.cycle.receive()
    assert made.channel.calls == []
    await made.cycle.receive()
    assert made.channel.calls == [("resume",)]


async def test_a_queue_is_full_by_size_too() -> None:
    made = await Made(max_queue=1000).opened()
    assert made.cycle.feed("x" * QUEUED)
    assert not made.cycle.feed("x")
    await made.cycle.receive()
    assert made.channel.calls == [("resume",)]


async def test_send_waits_for_a_slow_reader() -> None:
    made = await Made().opened()
    made.channel.paused, made.channel.resumed = True, asyncio.Event()
    sending = asyncio.ensure_future(made.cycle.send(text("hello")))
    await turns()
    assert not sending.done()
    made.channel.resumed.set()
    await sending


async def test_send_that_waits_hears_of_the_disconnect() -> None:
    made = await Made().opened()
    made.channel.paused, made.channel.resumed = True, asyncio.Event()
    sending = asyncio.ensure_future(made.cycle.send(text("hello")))
    await turns()
    made.cycle.disconnect(1006, "")
    made.channel.resumed.set()
    with pytest.raises(ClientDisconnected):
        await sending


# Ends.


async def test_close_of_the_application() -> None:
    made = await Made().opened()
    await made.cycle.send(CLOSE)
    assert made.channel.calls == [("close", 4001, "enough")]
    assert await made.cycle.receive() == {"type": "websocket.disconnect", "code": 4001, "reason": "enough"}
    for message in (text("more"), CLOSE):
        with pytest.raises(RuntimeError, match="after the WebSocket was closed"):
            await made.cycle.send(message)


async def test_close_without_a_code_is_1000() -> None:
    for message in ({}, {"code": None, "reason": None}):
        made = await Made().opened()
        await made.cycle.send({"type": "websocket.close", **message})
        assert made.channel.calls == [("close", 1000, "")]


@pytest.mark.parametrize("opened", [True, False])
async def test_reason_that_is_no_text_becomes_one(opened: bool) -> None:
    """FastAPI closes with the list of what it found invalid."""
    made = Made()
    if opened:
        await made.opened()
    await made.cycle.send({"type": "websocket.close", "code": 1008, "reason": [1]})
    assert (await made.cycle.receive())["type"] == ("websocket.disconnect" if opened else "websocket.connect")
    assert await made.cycle.receive() == {"type": "websocket.disconnect", "code": 1008, "reason": "[1]"}


async def test_messages_that_had_come_are_there_before_the_disconnect() -> None:
    made = await Made().opened()
    made.cycle.feed("last words")
    made.cycle.disconnect(1001, "tab closed")
    assert await made.cycle.receive() == {"type": "websocket.receive", "text": "last words"}
    for _ in range(2):
        assert await made.cycle.receive() == {
            "type": "websocket.disconnect",
            "code": 1001,
            "reason": "tab closed",
        }


async def test_send_after_the_disconnect_is_an_os_error() -> None:
    made = await Made().opened()
    made.cycle.disconnect(1000, "")
    for message in (text("more"), CLOSE):
        with pytest.raises(ClientDisconnected):
            await made.cycle.send(message)


async def test_send_after_the_disconnect_is_ignored_where_that_is_asked_for() -> None:
    made = Made()
    after: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        made.cycle.disconnect(1006, "")
        await send(text("more"))
        after.append("went on")

    await made.cycle.run(IgnoringSend(app))
    assert after == ["went on"]


# What becomes of an application.

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def run(app: App) -> Made:
    made = Made()
    await made.cycle.run(app)
    return made


async def test_crash_before_accept_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("on purpose")

    made = await run(app)
    assert made.answered == [500]
    assert "Exception in ASGI application" in caplog.text


async def test_return_without_an_answer_is_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    made = await run(app)
    assert made.answered == [500]
    assert "without accepting or closing" in caplog.text


async def test_crash_after_accept_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        raise ValueError("on purpose")

    made = await run(app)
    assert made.channel.calls[1:] == [("close", 1011, "")]
    assert "Exception in ASGI application" in caplog.text


async def test_return_after_accept_closes_with_1000(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)

    made = await run(app)
    assert made.channel.calls[1:] == [("close", 1000, "")]
    assert caplog.text == ""


async def test_crash_inside_a_denial_cuts_it_off(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({**BODY, "more_body": True})
        raise ValueError("on purpose")

    made = await run(app)
    assert made.writer.calls == [("begin", 401, b"no"), ("abort",)]


async def test_denial_with_bad_headers_is_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"x", b"\n")]})
        await send(BODY)

    made = await run(app)
    assert made.answered == [500]


async def test_application_that_stops_at_a_client_that_left_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Made()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        made.cycle.disconnect(1006, "")
        await send(text("more"))

    await made.cycle.run(app)
    assert caplog.text == ""
    assert made.channel.calls[1:] == []


async def test_cancelled_application_says_goodbye() -> None:
    made = Made()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await asyncio.Event().wait()

    task = asyncio.ensure_future(made.cycle.run(app))
    await turns()
    task.cancel()
    await turns()
    assert task.cancelled()
    assert made.channel.calls[1:] == [("close", 1001, "")]


def test_a_cycle_says_where_it_is() -> None:
    async def main() -> None:
        made = Made()
        assert repr(made.cycle) == "<WebSocketCycle b'/chat' connecting ->"
        await made.opened()
        made.cycle.disconnect(1001, "")
        assert repr(made.cycle) == "<WebSocketCycle b'/chat' lost 1001>"

    asyncio.run(main())
