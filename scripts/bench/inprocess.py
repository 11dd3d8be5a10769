"""Requests through the server inside one process: `python -m scripts.bench.inprocess WORKLOAD COUNT`, run under callgrind.

`counted` is `get` with metrics on. The transport is scripted and what is written to it is dropped: no socket, no event from the kernel, nothing that differs
from run to run. Parser, scope, cycle, response and task are all the real ones; of a WebSocket, whose messages take the place of
requests, codec, connection and cycle. Over HTTP/2 (`h2-get`, `h2-post`) it is one stream after the other, on one connection.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pronghorn.asgi.http import NullObserver, Observer
from pronghorn.asgi.request_id import RequestIds
from pronghorn.net.h1_connection import H1Connection
from pronghorn.net.h2_connection import H2Connection
from pronghorn.net.http2 import Http2
from pronghorn.net.ws_settings import WebSockets
from pronghorn.observe.counts import Counts
from pronghorn.observe.request_id import CURRENT
from pronghorn.wire.headers import DefaultHeaders
from pronghorn.wire.limits import RequestLimits
from pronghorn.wire.ws_websockets import WebsocketsCodec
from scripts.bench import h2, websocket
from scripts.bench.apps import raw
from tests.support.scripted import ScriptedTransport, make_service

_HEAD = b" HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: bench\r\nAccept: */*\r\n"
_GET = b"GET /" + _HEAD + b"\r\n"
_POST = b"POST /" + _HEAD + b"Content-Length: 10240\r\n\r\n" + b"x" * 10_240

_MESSAGE = "x" * 100


def _always(request: bytes) -> Callable[[int], bytes]:
    return lambda _: request


# Application, what the so-manieth request or message is, and what each answer has once: at its end, but over HTTP/2.
WORKLOADS = {
    "get": (raw.hello, _always(_GET), raw.HELLO),
    "counted": (raw.hello, _always(_GET), raw.HELLO),
    "post": (raw.echo, _always(_POST), b"x"),
    "stream": (raw.stream, _always(_GET), b"0\r\n\r\n"),
    "websocket": (
        raw.websocket,
        _always(websocket.frame(_MESSAGE, masked=True)),
        websocket.frame(_MESSAGE, masked=False),
    ),
    "h2-get": (raw.hello, h2.get, raw.HELLO),
    "h2-post": (raw.count, h2.post, b"10240"),
}


class _Count(ScriptedTransport):
    """Drops what is written and counts the answers that ended; with `mixed` there may be other frames behind the end of one."""

    def __init__(self, ending: bytes, *, mixed: bool) -> None:
        super().__init__()
        self._ending = ending
        self._mixed = mixed
        self.responses = 0

    def write(self, data: Any) -> None:
        if self._mixed:
            self.responses += data.count(self._ending)
        elif data.endswith(self._ending):
            self.responses += 1

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))


async def requests(workload: str, count: int) -> int:
    """One request or message after the other on one connection; how many were answered."""
    if workload != "counted":
        return await _requests(workload, count, NullObserver())
    with tempfile.TemporaryDirectory() as folder:
        return await _requests(workload, count, Counts(Path(folder)).observer())


async def _requests(workload: str, count: int, observer: Observer) -> int:
    app, request, ending = WORKLOADS[workload]
    # Without a date, whose second would change at another request in each run.
    defaults = DefaultHeaders(server=b"pronghorn", date=False)
    websockets = WebSockets(codec=lambda: WebsocketsCodec)
    ids = RequestIds("0123456789abcdef", CURRENT.set)
    service = make_service(app, observer=observer, defaults=defaults, websockets=websockets, ids=ids)
    http2 = workload.startswith("h2-")
    transport = _Count(ending, mixed=http2)
    transport.connect(
        H2Connection(service, Http2(limits=RequestLimits())) if http2 else H1Connection(service)
    )
    if http2:
        transport.feed(h2.OPENING)
    if app is raw.websocket:
        transport.feed(websocket.handshake("/"))
    for number in range(1, count + 1):
        transport.feed(request(number))
        while transport.responses < number:  # noqa: ASYNC110 - the turns of the loop are counted too, nothing is waited for
            await asyncio.sleep(0)
    return transport.responses


if __name__ == "__main__":
    # Start-up leaves another number of objects behind with every version of a library: not to be collected here.
    gc.collect()
    gc.freeze()
    wanted = int(sys.argv[2])
    answered = asyncio.run(requests(sys.argv[1], wanted))
    if answered != wanted:
        sys.exit(f"{answered} answers to {wanted} requests")
