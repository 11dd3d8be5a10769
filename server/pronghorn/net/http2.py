"""What the HTTP/2 connections of a worker have in common, and the way to them: whatever else they need is imported for the first one.

A server that nobody speaks HTTP/2 with is smaller and starts sooner for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pronghorn.wire.limits import RequestLimits

if TYPE_CHECKING:
    from pronghorn.asgi.http import HttpCycle
    from pronghorn.wire.h2_response import HeadEncoder
    from pronghorn.wire.h2_settings import OwnSettings

    from .h2_connection import H2Connection
    from .h2c import H2cUpgrade, Leaver
    from .service import Service


@dataclass(slots=True, kw_only=True, eq=False)
class Http2:
    """`clear` is whether it is spoken in clear text too: by prior knowledge, and after ``Upgrade: h2c``.

    Windows and frames are in bytes, as `wire.h2_settings.OwnSettings` has them. `ping_ticks` are between two PING frames to a peer
    that is silent, None is no such frames.
    """

    limits: RequestLimits
    clear: bool = False
    max_concurrent_streams: int = 100
    max_frame_size: int = 16_384
    initial_window: int = 262_144
    connection_window: int = 1_048_576
    ping_ticks: int | None = None

    _own: OwnSettings | None = None
    _encoder: HeadEncoder | None = None

    def own(self, *, connect: bool) -> OwnSettings:
        """What is told to every peer; with `connect`, that there are WebSockets."""
        from pronghorn.wire.h2_settings import OwnSettings  # noqa: PLC0415  # see above

        if self._own is None:
            self._own = OwnSettings(
                max_concurrent_streams=self.max_concurrent_streams,
                max_frame_size=self.max_frame_size,
                initial_window=self.initial_window,
                connection_window=self.connection_window,
                connect=connect,
            )
        return self._own

    def encoder(self, service: Service) -> HeadEncoder:
        """What makes the heads of all responses."""
        from pronghorn.wire.h2_response import HeadEncoder  # noqa: PLC0415  # see above

        if self._encoder is None:
            self._encoder = HeadEncoder(service.defaults)
        return self._encoder

    def asked(self, http: HttpCycle, leaver: Leaver) -> H2cUpgrade | None:
        """What becomes of a request that may ask for ``Upgrade: h2c``; None if it does not, or is not heard."""
        if not self.clear:
            return None
        from .h2c import H2cUpgrade, wanted  # noqa: PLC0415  # see above

        settings = wanted(http.head)
        return None if settings is None else H2cUpgrade(http, leaver, settings)

    def take(self, service: Service, transport: asyncio.Transport, data: bytes = b"") -> H2Connection:
        """Speak HTTP/2 over a transport from now on; `data` has come already."""
        from .h2_connection import H2Connection  # noqa: PLC0415  # see above

        connection = H2Connection(service, self)
        transport.set_protocol(connection)  # type: ignore[arg-type]  # its methods are what counts
        connection.connection_made(transport)
        if data:
            connection.data_received(data)
        return connection
