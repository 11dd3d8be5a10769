"""The request/response cycle against a writer that only records: the ASGI HTTP specification, sentence by sentence."""

import asyncio
import logging
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.asgi import states as states_module
from pronghorn.asgi.disconnect import ClientDisconnected
from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.states import CLOSED, COMPLETE, HELD, HINTED, IDLE, OPEN, TRAILING, TRANSITIONS
from pronghorn.net import files
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.headers import field_line
from pronghorn.wire.ports import FilePart, Headers, RequestHead
from tests.support.drawn import drawn
from tests.support.scripted import Recorder, turns

START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]}
PIECE = {"type": "http.response.body", "body": b"piece", "more_body": True}
LAST = {"type": "http.response.body", "body": b"last"}
DISCONNECT = {"type": "http.disconnect"}
EXTENSIONS: dict[str, Any] = {"http.response.early_hint": {}, "http.response.push": {}}


class Writer:
    """A `ResponseWriter` that keeps the calls made to it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.paused = False
        self.resumed: asyncio.Event | None = None
        self.taken = 0
        self.failures = 0
        #: How many calls there were, each time that a response was let go.
        self.handed_over: list[int] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.file_lets_go: asyncio.Future[None] | None = None

    def respond(self, status: int, headers: Any, body: bytes) -> int:
        for name, value in headers:
            field_line(name, value)
        self.calls.append(("respond", status, body))
        return len(body)

    def begin(self, status: int, headers: Any, body: bytes) -> int:
        for name, value in headers:
            field_line(name, value)
        self.headers = list(headers)
        self.calls.append(("begin", status, body))
        return len(body)

    def chunk(self, data: bytes) -> int:
        self.calls.append(("chunk", data))
        return len(data)

    def end(self, trailers: Headers = ()) -> None:
        self.calls.append(("end", *trailers))

    def done(self) -> None:
        self.handed_over.append(len(self.calls))

    def failed(self) -> None:
        self.failures += 1

    def file(self, source: object, offset: int | None, count: int | None) -> FilePart:
        return files.FilePart(source, offset, count)

    async def send_file(self, part: FilePart, sent: Callable[[int], None]) -> None:
        self.calls.append(("file", part.offset, part.size))
        if self.file_lets_go is not None:
            await self.file_lets_go
        sent(part.size)

    def inform(self, status: int, headers: Any) -> None:
        self.calls.append(("inform", status))

    def push(self, path: str, headers: Any) -> None:
        self.calls.append(("push", path, *headers))

    def abort(self) -> None:
        self.calls.append(("abort",))

    def consumed(self, size: int) -> None:
        self.taken += size

    async def drain(self) -> None:
        assert self.resumed is not None
        await self.resumed.wait()


def make(*, expects_continue: bool = False) -> tuple[HttpCycle, Writer, Recorder]:
    head = RequestHead()
    head.method = "GET"
    head.target = b"/"
    head.http_version = "1.1"
    head.request_id, head.id_line = "", b""
    head.expects_continue = expects_continue
    writer, recorder = Writer(), Recorder()
    cycle = HttpCycle(
        head,
        {"type": "http", "path": "/", "extensions": EXTENSIONS},
        writer,
        recorder,
        logging.getLogger("pronghorn.error"),
        0,
    )
    return cycle, writer, recorder


# The state machine.

HINT = {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
PUSH = {"type": "http.response.push", "path": "/a.css", "headers": []}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]}
ZEROCOPY = {"type": "http.response.zerocopysend", "file": None, "offset": 0}

EVENTS: dict[str, dict[str, Any]] = {
    "start": START,
    "hint": HINT,
    "push": PUSH,
    "body+": PIECE,
    "body": LAST,
    "file+": {**ZEROCOPY, "count": 5, "more_body": True},
    "file": {**ZEROCOPY, "count": 100_000},
    "trailers+": {**TRAILERS, "more_trailers": True},
    "trailers": TRAILERS,
}


@given(st.lists(st.sampled_from([*EVENTS, "turn", "disconnect"]), max_size=12), st.booleans())
def test_send_agrees_with_the_table(steps: list[str], announced: bool) -> None:
    async def main(file: BinaryIO) -> None:
        cycle, writer, recorder = make()
        state = IDLE
        for step in steps:
            event = EVENTS.get(step, {})
            if "file" in event:
                event = event | {"file": file}
            if step == "start":
                event = event | {"trailers": announced}
            # A file is a body, and the last piece of one is not the end if trailers are to come.
            kind = step.replace("file", "body").replace("body", "body;" if announced else "body", 1)
            kind = kind.removesuffix(";+") + "+" if kind.endswith(";+") else kind
            if step == "turn":
                # A turn of the loop writes a held head, and so does nothing that the table knows of.
                await turns()
                state = OPEN if state == HELD else state
            elif step == "disconnect":
                cycle.disconnect()
                state = CLOSED if state < COMPLETE else state
            elif (state, kind) in TRANSITIONS:
                await cycle.send(event)
                state = TRANSITIONS[state, kind]
            else:
                with pytest.raises(ClientDisconnected if state == CLOSED else RuntimeError):
                    await cycle.send(event)
            assert cycle.state == state
        # Whatever the order: one head at most, nothing behind the end, and told once.
        names = [call[0] for call in writer.calls]
        assert names.count("respond") + names.count("begin") <= 1
        assert names.count("end") + names.count("respond") == (state == COMPLETE)
        assert len(recorder.seen) == (state >= COMPLETE)
        # And the time of the first byte is taken where it does not go with the last.
        assert (cycle.first_byte > 0) == ("begin" in names)

    with tempfile.TemporaryFile() as file:
        file.truncate(200_000)
        asyncio.run(main(file))


def test_the_table_says_how_to_get_out_of_every_state() -> None:
    ways = {before for before, _ in TRANSITIONS}
    assert ways == {IDLE, HELD, HINTED, OPEN, TRAILING}
    assert set(TRANSITIONS.values()) == {HELD, HINTED, OPEN, TRAILING, COMPLETE}


def test_the_docs_draw_the_same_table() -> None:
    assert drawn("### A response, as a table", states_module) == TRANSITIONS


async def test_response_is_counted_before_it_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    cycle, writer, _ = make()
    order: list[str] = []

    class Order:
        def response_complete(self, exchange: HttpCycle) -> None:
            order.append("counted")

    monkeypatch.setattr(cycle, "_observer", Order())

    def done() -> None:
        order.append("handed over")

    monkeypatch.setattr(writer, "done", done)
    await cycle.send({"type": "http.response.start", "status": 200, "headers": []})
    await cycle.send({"type": "http.response.body", "body": b"last"})
    assert writer.calls == [("respond", 200, b"last")]
    assert order == ["counted", "handed over"]


async def test_complete_response_is_one_call() -> None:
    cycle, writer, recorder = make()
    await cycle.send(START)
    assert writer.calls == []
    await cycle.send(LAST)
    assert writer.calls == [("respond", 200, b"last")]
    assert recorder.seen == [("/", 200, 0, 4)]


async def test_held_head_is_written_at_the_end_of_the_iteration() -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    await turns()
    assert writer.calls == [("begin", 200, b"")]
    await cycle.send(LAST)
    assert writer.calls[1:] == [("chunk", b"last"), ("end",)]


async def test_head_of_an_event_stream_is_written_at_once() -> None:
    cycle, writer, _ = make()
    await cycle.send({**START, "headers": [(b"content-type", b"text/event-stream; charset=utf-8")]})
    assert writer.calls == [("begin", 200, b"")]


async def test_piece_goes_out_with_the_head() -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    await cycle.send(PIECE)
    assert writer.calls == [("begin", 200, b"piece")]


async def test_body_defaults_to_nothing() -> None:
    cycle, writer, _ = make()
    await cycle.send({"type": "http.response.start", "status": 204})
    await cycle.send({"type": "http.response.body"})
    assert writer.calls == [("respond", 204, b"")]


@pytest.mark.parametrize("body", [bytearray(b"last"), memoryview(b"last")])
async def test_bytes_like_bodies_are_taken(body: bytes) -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    await cycle.send({"type": "http.response.body", "body": body})
    assert writer.calls == [("respond", 200, b"last")]


async def test_text_is_no_body() -> None:
    cycle, _, _ = make()
    await cycle.send(START)
    with pytest.raises(TypeError, match="must be bytes, got str"):
        await cycle.send({"type": "http.response.body", "body": "last"})


@pytest.mark.parametrize("status", [100, 199, 0, -1, 600, 999])
async def test_status_has_to_be_final(status: int) -> None:
    cycle, writer, _ = make()
    with pytest.raises(RuntimeError, match="no final HTTP status"):
        await cycle.send({**START, "status": status})
    assert writer.calls == []


async def test_send_waits_for_a_slow_reader() -> None:
    cycle, writer, _ = make()
    writer.paused, writer.resumed = True, asyncio.Event()
    await cycle.send(START)
    sending = asyncio.ensure_future(cycle.send(PIECE))
    await turns()
    assert not sending.done()
    writer.resumed.set()
    await sending


async def test_send_that_waits_hears_of_the_disconnect() -> None:
    cycle, writer, _ = make()
    writer.paused, writer.resumed = True, asyncio.Event()
    await cycle.send(START)
    sending = asyncio.ensure_future(cycle.send(PIECE))
    await turns()
    cycle.disconnect()
    writer.resumed.set()
    with pytest.raises(ClientDisconnected):
        await sending


def test_disconnect_is_an_os_error() -> None:
    assert issubclass(ClientDisconnected, OSError)


# The request side.


async def test_whole_body_is_one_event() -> None:
    cycle, writer, _ = make()
    cycle.feed(b"ab")
    cycle.feed(b"cd")
    cycle.feed_end()
    assert await cycle.receive() == {"type": "http.request", "body": b"abcd", "more_body": False}
    assert writer.taken == 4


async def test_body_in_pieces() -> None:
    cycle, _, _ = make()
    cycle.feed(b"ab")
    assert await cycle.receive() == {"type": "http.request", "body": b"ab", "more_body": True}
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    assert not receiving.done()
    cycle.feed(b"cd")
    assert await receiving == {"type": "http.request", "body": b"cd", "more_body": True}
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    cycle.feed_end()
    assert await receiving == {"type": "http.request", "body": b"", "more_body": False}


async def test_receive_after_the_body_waits_for_the_disconnect() -> None:
    cycle, _, recorder = make()
    cycle.feed_end()
    await cycle.receive()
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    assert not receiving.done()
    cycle.disconnect()
    assert await receiving == DISCONNECT
    assert recorder.seen == [("/", 0, 0, 0)]


async def test_receive_after_the_response_is_a_disconnect() -> None:
    cycle, _, _ = make()
    cycle.feed_end()
    await cycle.receive()
    receiving = asyncio.ensure_future(cycle.receive())
    await cycle.send(START)
    await cycle.send(LAST)
    assert await receiving == DISCONNECT
    assert await cycle.receive() == DISCONNECT


async def test_disconnect_inside_a_body() -> None:
    cycle, _, _ = make()
    cycle.feed(b"ab")
    await cycle.receive()
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    cycle.disconnect()
    assert await receiving == DISCONNECT


async def test_cancelling_one_receive_leaves_another_waiting() -> None:
    cycle, _, _ = make()
    first, second = (asyncio.ensure_future(cycle.receive()) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    assert first.cancelled()
    assert not second.done()
    cycle.feed_end()
    assert (await second)["type"] == "http.request"


async def test_unwanted_body_is_given_back() -> None:
    cycle, writer, _ = make()
    cycle.feed(b"abcd")
    await cycle.send(START)
    await cycle.send(LAST)
    assert writer.taken == 4


async def test_continue_is_sent_when_the_body_is_asked_for() -> None:
    cycle, writer, _ = make(expects_continue=True)
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    assert writer.calls == [("inform", 100)]
    cycle.feed(b"ab")
    await receiving
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    assert writer.calls == [("inform", 100)], "once"
    cycle.feed_end()
    await receiving


async def test_continue_is_not_sent_behind_a_response_or_to_a_client_that_did_not_wait() -> None:
    cycle, writer, _ = make(expects_continue=True)
    cycle.feed(b"ab")
    await cycle.receive()
    assert writer.calls == []
    cycle, writer, _ = make(expects_continue=True)
    await cycle.send(START)
    await turns()
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    assert ("inform", 100) not in writer.calls
    cycle.feed_end()
    await receiving


async def test_continue_goes_ahead_of_a_head_that_is_held() -> None:
    cycle, writer, _ = make(expects_continue=True)
    await cycle.send(START)
    await cycle.send(HINT)
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    assert writer.calls == [("inform", 103), ("inform", 100)]
    cycle.feed_end()
    await receiving


# What an application does wrong.


async def run(app: Any) -> tuple[HttpCycle, Writer, Recorder]:
    cycle, writer, recorder = make()
    cycle.feed_end()
    await cycle.run(app)
    return cycle, writer, recorder


async def test_exception_before_the_response_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("no")

    _, writer, recorder = await run(app)
    assert writer.calls == [("respond", 500, b"Internal Server Error")]
    assert recorder.seen == [("/", 500, 0, 21)]
    assert "Exception in ASGI application" in caplog.text
    assert "ValueError: no" in caplog.text


async def test_exception_behind_a_held_head_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        raise ValueError("no")

    _, writer, _ = await run(app)
    assert writer.calls == [("respond", 500, b"Internal Server Error")]


async def test_exception_inside_the_body_breaks_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(PIECE)
        raise ValueError("no")

    cycle, writer, recorder = await run(app)
    assert writer.calls[-1] == ("abort",)
    assert cycle.state == CLOSED
    assert recorder.seen == [("/", 200, 0, 5)]


async def test_invalid_header_is_a_500_and_nothing_of_it_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"x-a", b"b\r\nc: d")]})
        await send(LAST)

    _, writer, _ = await run(app)
    assert writer.calls == [("respond", 500, b"Internal Server Error")]
    assert "invalid value" in caplog.text


async def test_invalid_header_that_was_held_for_a_while_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"x-a", b"b\r\nc: d")]})
        await turns()
        await send(LAST)

    _, writer, _ = await run(app)
    assert writer.calls == [("respond", 500, b"Internal Server Error")]


async def test_no_response_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    _, writer, _ = await run(app)
    assert writer.calls == [("respond", 500, b"Internal Server Error")]
    assert "returned without starting response" in caplog.text


async def test_half_a_response_breaks_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(PIECE)

    _, writer, _ = await run(app)
    assert writer.calls[-1] == ("abort",)
    assert "returned without completing response" in caplog.text


async def test_application_that_stops_at_a_disconnect_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    cycle, writer, _ = make()
    cycle.feed_end()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        cycle.disconnect()
        await send(START)

    await cycle.run(app)
    assert writer.calls == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_cancelled_application_is_answered() -> None:
    cycle, writer, _ = make()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    task = asyncio.ensure_future(cycle.run(app))
    await turns()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writer.calls == [("respond", 500, b"Internal Server Error")]


async def test_event_behind_the_end_is_an_error() -> None:
    cycle, _, _ = make()
    await cycle.send(START)
    await cycle.send(LAST)
    with pytest.raises(RuntimeError, match="after response already completed"):
        await cycle.send(LAST)


def test_cycle_says_what_it_is() -> None:
    cycle, _, _ = make()
    assert repr(cycle) == "<HttpCycle GET b'/' idle ->"
