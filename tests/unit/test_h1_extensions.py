"""Files, trailers and the end of streams on a scripted transport: deadlines, losses, and what is on the wire."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from pronghorn.asgi.disconnect import ClientDisconnected
from pronghorn.net.files import FilePart, Transfer
from pronghorn.net.flow import WriteGate
from pronghorn.net.service import Service
from pronghorn.types import Receive, Scope, Send
from tests.support.scripted import PARSERS, Recorder, ScriptedTransport, connect, make_service, turns

GET = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"
WANTS_TRAILERS = b"GET / HTTP/1.1\r\nHost: example.org\r\nTE: gzip;q=0.5, Trailers\r\n\r\n"


@pytest.fixture(params=sorted(PARSERS))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(bytes(300_000))
    return path


def sends(path: Path) -> tuple[Any, list[str]]:
    """An application that sends the file, and what became of it."""
    outcome: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        try:
            await send({"type": "http.response.pathsend", "path": str(path)})
            outcome.append("sent")
        except ClientDisconnected:
            outcome.append("disconnected")
            raise

    return app, outcome


def pass_ticks(service: Service, count: int) -> None:
    for _ in range(count):
        service.deadlines.advance()


async def test_file_goes_block_by_block_as_the_peer_reads(parser: str, large: Path) -> None:
    app, outcome = sends(large)
    service = make_service(app, parser=parser)
    transport = connect(service, limit=1000)
    transport.feed(GET)
    await turns()
    assert outcome == []
    for _ in range(2):
        assert len(transport.written) < 300_000
        transport.read_all()
        await turns()
    transport.read_all()
    await turns()
    assert outcome == ["sent"]
    assert transport.written.endswith(bytes(300_000))
    transport.feed(GET)
    await turns()
    assert transport.written.count(b"HTTP/1.1 200 OK") == 2


async def test_slow_reader_of_a_file_may_be_slow_but_has_to_read(parser: str, large: Path) -> None:
    app, outcome = sends(large)
    service = make_service(app, parser=parser)
    transport = connect(service, limit=1000)
    transport.feed(GET)
    await turns()
    pass_ticks(service, 20)
    transport.read_all()
    await turns()
    pass_ticks(service, 20)
    given_up = [transport.aborted]
    pass_ticks(service, 1)
    given_up.append(transport.aborted)
    assert given_up == [False, True], "it did read once"
    await turns()
    assert outcome == ["disconnected"]
    assert (service.active, service.tasks, service.connections) == (0, set(), set())


async def test_bytes_of_the_peer_do_not_give_it_more_time_to_read(parser: str, large: Path) -> None:
    app, _ = sends(large)
    service = make_service(app, parser=parser)
    transport = connect(service, limit=1000)
    transport.feed(GET)
    await turns()
    for byte in GET[:21]:
        transport.feed(bytes([byte]))
        pass_ticks(service, 1)
    assert transport.aborted


async def test_client_that_leaves_is_told_of_and_counted(parser: str, large: Path) -> None:
    app, outcome = sends(large)
    recorder = Recorder()
    service = make_service(app, parser=parser, observer=recorder)
    transport = connect(service, limit=1000)
    transport.feed(GET)
    await turns()
    transport.lose(ConnectionResetError())
    await turns()
    assert outcome == ["disconnected"]
    assert recorder.seen == [("/", 200, 0, 131_072)], "the one block that went out"


async def test_peer_that_the_kernel_says_is_gone(large: Path) -> None:
    """The error of sendfile(2) is what tells first."""
    transport = ScriptedTransport()
    part = FilePart(str(large), 0, None)

    class Gone(Transfer):
        async def run(self) -> None:
            raise BrokenPipeError

    service = make_service(sends(large)[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pronghorn.net.files.Transfer", Gone)
        transport = connect(service)
        transport.feed(GET)
        await turns()
    assert transport.aborted
    assert (service.active, service.tasks, service.connections) == (0, set(), set())
    part.close()


async def test_transfer_stops_where_the_file_does(large: Path) -> None:
    transport = ScriptedTransport()
    sent: list[int] = []
    part = FilePart(str(large), 0, None)
    os.truncate(large, 10)
    transfer = Transfer(transport, WriteGate(), part, 300_000, sent.append)
    await transfer.run()
    assert (sent, transfer.left) == ([10], 299_990)
    part.close()


async def test_file_that_grows_is_sent_as_long_as_it_was(large: Path) -> None:
    transport = ScriptedTransport()
    sent: list[int] = []
    part = FilePart(str(large), 0, None)
    os.truncate(large, 400_000)
    transfer = Transfer(transport, WriteGate(), part, part.size, sent.append)
    await transfer.run()
    assert (sum(sent), len(transport.written)) == (300_000, 300_000)
    part.close()


@pytest.mark.parametrize(("request_", "trailers"), [(GET, b""), (WANTS_TRAILERS, b"x-sum: 1\r\n")])
async def test_trailers_are_for_clients_that_ask_for_them(
    parser: str, request_: bytes, trailers: bytes
) -> None:
    extensions = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        extensions.append("http.response.trailers" in scope["extensions"])
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"ab"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    transport = connect(make_service(app, parser=parser))
    for _ in range(2):
        transport.feed(request_)
        await turns()
    expected = b"2\r\nab\r\n0\r\n" + trailers + b"\r\n"
    assert transport.written.count(expected) == 2
    assert extensions == [trailers != b""] * 2


async def test_extensions_of_http_1_0_are_fewer(parser: str) -> None:
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
        await send({"type": "http.response.body"})

    transport = connect(make_service(app, parser=parser))
    transport.feed(b"GET / HTTP/1.0\r\nTE: trailers\r\n\r\n")
    await turns()
    assert seen == [{"http.response.pathsend": {}, "http.response.zerocopysend": {}}]
    assert b" 103 " not in transport.written


@pytest.mark.parametrize(
    ("policy", "direct", "proxied"), [("auto", True, False), ("on", True, True), ("off", False, False)]
)
async def test_hints_are_for_those_who_can_bear_them(
    parser: str, policy: str, direct: bool, proxied: bool
) -> None:
    declared = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        declared.append("http.response.early_hint" in scope["extensions"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
        await send({"type": "http.response.body"})

    transport = connect(make_service(app, parser=parser, early_hints=policy))
    for line in (b"", b"X-Forwarded-For: 192.0.2.1\r\n"):
        transport.feed(b"GET / HTTP/1.1\r\nHost: example.org\r\n" + line + b"\r\n")
        await turns()
    assert declared == [direct, proxied]
    assert transport.written.count(b"HTTP/1.1 103 Early Hints\r\n") == direct + proxied


async def test_what_an_extension_says_cannot_be_changed(parser: str) -> None:
    found: list[type] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["extensions"]["mine"] = {}
        nothing = scope["extensions"]["http.response.pathsend"]
        for change in (nothing.update, nothing.setdefault, nothing.__setitem__, nothing.__ior__):
            try:
                change("a", 1)
            except TypeError as exc:
                found.append(type(exc))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    transport = connect(make_service(app, parser=parser))
    transport.feed(GET)
    await turns()
    assert found == [TypeError] * 4


# The end of the server.


class Stream:
    """A response that goes on until somebody says otherwise."""

    def __init__(self, kind: bytes, *, listens: bool) -> None:
        self.kind = kind
        self.listens = listens
        self.told = False
        self.outcome = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"content-type", self.kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        try:
            if not self.listens:
                await asyncio.get_running_loop().create_future()
            self.told = (await receive())["type"] == "http.disconnect"
        except asyncio.CancelledError:
            self.outcome = "cancelled"
            raise
        await send({"type": "http.response.body", "body": b"data: bye\n\n"})
        self.outcome = "finished"


async def shut_down(app: Stream, parser: str) -> tuple[Service, ScriptedTransport, Any]:
    service = make_service(app, parser=parser)
    transport = connect(service)
    transport.feed(GET)
    await turns()
    (connection,) = service.connections
    service.draining = True
    connection.shutdown()
    await turns()
    return service, transport, connection


async def test_stream_of_events_is_told_at_once_and_may_say_goodbye(parser: str) -> None:
    app = Stream(b"text/event-stream; charset=utf-8", listens=True)
    service, transport, _ = await shut_down(app, parser)
    assert app.outcome == "finished"
    assert transport.written.endswith(b"b\r\ndata: bye\n\n\r\n0\r\n\r\n")
    assert transport.is_closing()
    assert service.active == 0


async def test_stream_of_events_that_goes_on_is_ended_properly(parser: str) -> None:
    app = Stream(b"text/event-stream", listens=False)
    service, transport, connection = await shut_down(app, parser)
    assert not transport.is_closing()
    connection.end_stream()
    await turns()
    assert app.outcome == "cancelled"
    assert transport.written.endswith(b"0\r\n\r\n")
    assert not transport.aborted
    assert (service.active, service.tasks) == (0, set())


async def test_other_responses_have_their_time_and_are_told_before_it_is_over(parser: str) -> None:
    app = Stream(b"application/octet-stream", listens=True)
    _, transport, connection = await shut_down(app, parser)
    connection.end_stream()
    await turns()
    assert not app.told
    connection.hurry()
    await turns()
    assert (app.told, app.outcome) == (True, "finished")
    assert transport.written.endswith(b"0\r\n\r\n")


async def test_request_that_is_not_answered_yet_is_not_hurried(parser: str) -> None:
    received = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        received.append((await receive())["type"])

    service = make_service(app, parser=parser)
    transport = connect(service)
    transport.feed(GET)
    await turns()
    (connection,) = service.connections
    for _ in range(2):
        connection.shutdown()
        connection.hurry()
        connection.end_stream()
        await turns()
    assert received == []
