"""One WebSocket on a scripted transport, with every parser and codec: the handshake on the wire, flow, pings, deadlines, ends."""

import asyncio
import gc
from typing import Any

import pytest

from pronghorn.asgi.disconnect import ClientDisconnected
from pronghorn.asgi.http import HttpCycle
from pronghorn.net.h1_connection import H1Connection
from pronghorn.net.service import Service
from pronghorn.net.ws_settings import WebSockets
from pronghorn.net.ws_upgrade import Upgrade
from pronghorn.types import Message, Receive, Scope, Send
from tests.support.scripted import PARSERS, Recorder, ScriptedTransport, connect, make_service, turns
from tests.support.ws import (
    ACCEPT,
    CLOSE,
    CODECS,
    FIN,
    PING,
    PONG,
    RSV1,
    TEXT,
    close,
    closing,
    deflated,
    frame,
    handshake,
    read_frames,
    text,
)

Frames = list[tuple[int, bytes]]


@pytest.fixture(params=[f"{parser}-{codec}" for parser in sorted(PARSERS) for codec in sorted(CODECS)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Talk:
    """An application that accepts, and then does what it is told: echo, or nothing, or wait for `go`."""

    def __init__(self, *, echo: bool = True, accept: dict[str, Any] | None = None) -> None:
        self.echo = echo
        self.accept = {"type": "websocket.accept", **(accept or {})}
        self.seen: list[Message] = []
        self.scope: Scope = {}
        self.send: Send | None = None
        self.receive: Receive | None = None
        self.done = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        assert await receive() == {"type": "websocket.connect"}
        await send(self.accept)
        if not self.echo:
            await self.done.wait()
            return
        while (message := await receive())["type"] != "websocket.disconnect":
            self.seen.append(message)
            await send({**message, "type": "websocket.send"})
        self.seen.append(message)


class Peer:
    """A client of a scripted connection."""

    def __init__(self, app: Any, kind: str, *, limit: int | None = None, **values: Any) -> None:
        parser, _, codec = kind.partition("-")
        settings = WebSockets(codec=lambda: CODECS[codec], **values.pop("ws", {}))
        self.recorder = Recorder()
        self.service: Service = make_service(
            app, parser=parser, websockets=settings, observer=self.recorder, **values
        )
        self.transport: ScriptedTransport = connect(self.service, limit=limit)

    def feed(self, data: bytes) -> None:
        """As a loop does it: with no task around."""
        asyncio.get_running_loop().call_soon(self.transport.feed, data)

    async def sends(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.feed(piece)
            await turns()

    async def open(self, *fields: str) -> "Peer":
        await self.sends(handshake("/chat", *fields))
        assert self.head().startswith("HTTP/1.1 101 ")
        return self

    def head(self) -> str:
        head, _, rest = bytes(self.transport.written).partition(b"\r\n\r\n")
        self.transport.written[:] = rest
        return head.decode()

    def frames(self) -> Frames:
        found = read_frames(bytes(self.transport.written))
        self.transport.written.clear()
        return found

    def tick(self, count: int) -> None:
        for _ in range(count):
            self.service.deadlines.advance()

    def closed(self) -> bool:
        return self.transport.closed

    def aborted(self) -> bool:
        return self.transport.aborted

    def gone(self) -> bool:
        return (self.service.active, self.service.connections, self.service.tasks) == (0, set(), set())


# The handshake on the wire.


async def test_handshake_and_echo(kind: str) -> None:
    app = Talk(accept={"subprotocol": "chat", "headers": [(b"set-cookie", b"a=b")]})
    peer = Peer(app, kind)
    await peer.sends(
        handshake("/chat?a=b", "Sec-WebSocket-Protocol: chat, other", "Origin: https://example.com")
    )
    status, *fields = peer.head().split("\r\n")
    assert status == "HTTP/1.1 101 Switching Protocols"
    assert sorted(fields) == [
        "connection: Upgrade",
        f"sec-websocket-accept: {ACCEPT}",
        "sec-websocket-protocol: chat",
        "set-cookie: a=b",
        "upgrade: websocket",
    ]
    await peer.sends(text("hello"), frame(FIN | 2, b"\xff"))
    assert peer.frames() == [(FIN | TEXT, b"hello"), (FIN | 2, b"\xff")]
    assert peer.recorder.seen == [("/chat", 101, 0, 0)], "told of once, when it is opened"
    await peer.sends(close(1000, "bye"))
    assert peer.frames() == [(FIN | CLOSE, b"\x03\xe8")]
    assert peer.closed()
    assert app.seen[-1] == {"type": "websocket.disconnect", "code": 1000, "reason": "bye"}
    assert peer.gone()
    assert peer.service.requests == 1
    assert len(peer.recorder.seen) == 1


async def test_scope_has_the_keys_of_the_specification(kind: str) -> None:
    app = Talk()
    peer = Peer(app, kind, root_path="/api", lifespan_state={"a": [1]})
    await peer.sends(handshake("/ch%61t?a=b", "Sec-WebSocket-Protocol: one,two", "X-Forwarded-Proto: https"))
    scope = dict(app.scope)
    headers = scope.pop("headers")
    assert (b"sec-websocket-protocol", b"one,two") in headers
    assert scope == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": "/api/chat",
        "raw_path": b"/api/ch%61t",
        "query_string": b"a=b",
        "root_path": "/api",
        "client": ("203.0.113.7", 4711),
        "server": ("127.0.0.1", 8000),
        "subprotocols": ["one", "two"],
        "state": {"a": [1]},
        "extensions": {"websocket.http.response": {}},
    }
    assert scope["state"] is not peer.service.lifespan_state


@pytest.mark.parametrize("cut", [1, 10, 1000])
async def test_handshake_and_frames_in_any_pieces(kind: str, cut: int) -> None:
    """Frames right behind the handshake, in the same read or not, wait for the application to accept."""
    app = Talk()
    peer = Peer(app, kind)
    stream = handshake() + text("one") + text("two")
    for at in range(0, len(stream), cut):
        peer.feed(stream[at : at + cut])
    await turns(20)
    assert peer.head().startswith("HTTP/1.1 101 ")
    assert peer.frames() == [(FIN | TEXT, b"one"), (FIN | TEXT, b"two")]


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: keep-alive, Upgrade",),
        ("Connection: upgrade,keep-alive", "Upgrade: WebSocket"),
        ("Connection:", "Connection: keep-alive\r\nConnection: Upgrade"),
        ("Connection: Upgrade, close",),
        ("Connection: Upgrade , x",),
        ("Upgrade: h2c, websocket",),
        ("Upgrade: websocket/13, websocket",),
        ("Upgrade:", "Upgrade: h2c\r\nUpgrade: websocket"),
        ("Content-Length: 0",),
        ("Expect: 100-continue",),
    ],
)
async def test_spellings_of_the_wish(kind: str, fields: tuple[str, ...]) -> None:
    """Both parsers let go of the connection where we take it."""
    peer = await Peer(Talk(), kind).open(*fields)
    await peer.sends(text("hello"))
    assert peer.frames() == [(FIN | TEXT, b"hello")]


async def test_frames_that_come_while_the_application_thinks(kind: str) -> None:
    accept = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await accept.wait()
        await send({"type": "websocket.accept"})
        for _ in range(2):
            message = await receive()
            await send({"type": "websocket.send", "text": message["text"]})

    peer = Peer(app, kind)
    await peer.sends(handshake(), text("one"), text("two"))
    assert peer.transport.written == b""
    accept.set()
    await turns(20)
    peer.head()
    assert peer.frames() == [(FIN | TEXT, b"one"), (FIN | TEXT, b"two"), (FIN | CLOSE, b"\x03\xe8")]


async def test_who_sends_too_much_before_the_answer_has_to_wait(kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    peer = Peer(app, kind)
    await peer.sends(handshake(), bytes(70_000))
    assert not peer.transport.is_reading()
    peer.transport.lose()
    await turns()
    for task in list(peer.service.tasks):
        task.cancel()
    await turns()
    assert peer.gone()


async def test_handshake_behind_other_requests_waits_its_turn(kind: str) -> None:
    answers = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await Talk()(scope, receive, send)
            return
        await answers.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first"})

    peer = Peer(app, kind)
    await peer.sends(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + handshake() + text("hello"))
    assert peer.transport.written == b""
    answers.set()
    await turns(20)
    assert peer.head().startswith("HTTP/1.1 200 ")
    assert peer.transport.written.startswith(b"first")
    del peer.transport.written[:5]
    assert peer.head().startswith("HTTP/1.1 101 ")
    assert peer.frames() == [(FIN | TEXT, b"hello")]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Sec-WebSocket-Key: short",), 400),
        (("Sec-WebSocket-Version: 12",), 426),
        (("Origin: https://evil.example",), 403),
    ],
)
async def test_refused_before_the_application(kind: str, fields: tuple[str, ...], status: int) -> None:
    app = Talk()
    peer = Peer(app, kind, ws={"origins": frozenset((b"https://example.com",))})
    await peer.sends(handshake("/", *fields) + text("ignored"))
    head = peer.head()
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert ("connection: upgrade, close" if status == 426 else "connection: close") in head
    assert ("sec-websocket-version: 13" in head) is (status == 426)
    assert peer.transport.eof_written or peer.closed()
    assert app.scope == {}
    assert peer.recorder.seen[0][:2] == ("/", status)
    assert peer.service.requests == 0


async def test_without_a_codec_the_wish_is_ignored(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    peer = Peer(app, kind)
    assert peer.service.websockets is not None
    peer.service.websockets.codec = None
    await peer.sends(handshake(), handshake())
    assert seen == ["http", "http"]
    assert caplog.text.count("no library for it is installed") == 1
    peer.service.websockets = None
    await peer.sends(handshake())
    assert seen == ["http"] * 3


async def test_denial_response_and_the_end_of_the_connection(kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "websocket.http.response.start",
                "status": 401,
                "headers": [(b"www-authenticate", b"Basic")],
            }
        )
        await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"are you?"})

    peer = Peer(app, kind)
    await peer.sends(handshake() + text("ignored"))
    head = peer.head()
    assert head.startswith("HTTP/1.1 401 Unauthorized")
    assert "www-authenticate: Basic" in head
    assert "connection: close" in head
    assert peer.transport.written == b"4\r\nwho \r\n8\r\nare you?\r\n0\r\n\r\n"
    assert peer.closed()
    assert peer.gone()
    assert peer.recorder.seen == [("/", 401, 0, 12)]


async def test_more_than_the_limit_are_refused(kind: str) -> None:
    app = Talk()
    peer = await Peer(app, kind, limit_concurrency=1).open()
    other = connect(peer.service)
    other.feed(handshake())
    await turns()
    assert other.written.startswith(b"HTTP/1.1 503 ")
    await peer.sends(close())
    third = connect(peer.service)
    third.feed(handshake())
    await turns()
    assert third.written.startswith(b"HTTP/1.1 101 ")


async def test_compression_is_agreed_on_and_used(kind: str) -> None:
    app = Talk()
    peer = Peer(app, kind)
    await peer.sends(handshake("/", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"))
    assert "sec-websocket-extensions: permessage-deflate; client_max_window_bits=12" in peer.head()
    await peer.sends(deflated(b"hello" * 40))
    ((first, payload),) = peer.frames()
    assert first == FIN | TEXT | RSV1
    assert len(payload) < 40
    assert app.seen == [{"type": "websocket.receive", "text": "hello" * 40}]


async def test_compression_can_be_off(kind: str) -> None:
    peer = Peer(Talk(), kind, ws={"compress": False})
    await peer.sends(handshake("/", "Sec-WebSocket-Extensions: permessage-deflate"))
    assert "sec-websocket-extensions" not in peer.head()
    await peer.sends(deflated(b"hello"))
    assert closing(peer.frames()[0][1])[0] == 1002


# Flow.


async def test_messages_of_one_read_are_answered_in_one_write(kind: str) -> None:
    peer = await Peer(Talk(), kind).open()
    before = len(peer.transport.writes)
    await peer.sends(text("one") + text("two") + text("three"))
    assert [payload for _, payload in peer.frames()] == [b"one", b"two", b"three"]
    assert len(peer.transport.writes) == before + 1


async def test_application_that_takes_nothing_stops_the_peer(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind, ws={"max_queue": 4}).open()
    await peer.sends(*(text(str(number)) for number in range(3)))
    assert peer.transport.is_reading()
    await peer.sends(text("3") + text("4") + text("5"))
    assert not peer.transport.is_reading()
    assert app.receive is not None
    found = [(await app.receive())["text"] for _ in range(2)]
    await turns()
    found += [(await app.receive())["text"] for _ in range(4)]
    await turns()
    assert found == list("012345")
    assert peer.transport.is_reading()


async def test_one_read_full_of_messages_leaves_others_a_turn(kind: str) -> None:
    app = Talk()
    peer = await Peer(app, kind, ws={"max_queue": 1000}).open()
    at_once = []
    loop = asyncio.get_running_loop()
    loop.call_soon(peer.transport.feed, text("x") * 500)
    loop.call_soon(lambda: at_once.extend([len(app.seen), peer.transport.is_reading()]))
    await turns(60)
    assert at_once[0] <= 64
    assert not at_once[1], "what waits must not grow with every read"
    assert peer.transport.is_reading()
    assert len(app.seen) == 500
    assert len(peer.frames()) == 500


async def test_peer_that_does_not_read_suspends_send(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind, limit=1000).open()
    assert app.send is not None
    sending = asyncio.ensure_future(_flood(app.send))
    await turns(20)
    assert not sending.done()
    held = len(peer.transport.written)
    await turns(20)
    assert len(peer.transport.written) == held < 200_000
    peer.transport.read_all()
    await turns(20)
    assert len(peer.transport.written) > held
    peer.transport.lose()
    await turns()
    with pytest.raises(ClientDisconnected):
        await sending
    app.done.set()


async def _flood(send: Send) -> None:
    while True:
        await send({"type": "websocket.send", "text": "x" * 1000})


async def test_peer_that_never_reads_is_dropped(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind, limit=1000, pace=100).open()
    assert app.send is not None
    sending = asyncio.ensure_future(_flood(app.send))
    await turns(20)
    peer.transport.read(500)
    peer.tick(21)
    assert not peer.aborted(), "it did read"
    peer.tick(20)
    assert not peer.aborted()
    peer.tick(1)
    assert peer.aborted()
    await turns()
    with pytest.raises(ClientDisconnected):
        await sending
    app.done.set()
    await turns()
    assert peer.gone()


async def test_large_message_is_not_copied_behind_its_header(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind).open()
    assert app.send is not None
    data = bytes(100_000)
    await app.send({"type": "websocket.send", "bytes": data})
    assert peer.transport.writes[-1] == data
    assert peer.frames() == [(FIN | 2, data)]
    app.done.set()


# Pings.


async def test_few_pings_are_answered_one_by_one(kind: str) -> None:
    peer = await Peer(Talk(), kind).open()
    await peer.sends(b"".join(frame(FIN | PING, b"%d" % number) for number in range(10)))
    assert peer.frames() == [(FIN | PONG, b"%d" % number) for number in range(10)]


async def test_ping_between_fragments_is_answered_ahead_of_their_message(kind: str) -> None:
    peer = await Peer(Talk(), kind).open()
    await peer.sends(frame(1, b"one ") + frame(FIN | PING, b"p") + frame(FIN, b"message"))
    assert [payload for _, payload in peer.frames()] == [b"p", b"one message"]


async def test_flood_of_pings_is_answered_with_few_pongs_a_read(kind: str) -> None:
    peer = await Peer(Talk(), kind).open()
    await peer.sends(b"".join(frame(FIN | PING, b"%d" % number) for number in range(1000)))
    pongs = peer.frames()
    assert len(pongs) < 20
    assert pongs[-1] == (FIN | PONG, b"999")


async def test_flood_of_pings_that_nobody_reads_is_bounded(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind, limit=1000).open()
    assert app.send is not None
    sending = asyncio.ensure_future(_flood(app.send))
    await turns(20)
    held = len(peer.transport.written)
    for number in range(200):
        await peer.sends(frame(FIN | PING, b"%d" % number))
    assert len(peer.transport.written) == held
    sending.cancel()
    await turns()
    peer.transport.read_all()
    await turns()
    assert read_frames(bytes(peer.transport.written[held:]))[-1] == (FIN | PONG, b"199")
    app.done.set()


async def test_pings_and_their_answers(kind: str) -> None:
    app = Talk()
    peer = await Peer(app, kind, ws={"ping_ticks": 5, "pong_ticks": 3}).open()
    for _ in range(3):
        peer.tick(4)
        assert peer.frames() == []
        peer.tick(1)
        assert peer.frames() == [(FIN | PING, b"")]
        peer.tick(2)
        await peer.sends(frame(FIN | PONG))
    peer.tick(5)
    peer.tick(2)
    assert not peer.aborted()
    peer.tick(1)
    assert peer.aborted()
    await turns()
    assert app.seen == [{"type": "websocket.disconnect", "code": 1006, "reason": "keepalive ping timeout"}]
    assert peer.gone()


async def test_peer_in_the_middle_of_a_long_message_cannot_answer_and_is_not_dropped(kind: str) -> None:
    app = Talk()
    peer = await Peer(app, kind, ws={"ping_ticks": 5, "pong_ticks": 3}).open()
    message = text("x" * 1000)
    for at in range(0, 1000, 100):
        peer.tick(3)
        await peer.sends(message[at : at + 100])
    await peer.sends(message[1000:])
    assert app.seen == [{"type": "websocket.receive", "text": "x" * 1000}]
    peer.tick(6)
    assert peer.aborted(), "and then nothing comes any more"


async def test_without_pings_there_is_no_deadline(kind: str) -> None:
    peer = await Peer(Talk(), kind).open()
    peer.tick(10_000)
    assert not peer.closed()
    await peer.sends(text("still there"))
    assert peer.frames() == [(FIN | TEXT, b"still there")]


async def test_pings_without_a_timeout_go_on(kind: str) -> None:
    peer = await Peer(Talk(), kind, ws={"ping_ticks": 5}).open()
    peer.tick(20)
    assert peer.frames() == [(FIN | PING, b"")] * 4
    assert not peer.closed()


async def test_peer_whose_pong_is_behind_what_nobody_takes_is_not_dropped(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind, ws={"max_queue": 2, "ping_ticks": 5, "pong_ticks": 3}).open()
    await peer.sends(text("1") + text("2") + text("3"))
    assert not peer.transport.is_reading()
    peer.tick(50)
    assert not peer.closed()
    app.done.set()


# Ends.


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(FIN | TEXT, b"x", mask=None), 1002),
        (frame(FIN | TEXT, b"\xff"), 1007),
        (frame(FIN | TEXT, b"x" * 101), 1009),
    ],
)
async def test_violation(kind: str, sent: bytes, code: int) -> None:
    app = Talk()
    peer = await Peer(app, kind, ws={"max_size": 100}).open()
    await peer.sends(text("before") + sent + text("ignored"))
    (first, payload), (last, reason) = peer.frames()
    assert (first, payload, last) == (FIN | TEXT, b"before", FIN | CLOSE)
    assert closing(reason)[0] == code
    assert app.seen[-1]["type"] == "websocket.disconnect"
    assert app.seen[-1]["code"] == code
    assert peer.transport.eof_written, "only our half: it may be sending"
    assert not peer.closed()
    await peer.sends(text("ignored") * 100)
    peer.tick(3)
    assert peer.aborted()
    await turns()
    assert peer.gone()
    assert len(app.seen) == 2


async def test_close_of_the_application_waits_for_the_peer_s(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind).open()
    assert app.send is not None
    assert app.receive is not None
    await app.send({"type": "websocket.close", "code": 4000, "reason": "enough"})
    await turns()
    ((_, payload),) = peer.frames()
    assert closing(payload) == (4000, "enough")
    assert not peer.closed()
    await peer.sends(text("on its way"), frame(FIN | PING, b"p"))
    assert peer.frames() == []
    await peer.sends(close(4000))
    assert peer.closed()
    assert peer.frames() == []
    assert (await app.receive())["code"] == 4000
    app.done.set()
    await turns()
    assert peer.gone()


async def test_peer_that_does_not_answer_a_close_is_dropped(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind, ws={"ping_ticks": 2}).open()
    app.done.set()
    await turns()
    assert peer.frames() == [(FIN | CLOSE, b"\x03\xe8")]
    peer.tick(5)
    assert not peer.closed()
    peer.tick(1)
    assert peer.aborted()
    await turns()
    assert peer.gone()


async def test_both_close_at_once(kind: str) -> None:
    app = Talk(echo=False)
    peer = await Peer(app, kind).open()
    assert app.send is not None
    assert app.receive is not None
    await app.send({"type": "websocket.close", "code": 4000})
    await peer.sends(close(4001))
    assert [closing(payload) for _, payload in peer.frames()] == [(4000, "")]
    assert peer.closed()
    assert (await app.receive())["code"] == 4000, "the one that was first, here"
    app.done.set()


async def test_a_close_behind_messages_that_nobody_took_is_found(kind: str) -> None:
    """An application that closes while its peer is held up still sees the end in time."""
    app = Talk(echo=False)
    peer = await Peer(app, kind, ws={"max_queue": 2}).open()
    await peer.sends(text("1") + text("2") + text("3") + text("4"))
    assert not peer.transport.is_reading()
    app.done.set()
    await turns()
    assert peer.transport.is_reading()
    await peer.sends(close())
    assert peer.closed()


async def test_peer_that_vanishes(kind: str) -> None:
    app = Talk()
    peer = await Peer(app, kind).open()
    peer.transport.lose(ConnectionResetError())
    await turns()
    assert app.seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert peer.gone()


async def test_peer_that_ends_its_half_without_a_close(kind: str) -> None:
    app = Talk()
    peer = await Peer(app, kind).open()
    peer.transport.feed_eof()
    await turns()
    assert app.seen[-1]["code"] == 1006
    assert peer.closed()
    assert peer.gone()


async def test_peer_that_vanishes_before_it_is_answered(kind: str) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        seen.append(await receive())
        with pytest.raises(ClientDisconnected):
            await send({"type": "websocket.accept"})

    peer = Peer(app, kind)
    await peer.sends(handshake())
    peer.transport.lose()
    await turns()
    assert seen == [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1006, "reason": ""},
    ]
    assert peer.gone()
    assert peer.recorder.seen == [("/", 0, 0, 0)]


@pytest.mark.parametrize(("succeeded", "code"), [(False, 1001), (True, 1012)])
async def test_shutdown(kind: str, succeeded: bool, code: int) -> None:
    app = Talk()
    peer = await Peer(app, kind).open()
    peer.service.draining, peer.service.succeeded = True, succeeded
    (connection,) = peer.service.connections
    assert connection.busy
    assert not connection.fresh
    for _ in range(3):  # as a drain does, again and again
        connection.shutdown()
        connection.hurry()
    await turns()
    assert [closing(payload)[0] for _, payload in peer.frames()] == [code]
    assert app.seen == [{"type": "websocket.disconnect", "code": code, "reason": ""}]
    await peer.sends(close(code))
    assert peer.closed()
    assert peer.gone()


async def test_peer_that_does_not_go_at_shutdown(kind: str) -> None:
    peer = await Peer(Talk(), kind).open()
    (connection,) = peer.service.connections
    connection.shutdown()
    connection.end_stream()
    await turns()
    assert peer.aborted()
    assert peer.gone()


async def test_nobody_new_during_a_drain(kind: str) -> None:
    app = Talk()
    peer = Peer(app, kind)
    peer.service.draining = True
    await peer.sends(handshake())
    assert peer.head().startswith("HTTP/1.1 503 ")
    assert app.scope == {}


def of_the_handshake() -> int:
    gc.collect()
    return sum(type(one) in (H1Connection, HttpCycle, Upgrade) for one in gc.get_objects())


async def test_the_connection_that_has_read_the_handshake_is_free_to_go(kind: str) -> None:
    """A WebSocket may live for days, and does not keep what it began with."""
    before = of_the_handshake()
    peer = await Peer(Talk(), kind).open()
    await peer.sends(text("hello"))
    assert of_the_handshake() <= before
    assert peer.frames() == [(FIN | TEXT, b"hello")]


async def test_a_crash_is_1011_in_a_close_frame(kind: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        await receive()
        raise ValueError("on purpose")

    peer = await Peer(app, kind).open()
    await peer.sends(text("hello"))
    assert [closing(payload) for _, payload in peer.frames()] == [(1011, "")]
