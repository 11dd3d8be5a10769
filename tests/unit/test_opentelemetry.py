"""OpenTelemetry's instrumentation of ASGI, and FastAPI's, in front of our server: what they need to know is in the scope."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pronghorn.asgi.request_id import RequestIds
from pronghorn.middleware.proxy_headers import TrustedProxies
from pronghorn.net.ws_settings import WebSockets
from pronghorn.observe import request_id
from pronghorn.observe.request_id import CURRENT
from pronghorn.types import Receive, Scope, Send
from pronghorn.wire.ws_websockets import WebsocketsCodec
from tests.support.scripted import PARSERS, ScriptedTransport, connect, make_service, turns

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
FIELDS = (f"traceparent: 00-{TRACE}-{PARENT}-01", "X-Request-ID: 7f", "X-Forwarded-For: 192.0.2.7")


class Tracing:
    """A provider whose spans stay in memory."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def server(self) -> ReadableSpan:
        """The one span of the server's kind."""
        [span] = [span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
        return span


@pytest.fixture
def tracing() -> Iterator[Tracing]:
    tracing = Tracing()
    yield tracing
    tracing.provider.shutdown()


@pytest.fixture(params=sorted(PARSERS))
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def asked(app: Any, parser: str, *lines: str, frames: tuple[bytes, ...] = ()) -> ScriptedTransport:
    """The answer to one request through a trusted proxy."""
    service = make_service(
        app,
        parser=parser,
        ids=RequestIds("0123456789abcdef", CURRENT.set),
        trust=TrustedProxies("*"),
        websockets=WebSockets(codec=lambda: WebsocketsCodec),
    )
    transport = connect(service)
    transport.feed(
        "\r\n".join(["GET /items/5?q=1 HTTP/1.1", "Host: a.example", *FIELDS, *lines, "", ""]).encode()
    )
    await turns()
    for frame in frames:
        transport.feed(frame)
        await turns()
    while service.tasks:
        await turns()
    return transport


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Under the names of old, which are still the default."""
    return dict(span.attributes or {})


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    logging.getLogger("app").warning("handled")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for piece in (b"one", b"two"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_a_request_is_one_span_below_the_one_that_sent_it(parser: str, tracing: Tracing) -> None:
    transport = await asked(OpenTelemetryMiddleware(hello, tracer_provider=tracing.provider), parser)
    span = tracing.server
    assert span.parent is not None
    assert (span.parent.trace_id, span.parent.span_id) == (int(TRACE, 16), int(PARENT, 16))
    told = attributes(span)
    assert told["http.method"] == "GET"
    assert told["http.scheme"] == "http"
    assert told["http.target"] == "/items/5"
    assert told["http.url"] == "http://a.example/items/5?q=1"
    assert told["http.status_code"] == 200
    assert told["net.peer.ip"] == "192.0.2.7"
    assert told["http.flavor"] == "1.1"
    assert b"x-request-id: 7f\r\n" in bytes(transport.written)
    assert bytes(transport.written).endswith(b"0\r\n\r\n")


async def test_an_exception_is_the_spans_and_still_answered(parser: str, tracing: Tracing) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("on purpose")

    transport = await asked(OpenTelemetryMiddleware(app, tracer_provider=tracing.provider), parser)
    assert bytes(transport.written).startswith(b"HTTP/1.1 500 ")
    span = tracing.server
    assert span.status.status_code is StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]


async def test_a_websocket_is_one_span(parser: str, tracing: Tracing) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": event["text"]})

    transport = await asked(
        *(OpenTelemetryMiddleware(app, tracer_provider=tracing.provider), parser),
        *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        frames=(b"\x81\x82\x00\x00\x00\x00hi", b"\x88\x82\x00\x00\x00\x00\x03\xe8"),
    )
    assert b"\x81\x02hi\x88\x02\x03\xe8" in bytes(transport.written)
    span = tracing.server
    assert span.parent is not None
    assert span.parent.trace_id == int(TRACE, 16)
    assert attributes(span)["http.scheme"] == "ws"


async def test_fastapi_knows_the_route(parser: str, tracing: Tracing) -> None:
    app = FastAPI()

    @app.get("/items/{item}")
    async def item(item: int) -> int:
        return item

    FastAPIInstrumentor.instrument_app(app, tracer_provider=tracing.provider)
    await asked(app, parser)
    span = tracing.server
    assert span.name == "GET /items/{item}"
    assert attributes(span)["http.route"] == "/items/{item}"
    assert span.parent is not None
    assert span.parent.span_id == int(PARENT, 16)


async def test_a_record_has_the_trace_and_the_request(
    parser: str, tracing: Tracing, caplog: pytest.LogCaptureFixture
) -> None:
    before = logging.getLogRecordFactory()
    request_id.install()
    instrumentor = LoggingInstrumentor()
    instrumentor.instrument(
        tracer_provider=tracing.provider, inject_trace_context=True, enable_log_auto_instrumentation=False
    )
    try:
        await asked(OpenTelemetryMiddleware(hello, tracer_provider=tracing.provider), parser)
    finally:
        instrumentor.uninstrument()
        logging.setLogRecordFactory(before)
    [record] = [record for record in caplog.records if record.name == "app"]
    form = logging.Formatter("%(otelTraceID)s %(request_id)s")
    assert form.format(record) == f"{TRACE} 7f"
