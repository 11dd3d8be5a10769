"""One HTTP/1.1 connection on a scripted transport, with both parsers: order, persistence, backpressure, deadlines, ends."""

import asyncio
import contextvars
import gc
import re
import sys

import pytest

from pronghorn.asgi.disconnect import ClientDisconnected
from pronghorn.net.h1_connection import H1Connection
from pronghorn.net.service import Service
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.limits import RequestLimits
from tests.support.scripted import PARSERS, ScriptedTransport, connect, make_service, turns

GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


@pytest.fixture(params=sorted(PARSERS))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def get(path: str, *lines: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: example.org", *lines, "", ""]).encode()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The path, and the body, in one piece."""
    body = b""
    while True:
        event = await receive()
        assert event["type"] == "http.request"
        body += event["body"]
        if not event["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["path"].encode() + body})


def answers(transport: ScriptedTransport) -> list[tuple[int, bytes]]:
    """Status and body of each response written so far; all of them have a length."""
    found, rest = [], bytes(transport.written)
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None, head
        size = int(length[1])
        found.append((int(head.split()[1]), rest[:size]))
        rest = rest[size:]
    return found


class Gate:
    """An application that answers one request at a time, when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        opened = asyncio.get_running_loop().create_future()
        self.waiting.append((scope["path"], opened))
        try:
            await opened
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": scope["path"].encode()})
            self.events.append("sent")
        except ClientDisconnected:
            self.events.append("disconnected")
            raise

    async def open(self) -> None:
        self.waiting.pop(0)[1].set_result(None)
        await turns()


# Requests one after the other.


async def test_keep_alive(parser: str) -> None:
    transport = connect(make_service(echo, parser=parser))
    for path in ("/1", "/2", "/3"):
        transport.feed(get(path))
        await turns()
    assert answers(transport) == [(200, b"/1"), (200, b"/2"), (200, b"/3")]
    assert not transport.is_closing()


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(parser: str) -> None:
    gate = Gate()
    service = make_service(gate, parser=parser)
    transport = connect(service)
    transport.feed(get("/1") + get("/2") + get("/3"))
    await turns()
    assert [path for path, _ in gate.waiting] == ["/1"]
    assert not transport.is_reading(), "what is waiting is enough"
    for path in ("/1", "/2", "/3"):
        assert [waiting for waiting, _ in gate.waiting] == [path]
        await gate.open()
    assert answers(transport) == [(200, b"/1"), (200, b"/2"), (200, b"/3")]
    assert transport.is_reading()
    assert (service.active, service.requests) == (0, 3)


async def test_many_pipelined_requests_give_others_a_turn(parser: str) -> None:
    service = make_service(echo, parser=parser)
    transport = connect(service)
    transport.feed(GET * 100)
    at_once = len(answers(transport))
    other = connect(service)
    other.feed(GET)
    await turns(200)
    assert at_once <= 16
    assert len(answers(transport)) == 100
    assert len(answers(other)) == 1


async def test_bad_request_behind_good_ones_never_runs(parser: str) -> None:
    gate = Gate()
    transport = connect(make_service(gate, parser=parser))
    transport.feed(get("/1") + b"GET /2 HTTP/1.1\r\n\r\n" + get("/3"))
    await turns()
    assert answers(transport) == []
    await gate.open()
    assert answers(transport) == [(200, b"/1"), (400, b"Bad Request")]
    assert gate.waiting == []
    assert transport.eof_written


async def test_request_behind_a_last_one_never_runs(parser: str) -> None:
    transport = connect(make_service(echo, parser=parser))
    transport.feed(get("/1", "Connection: close"))
    transport.feed(get("/2"))
    await turns()
    assert answers(transport) == [(200, b"/1")]
    assert transport.is_closing()


async def test_context_of_one_request_is_not_seen_by_the_next(parser: str) -> None:
    seen = contextvars.ContextVar("seen", default="nobody")
    server_side = contextvars.ContextVar("server_side", default="")
    server_side.set("from the start")
    found = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append((seen.get(), server_side.get()))
        seen.set(scope["path"])
        await echo(scope, receive, send)

    service = make_service(app, parser=parser)
    for transport in (connect(service), connect(service)):
        for path in ("/1", "/2"):
            transport.feed(get(path))
            await turns()
    assert found == [("nobody", "from the start")] * 4


# Bodies.


async def test_body_in_pieces_reaches_the_application_as_it_comes(parser: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (event := await receive())["more_body"]:
            seen.append(event["body"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    transport = connect(make_service(app, parser=parser))
    transport.feed(get("/", "Content-Length: 6", method="POST"))
    for piece in (b"ab", b"cd"):
        transport.feed(piece)
        await turns()
    assert b"".join(seen) == b"abcd"
    transport.feed(b"ef")
    await turns()
    assert answers(transport) == [(200, b"")]


async def test_reading_stops_while_the_application_does_not(parser: str) -> None:
    take = asyncio.Event()
    total = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal total
        await take.wait()
        while True:
            event = await receive()
            total += len(event["body"])
            if not event["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    transport = connect(make_service(app, parser=parser))
    transport.feed(get("/", "Content-Length: 200000", method="POST"))
    transport.feed(bytes(60_000))
    assert transport.is_reading()
    transport.feed(bytes(60_000))
    assert not transport.is_reading()
    take.set()
    await turns()
    assert transport.is_reading()
    transport.feed(bytes(80_000))
    await turns()
    assert total == 200_000
    assert answers(transport) == [(200, b"")]


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await send({"type": "http.response.start", "status": 403})
    await send({"type": "http.response.body", "body": b"no"})


async def test_short_rest_of_an_unwanted_body_is_dropped(parser: str) -> None:
    transport = connect(make_service(refuse, parser=parser))
    transport.feed(get("/", "Content-Length: 1000", method="POST") + bytes(400))
    await turns()
    assert answers(transport) == [(403, b"no")]
    transport.feed(bytes(600) + get("/2"))
    await turns()
    assert answers(transport) == [(403, b"no"), (403, b"no")]
    assert not transport.is_closing()
    assert transport.is_reading()


@pytest.mark.parametrize(
    "field",
    ["Content-Length: 1000000", "Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 5"],
)
async def test_long_rest_of_an_unwanted_body_ends_the_connection(parser: str, field: str) -> None:
    transport = connect(make_service(refuse, parser=parser))
    transport.feed(get("/", field, method="POST"))
    await turns()
    assert answers(transport) == [(403, b"no")]
    assert b"connection: close" in transport.written
    # Half-closed: the peer can read the answer although it is still sending.
    assert transport.eof_written
    assert not transport.is_closing()
    transport.feed(bytes(100_000))
    transport.feed_eof()
    await turns()
    assert transport.is_closing()


async def test_unwanted_pieces_do_not_keep_reading_stopped(parser: str) -> None:
    transport = connect(make_service(refuse, parser=parser))
    for _ in range(5):
        transport.feed(get("/", "Content-Length: 40000", method="POST") + bytes(40_000))
        await turns()
    assert len(answers(transport)) == 5
    assert transport.is_reading()


async def test_body_over_its_limit_is_413(parser: str) -> None:
    service = make_service(echo, parser=parser, limits=RequestLimits(body=10))
    transport = connect(service)
    transport.feed(get("/", "Content-Length: 11", method="POST"))
    await turns()
    assert [status for status, _ in answers(transport)] == [413]
    transport = connect(service)
    transport.feed(get("/", "Transfer-Encoding: chunked", method="POST") + b"8\r\n12345678\r\n")
    await turns()
    transport.feed(b"8\r\n12345678\r\n")
    await turns()
    assert answers(transport)[0][0] == 413
    assert transport.eof_written
    assert service.active == 0


async def test_broken_body_of_a_running_request_is_400_and_a_disconnect(parser: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            seen.append(event["type"])
            if event["type"] == "http.disconnect":
                return

    service = make_service(app, parser=parser)
    transport = connect(service)
    transport.feed(get("/", "Transfer-Encoding: chunked", method="POST") + b"2\r\nab\r\n")
    await turns()
    transport.feed(b"xx\r\n")
    await turns()
    assert answers(transport) == [(400, b"Bad Request")]
    assert seen == ["http.request", "http.disconnect"]
    assert (service.active, service.tasks) == (0, set())


async def test_broken_body_of_a_response_that_began_breaks_the_connection(parser: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass

    transport = connect(make_service(app, parser=parser))
    transport.feed(get("/", "Transfer-Encoding: chunked", method="POST") + b"2\r\nab\r\n")
    await turns()
    transport.feed(b"xx\r\n")
    await turns()
    assert transport.aborted
    assert not transport.written.endswith(b"0\r\n\r\n")


async def test_broken_rest_of_an_answered_request_closes_without_another_answer(parser: str) -> None:
    transport = connect(make_service(refuse, parser=parser))
    transport.feed(get("/", "Content-Length: 10", method="POST") + b"abc")
    await turns()
    transport.feed_eof()
    await turns()
    assert answers(transport) == [(403, b"no")]
    assert transport.is_closing()


# Writing.


async def test_slow_reader_suspends_send(parser: str) -> None:
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        for _ in range(10):
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    transport = connect(make_service(app, parser=parser), limit=150_000)
    transport.feed(GET)
    await turns()
    assert sent == 1
    transport.read_all()
    await turns()
    assert sent == 3
    while sent < 10:
        transport.read_all()
        await turns()
    assert transport.written.endswith(b"0\r\n\r\n")


async def test_pieces_of_one_iteration_are_one_write(parser: str) -> None:
    go_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        await go_on.wait()
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"end"})

    transport = connect(make_service(app, parser=parser))
    transport.feed(GET)
    await turns()
    assert [write.count(b"piece") for write in transport.writes] == [3]
    go_on.set()
    await turns()
    assert [write.count(b"piece") for write in transport.writes] == [3, 3, 0]
    assert transport.writes[2] == b"3\r\nend\r\n0\r\n\r\n"


async def test_pipelined_answers_of_one_read_are_one_write(parser: str) -> None:
    transport = connect(make_service(echo, parser=parser))
    transport.feed(GET * 10)
    await turns(20)
    assert len(answers(transport)) == 10
    if sys.version_info >= (3, 12):
        assert len(transport.writes) == 1  # before, each runs in a turn of the loop of its own


async def test_next_request_waits_until_the_last_answer_is_read(parser: str) -> None:
    """A client that pipelines and never reads must not make the server hold all the answers."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": bytes(100_000)})

    service = make_service(app, parser=parser)
    transport = connect(service, limit=500)
    transport.feed(GET * 5)
    await turns()
    assert service.requests == 1
    transport.read_all()
    await turns()
    assert service.requests == 2


async def test_streaming_to_a_client_that_left(parser: str) -> None:
    outcome = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            for _ in range(100):
                await send({"type": "http.response.body", "body": bytes(1000), "more_body": True})
                await asyncio.sleep(0)
        except OSError as exc:
            outcome.append(type(exc))
            raise

    service = make_service(app, parser=parser)
    transport = connect(service)
    transport.feed(GET)
    await turns()
    transport.lose(ConnectionResetError())
    await turns()
    assert outcome == [ClientDisconnected]
    assert (service.active, service.tasks, service.connections) == (0, set(), set())


@pytest.mark.parametrize("send_body", [False, True])
async def test_failed_requests_do_not_count_as_running(parser: str, send_body: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        if send_body:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise ValueError("no")

    service = make_service(app, parser=parser)
    for _ in range(3):
        connect(service).feed(GET)
        await turns()
    assert (service.active, service.tasks, service.connections) == (0, set(), set())


async def test_response_that_breaks_its_promise_is_logged(
    parser: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = b"2" if scope["path"] == "/long" else b"5"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": b"abc"})

    transport = connect(make_service(app, parser=parser))
    transport.feed(get("/long"))
    transport.feed(get("/short%0A"))
    await turns()
    assert "GET /long is longer than its Content-Length: 1 bytes dropped" in caplog.text
    assert "GET /short\\n is shorter than its Content-Length: 2 bytes missing" in caplog.text
    assert transport.is_closing()


# Deadlines. A tick passes when the test says so.


def pass_ticks(service: Service, count: int) -> None:
    for _ in range(count):
        service.deadlines.advance()


async def test_connection_that_never_speaks_is_closed_without_a_word(parser: str) -> None:
    service = make_service(echo, parser=parser)
    transport = connect(service)
    pass_ticks(service, 10)
    assert not transport.is_closing()
    pass_ticks(service, 1)
    assert transport.is_closing()
    assert transport.written == b""


async def test_head_that_trickles_is_408(parser: str) -> None:
    service = make_service(echo, parser=parser)
    transport = connect(service)
    for byte in b"GET / HTTP":
        transport.feed(bytes([byte]))
        pass_ticks(service, 1)
    assert transport.written == b""
    pass_ticks(service, 1)
    assert answers(transport) == [(408, b"Request Timeout")]


async def test_body_that_stops_is_408(parser: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (event := await receive())["type"] != "http.disconnect":
            pass
        seen.append(event["type"])

    service = make_service(app, parser=parser)
    transport = connect(service)
    transport.feed(get("/", "Content-Length: 5", method="POST") + b"ab")
    pass_ticks(service, 20)
    transport.feed(b"c")
    await turns()
    pass_ticks(service, 20)
    assert transport.written == b"", "each piece starts the time anew"
    pass_ticks(service, 1)
    await turns()
    assert answers(transport) == [(408, b"Request Timeout")]
    assert seen == ["http.disconnect"]
    assert service.active == 0


async def test_rest_connection_is_closed_after_its_keep_alive(parser: str) -> None:
    service = make_service(echo, parser=parser)
    transport = connect(service)
    transport.feed(GET)
    await turns()
    pass_ticks(service, 5)
    transport.feed(GET)
    await turns()
    pass_ticks(service, 5)
    assert not transport.is_closing()
    pass_ticks(service, 1)
    assert transport.is_closing()


async def test_application_may_take_its_time(parser: str) -> None:
    gate = Gate()
    service = make_service(gate, parser=parser)
    transport = connect(service)
    transport.feed(GET)
    await turns()
    pass_ticks(service, 10_000)
    await gate.open()
    assert answers(transport) == [(200, b"/")]


async def test_peer_that_does_not_read_is_given_up(parser: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})

    service = make_service(app, parser=parser)
    transport = connect(service, limit=500)
    transport.feed(GET)
    await turns()
    pass_ticks(service, 20)
    assert (transport.is_closing(), transport.aborted) == (False, False)
    pass_ticks(service, 1)
    assert transport.aborted


async def test_closing_to_a_peer_that_keeps_sending_ends(parser: str) -> None:
    service = make_service(refuse, parser=parser)
    transport = connect(service)
    transport.feed(get("/", "Content-Length: 1000000", method="POST"))
    await turns()
    for _ in range(3):
        assert not transport.is_closing()
        transport.feed(bytes(1000))
        pass_ticks(service, 1)
    assert transport.is_closing()


async def test_lost_connection_is_not_retained(parser: str) -> None:
    service = make_service(echo, parser=parser, keep_alive_ticks=100_000)
    for _ in range(10):
        transport = connect(service)
        transport.feed(GET)
        await turns()
        transport.lose(ConnectionResetError())
    assert len(service.deadlines) == 0
    assert service.connections == set()


# The end of the worker, and limits.


async def test_shutdown_closes_a_resting_connection(parser: str) -> None:
    service = make_service(echo, parser=parser)
    transport = connect(service)
    transport.feed(GET)
    await turns()
    (connection,) = service.connections
    assert (connection.fresh, connection.busy) == (False, False)
    connection.shutdown()
    assert transport.is_closing()


async def test_shutdown_lets_a_request_finish_and_says_that_it_is_the_last(parser: str) -> None:
    gate = Gate()
    service = make_service(gate, parser=parser)
    transport = connect(service)
    transport.feed(GET)
    await turns()
    (connection,) = service.connections
    assert connection.busy
    service.draining = True
    connection.shutdown()
    assert not transport.is_closing()
    await gate.open()
    assert answers(transport) == [(200, b"/")]
    assert b"connection: close" in transport.written
    assert transport.is_closing()


async def test_request_that_arrives_during_the_drain_is_the_last(parser: str) -> None:
    service = make_service(echo, parser=parser)
    transport = connect(service)
    service.parting = service.draining = True
    transport.feed(GET)
    await turns()
    assert answers(transport) == [(200, b"/")]
    assert transport.is_closing()


async def test_request_over_the_concurrency_limit_is_503(parser: str) -> None:
    gate = Gate()
    service = make_service(gate, parser=parser, limit_concurrency=2)
    transports = [connect(service) for _ in range(3)]
    for transport in transports:
        transport.feed(GET)
    await turns()
    assert answers(transports[2]) == [(503, b"Service Unavailable")]
    assert b"retry-after: 1" in transports[2].written
    assert transports[2].is_closing()
    await gate.open()
    await gate.open()
    assert [answers(transport)[0][0] for transport in transports] == [200, 200, 503]
    late = connect(service)
    late.feed(GET)
    await turns()
    await gate.open()
    assert answers(late) == [(200, b"/")]


async def test_request_limit_is_reported_once(parser: str) -> None:
    told = []
    service = make_service(echo, parser=parser, limit_requests=2, on_request_limit=lambda: told.append(1))
    transport = connect(service)
    transport.feed(GET * 5)
    await turns(20)
    assert told == [1]
    assert len(answers(transport)) == 5


async def test_end_of_stream_inside_a_request_is_a_disconnect(parser: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (event := await receive())["type"] != "http.disconnect":
            seen.append(event["more_body"])
        seen.append("disconnect")

    service = make_service(app, parser=parser)
    transport = connect(service)
    transport.feed(get("/", "Content-Length: 5", method="POST") + b"ab")
    await turns()
    transport.feed_eof()
    await turns()
    assert seen == [True, "disconnect"]
    assert (service.active, service.tasks) == (0, set())


async def test_scope_of_a_connection(parser: str) -> None:
    scopes = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    service = make_service(app, parser=parser, root_path="/api", lifespan_state={"db": "pool"})
    transport = connect(service)
    transport.feed(get("/caf%C3%A9%2Fx?a=%20", "X-A: b") + GET)
    await turns()
    first, second = scopes
    assert first == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/api/café/x",
        "raw_path": b"/api/caf%C3%A9%2Fx",
        "query_string": b"a=%20",
        "root_path": "/api",
        "headers": [(b"host", b"example.org"), (b"x-a", b"b")],
        "client": ("203.0.113.7", 4711),
        "server": ("127.0.0.1", 8000),
        "state": {"db": "pool"},
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.zerocopysend": {},
        },
    }
    for key in ("asgi", "headers", "state", "extensions"):
        assert first[key] is not second[key]
    assert first["state"] is not service.lifespan_state


async def test_connection_says_what_it_does(parser: str) -> None:
    service = make_service(echo, parser=parser)
    connect(service)
    (connection,) = service.connections
    assert isinstance(connection, H1Connection)
    assert repr(connection) == "<H1Connection waits for a request, 0 served, active None>"


async def test_a_lost_connection_is_freed_without_the_collector(parser: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()

    service = make_service(app, parser=parser)
    gc.collect()
    gc.disable()
    try:
        for ending in (get("/"), get("/", "Content-Length: 9", method="POST") + b"ab", b"GET / HT", b""):
            transport = connect(service)
            transport.feed(ending)
            await turns()
            transport.lose()
            transport._protocol = None  # as the loops do
            del transport
        await turns()
        assert not [item for item in gc.get_objects() if isinstance(item, H1Connection)]
    finally:
        gc.enable()
    assert len(service.deadlines) == 0
