"""From a request to the WebSocket that it asks for: what a connection keeps of the two until the application has decided."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.scope import websocket_scope
from pronghorn.asgi.websocket import Opener, WebSocketCycle
from pronghorn.types import ASGIApplication
from pronghorn.wire.ws_close import ABNORMAL
from pronghorn.wire.ws_handshake import Fields, Offer, Refusal, accept, check

from .flow import Outbox, WriteGate
from .service import Service
from .ws_connection import WsConnection
from .ws_settings import WebSockets


class Upgrade:
    """One handshake. Its head is `taken` if it can be accepted; a worse one is refused when its turn comes.

    `rest` is what the client has sent behind it: nothing, or frames of a client that did not wait for the answer.
    """

    __slots__ = ("_cycle", "_offer", "_refusal", "_settings", "http", "persistent", "rest")

    def __init__(
        self, http: HttpCycle, settings: WebSockets, opener: Opener, tls: dict[str, Any] | None
    ) -> None:
        self.http = http
        self.rest = b""
        #: Nobody knows what comes behind a handshake that is refused.
        self.persistent = False
        self._settings = settings
        self._offer = Offer()
        self._cycle: WebSocketCycle | None = None
        self._refusal: Refusal | None = None
        try:
            self._offer = check(http.head, origins=settings.origins, compress=settings.compress)
        except Refusal as refusal:
            self._refusal = refusal
        else:
            http.head.taken = True
            scope = websocket_scope(http.scope, self._offer.subprotocols, tls)
            self._cycle = WebSocketCycle(http, scope, opener, settings.max_queue)

    def refused(self, service: Service) -> bool:
        """Answer a handshake that is not for the application; false if it is."""
        http, refusal = self.http, self._refusal
        if refusal is not None:
            service.context_of(http.request_id).run(
                service.logger.warning,
                "WebSocket handshake refused: %s (%d).",
                refusal.reason,
                refusal.status,
            )
            http.refuse(refusal.status, [*refusal.fields, (b"connection", b"close")])
        elif service.draining:
            http.refuse(503, [(b"retry-after", b"1"), (b"connection", b"close")])
        else:
            return False
        return True

    def run(self, app: ASGIApplication) -> Coroutine[Any, Any, None]:
        """The cycle's own coroutine: one of ours around it would keep this object, and all that it knows, to the end."""
        assert self._cycle is not None
        return self._cycle.run(app)

    def answer(self, subprotocol: str | None, headers: Fields) -> tuple[int, Fields, Fields]:
        """As `ws_handshake.accept` has it."""
        return accept(self._offer, subprotocol, headers)

    def connect(
        self, service: Service, transport: asyncio.Transport, out: Outbox, writes: WriteGate
    ) -> WsConnection:
        """Put the WebSocket in the place of the connection that the handshake came over."""
        assert self._cycle is not None
        connection = WsConnection(service, self._settings, self._cycle, transport, out, writes)
        codec = self._settings.make_codec(connection, out.write, self._settings.max_size, self._offer.deflate)
        connection.begin(codec, self.rest)
        return connection

    def lost(self) -> None:
        """The client is gone before it had its answer."""
        if self._cycle is not None:
            self._cycle.disconnect(ABNORMAL, "")
