"""Early hints, trailers, files and the end of the server, in one cycle against a writer that only records."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from pronghorn.asgi.disconnect import ClientDisconnected, IgnoringSend
from pronghorn.asgi.states import CLOSED, COMPLETE, FILE, HELD, HINTED, OPEN, TRAILING
from pronghorn.types import Message, Receive, Scope, Send
from pronghorn.wire.ports import InvalidResponse
from tests.support.scripted import turns
from tests.unit.test_cycle import DISCONNECT, HINT, LAST, PIECE, PUSH, START, TRAILERS, make

ANNOUNCED = {**START, "trailers": True}
STREAM = {**START, "headers": [(b"content-type", b"text/event-stream")]}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(100_000))
    return path


def pathsend(path: object) -> dict[str, Any]:
    return {"type": "http.response.pathsend", "path": str(path)}


# Early hints.


async def test_hints_go_ahead_of_the_head_which_is_held_meanwhile() -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    await cycle.send(HINT)
    await turns()
    await cycle.send(HINT)
    await turns()
    assert cycle.state == HINTED
    await cycle.send(LAST)
    assert writer.calls == [("inform", 103), ("inform", 103), ("respond", 200, b"last")]


async def test_hint_behind_the_head_is_dropped() -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    await cycle.send(PIECE)
    await cycle.send(HINT)
    assert writer.calls == [("begin", 200, b"piece")]


async def test_push_goes_ahead_of_what_refers_to_it_and_does_not_hold_the_head() -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    await cycle.send({**PUSH, "headers": [(b"accept", b"text/css")]})
    assert cycle.state == HELD
    await cycle.send(PIECE)
    await cycle.send(PUSH)
    await cycle.send(LAST)
    assert writer.calls == [
        ("push", "/a.css", (b"accept", b"text/css")),
        ("begin", 200, b"piece"),
        ("push", "/a.css"),
        ("chunk", b"last"),
        ("end",),
    ]


async def test_push_without_the_extension_is_dropped() -> None:
    cycle, writer, _ = make()
    cycle.scope["extensions"] = {}
    await cycle.send(START)
    await cycle.send(PUSH)
    await cycle.send(LAST)
    assert writer.calls == [("respond", 200, b"last")]


async def test_hint_without_links_or_without_the_extension_is_dropped() -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    await cycle.send({**HINT, "links": []})
    cycle.scope["extensions"] = {}
    await cycle.send(HINT)
    assert writer.calls == []


# Trailers.


async def test_trailers_follow_the_body() -> None:
    cycle, writer, recorder = make()
    await cycle.send(ANNOUNCED)
    await cycle.send(PIECE)
    await cycle.send(LAST)
    assert cycle.state == TRAILING
    assert recorder.seen == []
    await cycle.send({**TRAILERS, "more_trailers": True})
    await cycle.send({**TRAILERS, "headers": [(b"x-b", b"2")]})
    assert writer.calls[1:] == [("chunk", b"last"), ("end", (b"x-sum", b"1"), (b"x-b", b"2"))]
    assert recorder.seen == [("/", 200, 0, 9)]


async def test_announced_trailers_may_be_none() -> None:
    cycle, writer, _ = make()
    await cycle.send(ANNOUNCED)
    await cycle.send(LAST)
    await cycle.send({"type": "http.response.trailers"})
    assert writer.calls == [("begin", 200, b"last"), ("end",)]


@pytest.mark.parametrize(
    "field",
    [(b"content-length", b"1"), (b"Transfer-Encoding", b"chunked"), (b"host", b"a"), (b"set-cookie", b"a=b")],
)
async def test_a_field_that_may_not_come_behind_a_body_is_refused(field: tuple[bytes, bytes]) -> None:
    cycle, writer, _ = make()
    await cycle.send(ANNOUNCED)
    await cycle.send(LAST)
    with pytest.raises(InvalidResponse, match="not allowed in trailers"):
        await cycle.send({**TRAILERS, "headers": [(b"x-a", b"1"), field]})
    with pytest.raises(InvalidResponse, match="invalid value"):
        await cycle.send({**TRAILERS, "headers": [(b"x-a", b"1\r\nx: y")]})
    await cycle.send(TRAILERS)
    assert writer.calls[-1] == ("end", (b"x-sum", b"1")), "nothing of what was refused"


async def test_application_that_fails_before_its_trailers_breaks_the_connection() -> None:
    cycle, writer, _ = make()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ANNOUNCED)
        await send(LAST)

    await cycle.run(app)
    assert writer.calls[-1] == ("abort",)
    assert cycle.state == CLOSED


async def test_application_that_fails_before_its_body_is_a_500_without_trailers() -> None:
    cycle, writer, _ = make()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(ANNOUNCED)

    await cycle.run(app)
    assert writer.calls == [("respond", 500, b"Internal Server Error")]
    assert cycle.state == COMPLETE


# Files.


async def test_small_file_is_a_body_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    cycle, writer, recorder = make()
    await cycle.send(START)
    await cycle.send(pathsend(tmp_path / "small"))
    assert writer.calls == [("respond", 200, b"abc")]
    assert recorder.seen == [("/", 200, 0, 3)]


async def test_large_file_is_sent_by_reference_with_its_length(large: Path) -> None:
    cycle, writer, recorder = make()
    await cycle.send(START)
    await cycle.send(pathsend(large))
    assert writer.calls == [("begin", 200, b""), ("file", 0, 100_000), ("end",)]
    assert writer.headers == [(b"x-a", b"b"), (b"content-length", b"100000")]
    assert recorder.seen == [("/", 200, 0, 100_000)]


async def test_length_of_the_application_stays(large: Path) -> None:
    cycle, writer, _ = make()
    await cycle.send({**START, "headers": [(b"Content-Length", b"7")]})
    await cycle.send(pathsend(large))
    assert writer.headers == [(b"Content-Length", b"7")]


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
async def test_what_is_no_file_leaves_the_response_as_it_was(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        (tmp_path / kind).mkdir()
    elif kind == "pipe":
        os.mkfifo(tmp_path / kind)
    cycle, writer, _ = make()
    await cycle.send(START)
    with pytest.raises(OSError, match=r"No such file|not a regular file"):
        await cycle.send(pathsend(tmp_path / kind))
    assert cycle.state == HELD
    await cycle.send(LAST)
    assert writer.calls == [("respond", 200, b"last")]


async def test_nothing_else_is_sent_while_a_file_is_on_its_way(large: Path) -> None:
    cycle, writer, _ = make()
    writer.file_lets_go = asyncio.get_running_loop().create_future()
    await cycle.send(START)
    sending = asyncio.ensure_future(cycle.send(pathsend(large)))
    await turns()
    assert cycle.state == FILE
    for message in (LAST, HINT, TRAILERS, pathsend(large)):
        with pytest.raises(RuntimeError, match="Expected ASGI message the end of the file"):
            await cycle.send(message)
    writer.file_lets_go.set_result(None)
    await sending
    assert cycle.state == COMPLETE


async def test_cancelled_file_breaks_the_connection(large: Path) -> None:
    cycle, writer, recorder = make()
    writer.file_lets_go = asyncio.get_running_loop().create_future()
    await cycle.send(START)
    sending = asyncio.ensure_future(cycle.send(pathsend(large)))
    await turns()
    sending.cancel()
    await turns()
    assert sending.cancelled()
    assert writer.calls[-1] == ("abort",)
    assert len(recorder.seen) == 1
    with pytest.raises(ClientDisconnected):
        await cycle.send(LAST)


async def test_position_of_a_file_moves_along_with_what_was_sent(large: Path) -> None:
    cycle, writer, _ = make()
    await cycle.send(START)
    with large.open("rb") as file:
        file.read(10)
        message = {"type": "http.response.zerocopysend", "file": file, "more_body": True}
        await cycle.send({**message, "count": 20})
        assert file.tell() == 30
        await cycle.send({**message, "offset": 0, "count": 5})
        assert file.tell() == 30, "a part that says where it begins is taken from there"
        await cycle.send({**message, "file": file.fileno(), "offset": 99_999})
    assert [call for call in writer.calls if call[0] == "chunk"] == [("chunk", bytes(5)), ("chunk", bytes(1))]


@pytest.mark.parametrize("part", [{"offset": -1}, {"count": -1}])
async def test_part_that_is_none(large: Path, part: dict[str, int]) -> None:
    cycle, _, _ = make()
    await cycle.send(START)
    with large.open("rb") as file, pytest.raises(ValueError, match="no part of a file"):
        await cycle.send({"type": "http.response.zerocopysend", "file": file, **part})


# The end of the server, and of the client.


async def test_receive_tells_a_response_under_way_that_the_server_goes() -> None:
    cycle, writer, _ = make()
    cycle.feed_end()
    await cycle.receive()
    await cycle.send(STREAM)
    receiving = asyncio.ensure_future(cycle.receive())
    await turns()
    assert cycle.endless
    cycle.hurry()
    assert await receiving == DISCONNECT
    assert await cycle.receive() == DISCONNECT
    await cycle.send(PIECE)
    await cycle.send(LAST)
    assert writer.calls[-2:] == [("chunk", b"last"), ("end",)], "and it can still say goodbye"


async def test_stream_that_is_cut_ends_well_on_the_wire() -> None:
    cycle, writer, recorder = make()
    cycle.feed_end()
    await cycle.receive()
    await cycle.send(STREAM)
    await cycle.send(PIECE)
    working = asyncio.create_task(asyncio.Event().wait())
    await turns()
    cycle.cut(working)
    with pytest.raises(asyncio.CancelledError):
        await working
    assert writer.calls[-1] == ("end",)
    assert recorder.seen == [("/", 200, 0, 5)]
    assert await cycle.receive() == DISCONNECT
    with pytest.raises(ClientDisconnected):
        await cycle.send(PIECE)


async def test_other_responses_are_not_endless() -> None:
    cycle, _, _ = make()
    await cycle.send(START)
    await cycle.send(PIECE)
    assert cycle.state == OPEN
    assert not cycle.endless
    cycle.cut(None)
    assert cycle.state == OPEN


async def test_send_that_ignores_the_disconnect_gives_others_a_turn() -> None:
    cycle, _, _ = make()
    cycle.disconnect()
    others = asyncio.Event()
    asyncio.get_running_loop().call_soon(others.set)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = dict(PIECE)
        while not others.is_set():
            await send(message)

    await IgnoringSend(app)(cycle.scope, cycle.receive, cycle.send)
