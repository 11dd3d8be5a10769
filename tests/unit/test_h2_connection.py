"""One HTTP/2 connection on a scripted transport, with h2's client at the other end: requests, windows, turns, deadlines, ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from pathlib import Path
from typing import Any

import pytest
from h2 import events
from h2.settings import SettingCodes

from pronghorn.asgi.disconnect import ClientDisconnected
from pronghorn.net.h2_connection import H2Connection
from pronghorn.net.rounds import Rounds
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.h2_frames import frame_head
from pronghorn.wire.limits import RequestLimits
from tests.support.h2_client import Client, http2
from tests.support.scripted import make_service, turns

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


async def whole(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        event = await receive()
        assert event["type"] == "http.request"
        body += event["body"]
        if not event["more_body"]:
            return body


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The path, and the body, in one piece."""
    body = await whole(receive)
    await send(START)
    await send({"type": "http.response.body", "body": scope["path"].encode() + body})


async def large(scope: Scope, receive: Receive, send: Send) -> None:
    """As many bytes as the path says, in pieces of 40 000."""
    left = int(scope["path"][1:])
    await send(START)
    while left:
        size = min(left, 40_000)
        left -= size
        await send({"type": "http.response.body", "body": bytes(size), "more_body": True})
    await send({"type": "http.response.body"})


async def test_request_and_response() -> None:
    service = make_service(echo)
    client = Client(service)
    stream = client.request("/a", (b"x-a", b"b"))
    await client.settle()
    assert client.headers(stream) == {
        b":status": b"200",
        b"content-type": b"text/plain",
        b"content-length": b"2",
    }
    assert client.data(stream) == b"/a"
    assert client.ended(stream)
    assert service.observer.seen == [("/a", 200, 0, 2)]  # type: ignore[attr-defined]
    assert service.active == 0
    assert client.server.wire.streams == {}


async def test_what_the_scope_says() -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    client = Client(make_service(app))
    client.request("/a%20b?c=d", (b"cookie", b"a=1"), (b"x-y", b"z"), (b"cookie", b"b=2"))
    await client.settle()
    (scope,) = scopes
    assert (scope["http_version"], scope["method"], scope["path"]) == ("2", "GET", "/a b")
    assert (scope["raw_path"], scope["query_string"], scope["scheme"]) == (b"/a%20b", b"c=d", "http")
    assert scope["headers"] == [(b"host", b"example.org"), (b"x-y", b"z"), (b"cookie", b"a=1; b=2")]
    assert {"http.response.trailers", "http.response.push", "http.response.early_hint"} <= scope[
        "extensions"
    ].keys()


async def test_body_larger_than_every_window_goes_through_as_it_is_taken() -> None:
    client = Client(make_service(echo), http2(initial_window=65_535, connection_window=65_535))
    await client.settle()
    stream = client.request("/", method="POST", end=False)
    left = body = bytes(range(256)) * 2000
    while left:
        size = min(len(left), client.h2.local_flow_control_window(stream), 16_384)
        assert size, "the window was not given back"
        client.body(stream, left[:size], end=size == len(left))
        left = left[size:]
        await client.settle()
    await client.settle()
    assert client.data(stream) == b"/" + body


async def test_application_that_takes_nothing_holds_up_its_own_stream_alone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await asyncio.Event().wait()
        await echo(scope, receive, send)

    service = make_service(app)
    client = Client(service, http2(initial_window=65_535, connection_window=1_000_000))
    await client.settle()
    slow = client.request("/slow", method="POST", end=False)
    for size in (16_384, 16_384, 16_384, 16_383):
        client.body(slow, bytes(size), end=False)
    await client.settle()
    assert client.h2.local_flow_control_window(slow) == 0
    other = client.request("/other", method="POST", end=False)
    client.body(other, b"x" * 16_384)
    await client.settle()
    assert client.data(other) == b"/other" + b"x" * 16_384
    for task in service.tasks:
        task.cancel()


async def test_response_larger_than_the_windows_waits_for_them() -> None:
    client = Client(make_service(large))
    client.reading = False
    stream = client.request("/300000")
    await client.settle()
    assert len(client.data(stream)) == 65_535
    client.h2.increment_flow_control_window(1_000_000)
    client.h2.increment_flow_control_window(1_000_000, stream)
    client.send()
    await client.settle()
    assert len(client.data(stream)) == 300_000
    assert client.ended(stream)


async def test_small_windows_of_the_peer_and_one_that_becomes_negative() -> None:
    client = Client(make_service(large), settings={SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    client.reading = False
    stream = client.request("/5000")
    await client.settle()
    assert len(client.data(stream)) == 1000
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    client.send()
    await client.settle()
    client.h2.increment_flow_control_window(900, stream)  # not out of the red yet
    client.send()
    await client.settle()
    assert len(client.data(stream)) == 1000
    client.h2.increment_flow_control_window(95, stream)
    client.send()
    await client.settle()
    assert len(client.data(stream)) == 1005


async def test_streams_take_turns() -> None:
    client = Client(make_service(large), settings={SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
    client.h2.increment_flow_control_window(1_000_000)
    client.server.pause_writing()
    streams = [client.request("/200000") for _ in range(3)]
    await client.settle()
    client.server.resume_writing()
    await client.settle()
    order = [event.stream_id for event in client.of(events.DataReceived)]
    assert sorted(set(order)) == streams
    # Nobody gets two turns while another waits.
    assert order[:9] == streams * 3
    assert all(len(client.data(stream)) == 200_000 for stream in streams)


async def test_who_is_urgent_comes_first_and_who_is_of_no_use_in_parts_is_not_divided() -> None:
    client = Client(make_service(large), settings={SettingCodes.INITIAL_WINDOW_SIZE: 1_000_000})
    client.h2.increment_flow_control_window(1_000_000)
    client.server.pause_writing()
    later = client.request("/50000", (b"priority", b"u=5"))
    whole_one = client.request("/50000", (b"priority", b"u=1"))
    other = client.request("/50000", (b"priority", b"u=1"))
    await client.settle()
    client.server.resume_writing()
    await client.settle()
    order = [event.stream_id for event in client.of(events.DataReceived)]
    assert order == sorted(order, key=[whole_one, other, later].index)


async def test_application_waits_while_its_response_does() -> None:
    sent: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        for number in range(100):
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
            sent.append(number)

    service = make_service(app)
    client = Client(service)
    client.reading = False
    stream = client.request()
    await client.settle()
    # 65 535 bytes are out; as many may wait, and a piece more.
    assert len(sent) < 16
    client.h2.reset_stream(stream)
    client.send()
    await client.settle()
    assert service.tasks == set()
    assert service.active == 0


async def test_what_is_written_in_one_turn_goes_out_as_one_write() -> None:
    client = Client(make_service(echo))
    await client.settle()
    client.transport.writes.clear()
    for path in ("/a", "/b", "/c"):
        client.h2.send_headers(
            client.h2.get_next_available_stream_id(),
            [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path.encode())],
            end_stream=True,
        )
    client.send()
    await turns()
    assert len(client.transport.writes) == 1


async def test_reset_stream_is_a_disconnect_and_its_task_counts_until_it_is_done() -> None:
    left = asyncio.Event()
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        left.set()
        await go.wait()
        with pytest.raises(ClientDisconnected):
            await send(START)
        raise ClientDisconnected("as applications let it through")

    service = make_service(app)
    client = Client(service, http2(max_concurrent_streams=1))
    await client.settle()
    asked = client.request()
    await client.settle()
    client.h2.reset_stream(asked)
    client.send()
    await client.settle()
    assert left.is_set()
    # CVE-2023-44487: the work that it has caused still goes on.
    refused = client.request()
    await client.settle()
    assert [event.error_code for event in client.of(events.StreamReset, refused)] == [7]
    go.set()
    await client.settle()
    assert client.server.wire.others == 0
    assert service.observer.seen == [("/", 0, 0, 0)]  # type: ignore[attr-defined]


async def test_request_that_is_reset_before_its_turn_costs_no_application() -> None:
    service = make_service(echo)
    service.rounds = Rounds(service.loop, eager=True)
    client = Client(service)
    await client.settle()
    client.h2.reset_stream(client.request())
    client.send()
    await client.settle()
    assert service.requests == service.active == client.server.wire.others == 0
    assert not client.server.wire.streams


async def test_response_ahead_of_the_request_s_end_tells_the_peer_to_stop() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"no"})

    client = Client(make_service(app))
    stream = client.request(method="POST", end=False)
    await client.settle()
    assert client.data(stream) == b"no"
    assert client.ended(stream)
    assert [event.error_code for event in client.of(events.StreamReset, stream)] == [0]


@pytest.mark.parametrize(
    ("declared", "sent", "told"),
    [(5, 3, "shorter"), (3, 5, "longer"), (5, 0, "shorter")],
)
async def test_length_that_the_application_does_not_keep(
    declared: int, sent: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "headers": [(b"content-length", b"%d" % declared)]})
        await send({"type": "http.response.body", "body": bytes(sent)})

    client = Client(make_service(app))
    stream = client.request()
    await client.settle()
    assert client.ended(stream) == (told == "longer")
    assert len(client.of(events.StreamReset, stream)) == (told == "shorter")
    assert len(client.data(stream)) == min(declared, sent)
    assert f"Response of GET / is {told} than its Content-Length" in caplog.text


async def test_head_and_bodiless_statuses_have_no_data() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
        await send({"type": "http.response.body", "body": b"not for you"})

    client = Client(make_service(app))
    streams = [client.request("/200", method="HEAD"), client.request("/204"), client.request("/304")]
    await client.settle()
    assert [client.data(stream) for stream in streams] == [b"", b"", b""]
    assert all(client.ended(stream) for stream in streams)
    assert client.headers(streams[0])[b"content-length"] == b"11"
    assert b"content-length" not in client.headers(streams[1])


async def test_trailers_hints_and_what_a_connection_has_not() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"X-Mixed", b" a ")]
        await send({**START, "headers": headers, "trailers": True})
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"Grpc-Status", b"0")]})

    client = Client(make_service(app))
    stream = client.request()
    await client.settle()
    (hint,) = client.of(events.InformationalResponseReceived, stream)
    assert (b":status", b"103") in [(bytes(n), bytes(v)) for n, v in hint.headers or ()]
    assert client.headers(stream) == {b":status": b"200", b"x-mixed": b"a"}
    (trailers,) = client.of(events.TrailersReceived, stream)
    assert [(bytes(n), bytes(v)) for n, v in trailers.headers or ()] == [(b"grpc-status", b"0")]


async def test_trailers_of_a_response_to_head_are_dropped() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**START, "trailers": True})
        await send({"type": "http.response.body", "body": b"body"})
        await send({"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]})

    client = Client(make_service(app))
    stream = client.request(method="HEAD")
    await client.settle()
    assert client.ended(stream)
    assert client.data(stream) == b""
    assert client.of(events.TrailersReceived, stream) == []


async def test_pushed_response_is_made_by_the_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        if scope["path"] == "/":
            await send(
                {"type": "http.response.push", "path": "/a.css", "headers": [(b"accept", b"text/css")]}
            )
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    client = Client(make_service(app))
    client.request("/")
    await client.settle()
    (pushed,) = client.of(events.PushedStreamReceived)
    assert pushed.pushed_stream_id == 2
    assert dict(pushed.headers or ())[b":path"] == b"/a.css"
    assert client.data(2) == b"/a.css"
    assert client.ended(2)


async def test_file_is_sent_in_frames(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 1000)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    client = Client(make_service(app))
    stream = client.request()
    await client.settle()
    assert client.data(stream) == bytes(range(256)) * 1000
    assert client.headers(stream)[b"content-length"] == b"256000"
    assert client.ended(stream)


async def test_expect_is_answered_when_the_body_is_asked_for() -> None:
    client = Client(make_service(echo))
    stream = client.request("/", (b"expect", b"100-continue"), method="POST", end=False)
    await client.settle()
    assert len(client.of(events.InformationalResponseReceived, stream)) == 1
    client.body(stream, b"body")
    await client.settle()
    assert client.data(stream) == b"/body"


@pytest.mark.parametrize(
    ("limits", "fields", "status"),
    [
        ({"fields": 2}, [(b"x-%d" % number, b"") for number in range(3)], b"431"),
        ({"field_bytes": 100}, [(b"x-long", bytes(b"a" * 200))], b"431"),
        ({"line": 20}, [], b"414"),
        ({"body": 3}, [(b"content-length", b"4")], b"413"),
    ],
)
async def test_limits_are_answered_on_the_stream(
    limits: dict[str, Any], fields: list[tuple[bytes, bytes]], status: bytes
) -> None:
    client = Client(make_service(echo), http2(limits=RequestLimits(**limits)))
    await client.settle()
    refused = client.request("/a-path-of-some-length", *fields, end=False)
    await client.settle()
    assert client.headers(refused)[b":status"] == status
    if status != b"414":
        fine = client.request("/")
        await client.settle()
        assert client.data(fine) == b"/"


async def test_body_over_the_limit_that_declares_no_length() -> None:
    service = make_service(echo)
    client = Client(service, http2(limits=RequestLimits(body=10)))
    stream = client.request(method="POST", end=False)
    client.body(stream, bytes(11), end=False)
    await client.settle()
    assert client.headers(stream)[b":status"] == b"413"
    assert service.active == 0


async def test_failing_application() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/late":
            await send(START)
            await send({"type": "http.response.body", "body": b"begin", "more_body": True})
        raise ValueError("on purpose")

    client = Client(make_service(app))
    early, late = client.request("/early"), client.request("/late")
    await client.settle()
    assert client.headers(early)[b":status"] == b"500"
    assert client.ended(early)
    assert [event.error_code for event in client.of(events.StreamReset, late)] == [2]


# Ends.


async def test_drain_is_told_in_two_steps_and_finishes_what_is_in_flight() -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await echo(scope, receive, send)

    client = Client(make_service(app))
    stream = client.request("/a")
    await client.settle()
    client.server.shutdown()
    await turns()
    written = bytes(client.transport.written)
    assert frame_head(8, 7, 0, 0) + b"\x7f\xff\xff\xff" + bytes(4) in written
    # What is on its way is still served.
    client.transport.written.clear()
    client.transport.feed(client_headers(client, 3))
    client.transport.feed(frame_head(8, 6, 1, 0) + b"draining")
    await turns()
    assert frame_head(8, 7, 0, 0) + (3).to_bytes(4, "big") + bytes(4) in bytes(client.transport.written)
    assert client.server.busy
    go.set()
    await turns(10)
    assert client.transport.closed
    assert bytes(client.transport.written).count(b"/a") >= 2
    assert stream == 1


def client_headers(client: Client, stream: int) -> bytes:
    """The frame of a request, without h2's client knowing of it."""
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"/a")]
    block = client.h2.encoder.encode(fields)
    return frame_head(len(block), 1, 5, stream) + block


async def test_idle_connection_is_told_and_closed() -> None:
    service = make_service(echo)
    client = Client(service)
    client.request()
    await client.settle()
    for _ in range(service.keep_alive_ticks):
        assert not client.transport.closed
        service.deadlines.advance()
    await client.settle()
    assert client.transport.closed
    assert [event.last_stream_id for event in client.of(events.ConnectionTerminated)] == [1]


async def test_connection_with_a_stream_is_not_idle() -> None:
    go = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await go.wait()
        await echo(scope, receive, send)

    service = make_service(app)
    client = Client(service)
    stream = client.request()
    await client.settle()
    for _ in range(100):
        service.deadlines.advance()
    go.set()
    await client.settle()
    assert client.ended(stream)
    assert not client.transport.closed


async def test_settings_that_are_never_acknowledged() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    service = make_service(app)
    client = Client(service)
    client.transport.written.clear()
    client.request()
    await turns()
    for _ in range(service.header_ticks):
        service.deadlines.advance()
    await turns()
    assert frame_head(8 + len(b"settings were not acknowledged"), 7, 0, 0) in bytes(client.transport.written)
    assert service.active == 0


async def test_header_block_that_does_not_go_on() -> None:
    service = make_service(echo)
    client = Client(service)
    await client.settle()
    client.transport.feed(frame_head(1, 1, 0, 1) + b"\x82")
    for _ in range(service.header_ticks + 1):
        service.deadlines.advance()
    assert client.transport.closed or client.transport.eof_written


async def test_body_that_does_not_come_is_answered_408() -> None:
    service = make_service(echo)
    client = Client(service)
    stream = client.request(method="POST", end=False)
    await client.settle()
    for _ in range(service.body_ticks):
        service.deadlines.advance()
    await client.settle()
    assert client.headers(stream)[b":status"] == b"408"
    assert service.active == 0
    assert service.observer.seen == [("/", 408, 0, 0)]  # type: ignore[attr-defined]


async def test_peer_that_never_gives_a_window_loses_the_stream() -> None:
    service = make_service(large)
    client = Client(service)
    client.reading = False
    stream = client.request("/500000")
    await client.settle()
    # In the first of two periods a window full of it was sent.
    for _ in range(2 * service.body_ticks):
        service.deadlines.advance()
    await client.settle()
    assert [event.error_code for event in client.of(events.StreamReset, stream)] == [8]
    assert service.tasks == set()
    assert service.active == 0


async def test_silent_peer_is_asked_and_then_given_up() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    service = make_service(app)
    client = Client(service, http2(ping_ticks=3))
    client.request()
    await client.settle()
    for _ in range(12):
        service.deadlines.advance()
        await client.settle()  # and it answers, within the tick of the question
        assert not client.transport.closed
    for _ in range(8):
        service.deadlines.advance()
    assert client.transport.aborted


async def test_lost_connection_ends_every_stream() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    service = make_service(app)
    client = Client(service)
    for _ in range(3):
        client.request()
    await client.settle()
    assert service.active == 3
    client.transport.lose()
    await turns()
    assert (service.active, service.tasks, service.connections) == (0, set(), set())


async def test_flood_is_ended(caplog: pytest.LogCaptureFixture) -> None:
    client = Client(make_service(echo))
    await client.settle()
    for _ in range(2000):
        client.transport.feed(frame_head(8, 6, 0, 0) + bytes(8))
        if client.transport.eof_written:
            break
    assert client.transport.eof_written
    assert "too many frames: ping (11)" in caplog.text


async def test_concurrency_limit_and_request_limit() -> None:
    asked: list[str] = []
    service = make_service(
        echo, limit_concurrency=1, limit_requests=2, on_request_limit=lambda: asked.append("go")
    )
    client = Client(service)
    await client.settle()
    first = client.request(method="POST", end=False)
    second = client.request()
    await client.settle()
    assert client.headers(second)[b":status"] == b"503"
    client.body(first, b"x")
    await client.settle()
    assert asked == []
    client.request()
    await client.settle()
    assert asked == ["go"]


async def test_nothing_is_left_to_the_collector() -> None:
    service = make_service(echo)
    client = Client(service)
    client.request()
    await client.settle()
    gc.collect()
    gc.disable()
    try:
        seen: list[weakref.ref[Any]] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append(weakref.ref(asyncio.current_task()))
            await echo(scope, receive, send)

        service.app = app
        stream = client.request()
        await client.settle()
        assert client.ended(stream)
        assert [found() for found in seen] == [None]
    finally:
        gc.enable()


async def test_log_is_quiet_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = Client(make_service(echo))
    client.request()
    await client.settle()
    client.transport.lose()
    await turns()
    assert caplog.text == ""
    assert isinstance(client.server, H2Connection)
