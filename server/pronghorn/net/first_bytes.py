"""A connection of which nobody knows yet whether HTTP/1.1 or HTTP/2 will be spoken over it.

Over TLS that is agreed on in the handshake (ALPN, RFC 7301). In clear text a client that knows what we speak begins with the preface
of HTTP/2 (RFC 9113 §3.3), which is no request of any other version; whatever differs from it is HTTP/1.1. Either way this object
is out of the way from then on.
"""

import asyncio

from pronghorn.wire.h2_frames import PREFACE

from .deadlines import NEVER
from .h1_connection import H1Connection
from .service import Service


class FirstBytes:
    """An asyncio protocol (by its methods, not by inheritance), until it is known which one it is."""

    __slots__ = ("_data", "_service", "_transport", "bucket", "deadline")

    _transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self._data = b""
        self.deadline = NEVER
        self.bucket = NEVER

    def __repr__(self) -> str:
        return f"<FirstBytes {self._data!r}>"

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._become(http2=tls.selected_alpn_protocol() == "h2")
            return
        self._service.connections.add(self)
        self._service.deadlines.arm(self, self._service.header_ticks)

    def data_received(self, data: bytes) -> None:
        data = self._data + data
        if data.startswith(PREFACE):
            self._become(http2=True, data=data)
        elif PREFACE.startswith(data):
            self._data = data
        else:
            self._become(http2=False, data=data)

    def eof_received(self) -> None:
        pass  # returning None closes the transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def pause_writing(self) -> None:
        pass  # nothing is written

    def resume_writing(self) -> None:
        pass

    def _become(self, *, http2: bool, data: bytes = b"") -> None:
        self._leave()
        service = self._service
        if http2:
            assert service.http2 is not None
            service.http2.take(service, self._transport, data)
            return
        connection = H1Connection(service)
        self._transport.set_protocol(connection)  # type: ignore[arg-type]  # its methods are what counts
        connection.connection_made(self._transport)
        if data:
            connection.data_received(data)

    def _leave(self) -> None:
        self._service.connections.discard(self)
        self._service.deadlines.discard(self)

    # As the worker sees it.

    @property
    def fresh(self) -> bool:
        return True

    @property
    def busy(self) -> bool:
        return bool(self._data)

    def shutdown(self) -> None:
        self._transport.close()

    def hurry(self) -> None:
        pass  # nothing has begun

    def end_stream(self) -> None:
        pass

    def abort(self) -> None:
        self._transport.abort()

    def on_deadline(self) -> None:
        self._transport.close()
