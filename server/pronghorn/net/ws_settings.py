"""What the WebSockets of a worker have in common, and the way to them: whatever else they need is imported for the first one.

A server that nobody asks for a WebSocket is smaller and starts sooner for it; the library alone takes 50 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pronghorn.asgi.http import HttpCycle
    from pronghorn.asgi.websocket import Opener
    from pronghorn.wire.ports import MessageSink, WebSocketCodec
    from pronghorn.wire.ws_deflate import Deflate

    from .ws_upgrade import Upgrade


class MakeCodec(Protocol):
    """Makes the codec of one WebSocket (`wire.ports.WebSocketCodec`)."""

    def __call__(
        self,
        sink: MessageSink,
        write: Callable[[bytes], object],
        max_size: int,
        deflate: Deflate | None,
        /,
    ) -> WebSocketCodec: ...


@dataclass(slots=True, kw_only=True, eq=False)
class WebSockets:
    """Timeouts are in ticks of the deadlines; `max_size` is in bytes, `max_queue` in messages.

    `codec` is called once, when the first WebSocket is asked for; None is that no library is installed, which is worth one
    warning then. `origins` are those that may open one, None is any.
    """

    codec: Callable[[], MakeCodec] | None
    max_size: int = 16_777_216
    max_queue: int = 32
    ping_ticks: int | None = None
    pong_ticks: int | None = None
    compress: bool = True
    origins: frozenset[bytes] | None = None

    _make: MakeCodec | None = None
    _warned: bool = False

    @property
    def make_codec(self) -> MakeCodec:
        if self._make is None:
            assert self.codec is not None
            self._make = self.codec()
        return self._make

    def asked(self, http: HttpCycle, opener: Opener, tls: dict[str, Any] | None) -> Upgrade | None:
        """The handshake that a request begins; None if it is for something else, or there is nobody to speak the protocol."""
        from pronghorn.wire.ws_handshake import wanted  # noqa: PLC0415  # see above

        if not wanted(http.head):
            return None
        if self.codec is None:
            if not self._warned:
                self._warned = True
                http.logger.warning(
                    "A WebSocket was asked for, and no library for it is installed. Install websockets or wsproto."
                )
            return None
        from .ws_upgrade import Upgrade  # noqa: PLC0415  # see above

        return Upgrade(http, self, opener, tls)
