"""What a request is called, who may say so, and that whatever is said for it says its name."""

import asyncio
import json
import logging
import pickle
import random
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pronghorn.asgi.request_id import SIZE, RequestIds, trace_id
from pronghorn.net.service import Service
from pronghorn.net.ws_settings import WebSockets
from pronghorn.observe import request_id
from pronghorn.observe.json_formatter import JsonFormatter
from pronghorn.observe.request_id import CURRENT
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.ports import RequestHead
from pronghorn.wire.ws_websockets import WebsocketsCodec
from tests.support.scripted import PARSERS, ScriptedTransport, connect, make_service, turns

PROCESS = "0123456789abcdef"
FIRST, SECOND = (f"{PROCESS}{number:016x}" for number in (0, 1))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def named(*fields: tuple[bytes, bytes], trusted: bool = True, ids: RequestIds | None = None) -> RequestHead:
    """A head with such fields, as the builder leaves it, and then its name."""
    head = RequestHead()
    head.headers = [(b"host", b"a"), *fields]
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        found[name] = b"" if name in found else value
    head.named = found or None
    (RequestIds(PROCESS, CURRENT.set) if ids is None else ids).name(head, trusted=trusted)
    return head


def consistent(head: RequestHead) -> str:
    """The id, if all places have the same one."""
    value = head.request_id.encode("ascii")
    assert [value] == [value for name, value in head.headers if name == b"x-request-id"]
    assert head.id_line == b"x-request-id: %b\r\n" % value
    return head.request_id


# Who names it.


@pytest.mark.parametrize("value", [b"7", b"7f-3a", b"a" * SIZE, b"!#$%&'()*+,-./:;<=>?@[]^_`{|}~"])
def test_a_trusted_peer_names_it(value: bytes) -> None:
    assert consistent(named((b"x-request-id", value))) == value.decode()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a b",
        b'a"b',
        b"a\\b",
        b"a\tb",
        b"\x7f",
        b"caf\xc3\xa9",
        b"a" * (SIZE + 1),
        b"a\r\nset-cookie: b=c",
    ],
)
def test_what_is_no_id_is_replaced(value: bytes) -> None:
    assert consistent(named((b"x-request-id", value))) == FIRST


def test_of_two_names_none_is_the_one() -> None:
    assert consistent(named((b"x-request-id", b"7"), (b"x-request-id", b"7"))) == FIRST


def test_an_untrusted_peer_does_not() -> None:
    head = named((b"x-request-id", b"mine"), (b"traceparent", TRACEPARENT.encode()), trusted=False)
    assert consistent(head) == FIRST
    assert (b"traceparent", TRACEPARENT.encode()) in head.headers  # tracing has a trust of its own


def test_a_trace_is_a_name_where_there_is_no_other() -> None:
    trace = (b"traceparent", TRACEPARENT.encode())
    assert consistent(named(trace)) == TRACE
    assert consistent(named(trace, (b"x-request-id", b"7"))) == "7"
    assert consistent(named(trace, (b"x-request-id", b"not one"))) == TRACE
    assert consistent(named(trace, trace)) == FIRST


@pytest.mark.parametrize(
    ("traceparent", "found"),
    [
        (TRACEPARENT, TRACE),
        (f"{TRACEPARENT}-what-a-later-version-has", ""),
        (f"01{TRACEPARENT[2:]}", TRACE),
        (f"01{TRACEPARENT[2:]}-more", TRACE),
        (f"01{TRACEPARENT[2:]}more", ""),
        (f"ff{TRACEPARENT[2:]}", ""),
        (TRACEPARENT.upper(), ""),
        (TRACEPARENT[:-1], ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f" {TRACEPARENT}", ""),
        ("", ""),
    ],
)
def test_traceparent_is_read_as_its_specification_has_it(traceparent: str, found: str) -> None:
    assert trace_id(traceparent.encode()) == found.encode()


def test_ids_are_counted_and_never_the_same() -> None:
    ids = RequestIds(PROCESS, CURRENT.set)
    told = [consistent(named(ids=ids)) for _ in range(600)]
    assert told == [f"{PROCESS}{number:016x}" for number in range(600)]


@given(st.binary(max_size=140), st.binary(max_size=80), st.booleans())
def test_whatever_is_sent_the_id_is_one_clean_word(sent: bytes, trace: bytes, trusted: bool) -> None:
    told = consistent(named((b"x-request-id", sent), (b"traceparent", trace), trusted=trusted))
    assert 1 <= len(told) <= SIZE
    assert told.isascii()
    assert told.isprintable()
    assert not set(told) & set(' "\\')


# Through a connection, with either parser.


class Trusting:
    """A trust in everybody that changes no scope."""

    def trusts(self, client: tuple[str, int] | None, *, unix: bool) -> bool:
        return True

    def apply(self, scope: Scope) -> None:
        pass


@pytest.fixture(params=sorted(PARSERS))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def service(app: Any, parser: str, *, trusted: bool = True, **values: Any) -> Service:
    settings: dict[str, Any] = {"ids": RequestIds(PROCESS, CURRENT.set), "parser": parser}
    return make_service(app, **(settings | ({"trust": Trusting()} if trusted else {}) | values))


def get(*lines: str, method: str = "GET", path: str = "/") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


def ids_of(transport: ScriptedTransport) -> list[str]:
    """The X-Request-ID of everything that was answered."""
    lines = bytes(transport.written).decode("latin-1").split("\r\n")
    return [line.partition(": ")[2] for line in lines if line.lower().startswith("x-request-id:")]


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """All that the application is told of the id."""
    told = {
        "header": [value.decode() for name, value in scope["headers"] if name == b"x-request-id"],
        "extension": scope["extensions"].get("pronghorn.request_id"),
        "context": CURRENT.get(),
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


def told(transport: ScriptedTransport) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(bytes(transport.written).rpartition(b"\r\n\r\n")[2])
    return body


@pytest.mark.parametrize(
    ("lines", "trusted", "name"),
    [
        ((), True, FIRST),
        (("X-Request-ID: 7f",), True, "7f"),
        (("X-REQUEST-ID: \t7f \t",), True, "7f"),
        (("X-Request-ID: 7f",), False, FIRST),
        (("X-Request-ID: a", "X-Request-ID: b"), True, FIRST),
        (("X-Request-ID: a", "X-Request-ID: b"), False, FIRST),
        (("X_Request_ID: 7f",), True, FIRST),
        (("X-Request-ID: a b",), True, FIRST),
        ((f"Traceparent: {TRACEPARENT}",), True, TRACE),
        ((f"Traceparent: {TRACEPARENT}",), False, FIRST),
    ],
)
async def test_one_id_in_every_place(parser: str, lines: tuple[str, ...], trusted: bool, name: str) -> None:
    transport = connect(service(tell, parser, trusted=trusted))
    transport.feed(get(*lines))
    await turns()
    assert told(transport) == {"header": [name], "extension": {"id": name}, "context": name}
    assert ids_of(transport) == [name]


async def test_without_ids_nothing_is_touched(parser: str) -> None:
    transport = connect(service(tell, parser, ids=None))
    transport.feed(get("X-Request-ID: a", "X-Request-ID: b"))
    await turns()
    assert told(transport) == {"header": ["a", "b"], "extension": None, "context": "-"}
    assert ids_of(transport) == []


async def test_the_next_request_has_the_next_id(parser: str) -> None:
    transport = connect(service(tell, parser))
    transport.feed(get("X-Request-ID: 7f") + get() + get())
    await turns(8)
    assert ids_of(transport) == ["7f", FIRST, SECOND]
    assert told(transport)["context"] == SECOND


@pytest.mark.parametrize("name", [b"x-request-id", b"X-Request-Id"])
async def test_an_application_may_answer_with_its_own(parser: str, name: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(name, b"own")]})
        await send({"type": "http.response.body", "body": b""})

    transport = connect(service(app, parser))
    transport.feed(get() + get())  # the second one would come from the cache of fields
    await turns(8)
    assert ids_of(transport) == ["own", "own"]


async def test_streams_and_answers_without_a_body_have_it(parser: str) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        status = int(scope["path"][1:])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    transport = connect(service(app, parser))
    for method, status in (("GET", 200), ("HEAD", 200), ("GET", 204), ("GET", 304)):
        transport.feed(get(f"X-Request-ID: {method}-{status}", method=method, path=f"/{status}"))
        await turns()
    assert ids_of(transport) == ["GET-200", "HEAD-200", "GET-204", "GET-304"]


# What the server says and answers by itself.


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What is logged to the server's logger, with ids."""
    kept: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    logger, handler = logging.getLogger("pronghorn.error"), Keeping()
    before, level = logging.getLogRecordFactory(), logger.level
    request_id.install()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield kept
    logger.removeHandler(handler)
    logger.setLevel(level)
    logging.setLogRecordFactory(before)


def said(records: list[logging.LogRecord]) -> list[tuple[str, str]]:
    return [(record.__dict__["request_id"], record.getMessage().split(":")[0]) for record in records]


async def test_a_failing_application(parser: str, records: list[logging.LogRecord]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("on purpose")

    transport = connect(service(app, parser))
    transport.feed(get("X-Request-ID: 7f"))
    await turns()
    assert bytes(transport.written).startswith(b"HTTP/1.1 500 ")
    assert ids_of(transport) == ["7f"]
    assert said(records) == [("7f", "Exception in ASGI application")]


async def test_one_request_too_many(parser: str, records: list[logging.LogRecord]) -> None:
    transport = connect(service(tell, parser, limit_concurrency=0))
    transport.feed(get("X-Request-ID: 7f"))
    await turns()
    assert bytes(transport.written).startswith(b"HTTP/1.1 503 ")
    assert ids_of(transport) == ["7f"]
    assert said(records) == [("7f", "Exceeded concurrency limit.")]


async def test_a_body_that_is_broken_or_too_slow(parser: str, records: list[logging.LogRecord]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    serving = service(app, parser)
    broken, slow = connect(serving), connect(serving)
    broken.feed(get("X-Request-ID: broken", "Transfer-Encoding: chunked", method="POST") + b"no size\r\n")
    slow.feed(get("X-Request-ID: slow", "Content-Length: 5", method="POST"))
    await turns()
    for _ in range(serving.body_ticks + 1):
        serving.deadlines.advance()
    await turns()
    assert bytes(broken.written).startswith(b"HTTP/1.1 400 ")
    assert bytes(slow.written).startswith(b"HTTP/1.1 408 ")
    assert (ids_of(broken), ids_of(slow)) == (["broken"], ["slow"])
    refused = [one for one in said(records) if one[1] == "Invalid HTTP request received"]
    assert refused == [("broken", "Invalid HTTP request received"), ("slow", "Invalid HTTP request received")]


async def test_what_was_never_a_request_has_none(parser: str, records: list[logging.LogRecord]) -> None:
    """The line before it on the same connection lent it its context once: reading was taken up again in there."""
    transport = connect(service(tell, parser))
    transport.feed(get("X-Request-ID: 7f") + b"nonsense\r\n\r\n")
    await turns()
    assert ids_of(transport) == ["7f"]
    assert said(records) == [("-", "Invalid HTTP request received")]


async def test_the_last_request_of_a_worker_is_no_news_of_the_one_before(parser: str) -> None:
    seen: list[str] = []
    serving = service(tell, parser, limit_requests=2, on_request_limit=lambda: seen.append(CURRENT.get()))
    transport = connect(serving)
    transport.feed(get() + get())
    await turns(8)
    assert seen == ["-"]


# WebSockets.

HANDSHAKE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "X-Request-ID: 7f")
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
SOCKETS = WebSockets(codec=lambda: WebsocketsCodec)


async def test_a_websocket_has_it_all_along(parser: str, records: list[logging.LogRecord]) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"]["pronghorn.request_id"])
        seen.append([value for name, value in scope["headers"] if name == b"x-request-id"])
        await receive()
        await send({"type": "websocket.accept"})
        seen.append((await receive())["type"])
        logging.getLogger("pronghorn.error").warning("gone")

    transport = connect(service(app, parser, websockets=SOCKETS))
    transport.feed(get(*HANDSHAKE, KEY))
    await turns()
    assert bytes(transport.written).startswith(b"HTTP/1.1 101 ")
    assert ids_of(transport) == ["7f"]
    transport.feed(b"\x81\x00")  # a frame that is not masked
    await turns()
    assert seen == [{"id": "7f"}, [b"7f"], "websocket.disconnect"]
    assert said(records) == [("7f", "WebSocket closed"), ("7f", "gone")]


async def test_a_websocket_that_is_denied_or_refused(parser: str, records: list[logging.LogRecord]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})

    serving = service(app, parser, websockets=SOCKETS)
    denied, refused = connect(serving), connect(serving)
    denied.feed(get(*HANDSHAKE, KEY))
    refused.feed(get(*HANDSHAKE))
    await turns()
    assert bytes(denied.written).startswith(b"HTTP/1.1 403 ")
    assert bytes(refused.written).startswith(b"HTTP/1.1 400 ")
    assert (ids_of(denied), ids_of(refused)) == (["7f"], ["7f"])
    assert said(records) == [("7f", "WebSocket handshake refused")]


# Many at once.


async def test_no_record_has_the_id_of_another(parser: str, records: list[logging.LogRecord]) -> None:
    """Requests that stop and go on in any order, on many connections, from tasks and threads of theirs."""
    logger = logging.getLogger("pronghorn.error")
    gates: dict[str, asyncio.Event] = {}

    async def child(name: str) -> None:
        await gates[name].wait()
        logger.info("%s", name)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["extensions"]["pronghorn.request_id"]["id"]
        gates[name] = asyncio.Event()
        logger.info("%s", name)
        task = asyncio.create_task(child(name))
        await gates[name].wait()
        await asyncio.to_thread(logger.info, "%s", name)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        logger.info("%s", name)  # behind the response, when the next request may have begun
        await task

    serving = service(app, parser)
    transports = [connect(serving) for _ in range(20)]
    order = random.Random(27)
    for number, transport in enumerate(transports):
        transport.feed(get(f"X-Request-ID: {number}.0") + get(f"X-Request-ID: {number}.1"))
    while serving.tasks or len(gates) < 40:
        waiting = [gate for gate in gates.values() if not gate.is_set()]
        if waiting:
            order.choice(waiting).set()
        await asyncio.sleep(0)
    assert len(records) == 160
    assert [one for one in said(records) if one[0] != one[1]] == []
    for number, transport in enumerate(transports):
        assert ids_of(transport) == [f"{number}.0", f"{number}.1"]


# Records.


def made(logger: logging.Logger, *args: Any, **extra: Any) -> logging.LogRecord:
    return logger.makeRecord("app", logging.INFO, "", 0, "said", (), None, extra=extra or None)


def test_records_of_a_request_and_outside(records: list[logging.LogRecord]) -> None:
    logger = logging.getLogger("pronghorn.error")
    logger.info("outside")
    context = copy_context()
    context.run(CURRENT.set, "7f")
    context.run(logger.info, "inside")
    assert said(records) == [("-", "outside"), ("7f", "inside")]
    assert [logging.Formatter("%(request_id)s").format(record) for record in records] == ["-", "7f"]
    lines = [json.loads(JsonFormatter().format(record)) for record in records]
    assert ["request_id" in line for line in lines] == [False, True]


@pytest.mark.usefixtures("records")
class TestRecords:
    def test_extra_may_have_an_id_of_its_own(self) -> None:
        """Which logging refuses for an attribute that a record has already."""
        record = made(logging.getLogger("app"), request_id="the application's")
        assert logging.Formatter("%(request_id)s").format(record) == "the application's"
        with pytest.raises(KeyError, match="levelname"):
            made(logging.getLogger("app"), levelname="x")

    def test_a_message_that_is_a_dictionary(self) -> None:
        """python-json-logger does not ask such a record for its message."""
        record = made(logging.getLogger("app"))
        record.msg = {"event": "x"}
        context = copy_context()
        context.run(CURRENT.set, "7f")
        assert json.loads(JsonFormatter().format(record))["event"] == "x"
        record = context.run(made, logging.getLogger("app"))
        record.msg = {"event": "y"}
        assert json.loads(JsonFormatter().format(record))["request_id"] == "7f"

    def test_records_travel(self) -> None:
        record = pickle.loads(pickle.dumps(made(logging.getLogger("app"))))
        assert record.request_id == "-"
        assert type(record.__dict__) is dict

    def test_once_is_enough(self) -> None:
        factory = logging.getLogRecordFactory()
        request_id.install()
        assert logging.getLogRecordFactory() is factory

    def test_an_applications_factory_below_and_above(self) -> None:
        class Record(logging.LogRecord):
            """One that knows better."""

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.request_id = "the application's"

        logging.setLogRecordFactory(Record)
        request_id.install()
        ours = logging.getLogRecordFactory()

        def above(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = ours(*args, **kwargs)
            record.colour = "red"
            return record

        logging.setLogRecordFactory(above)
        request_id.install()
        record = made(logging.getLogger("app"))
        assert isinstance(record, Record)
        assert logging.Formatter("%(request_id)s %(colour)s").format(record) == "the application's red"
