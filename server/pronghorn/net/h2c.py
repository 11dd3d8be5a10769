"""``Upgrade: h2c``: a request over HTTP/1.1 in clear text whose client would rather have its response over HTTP/2 (RFC 7540 §3.2).

RFC 9113 has dropped it, and a server may always ignore it; curl's ``--http2`` and a few libraries ask for it. The request is read to its
end first, since all of it comes ahead of the first frame, and becomes stream 1; one with a large body is served over HTTP/1.1.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, Protocol

from pronghorn.asgi.http import HttpCycle
from pronghorn.asgi.states import COMPLETE
from pronghorn.types import ASGIApplication
from pronghorn.wire.h2_settings import PeerSettings
from pronghorn.wire.ports import RequestHead

from .flow import HIGH_WATER

if TYPE_CHECKING:
    from .service import Service

#: Bytes of a body that are waited for; it has to come while nobody takes it.
_LARGEST: Final = HIGH_WATER // 2
#: Fields that are about the connection over HTTP/1.1, which ends here.
_OF_THE_CONNECTION: Final = frozenset(
    (b"connection", b"upgrade", b"http2-settings", b"keep-alive", b"te", b"transfer-encoding")
)


class Leaver(Protocol):
    """A connection that can make room for another one."""

    def leave_to_http2(self, head: RequestHead, body: bytes, settings: bytes) -> bool:
        """Answer 101 and let HTTP/2 answer the request itself. False, and nothing is done, where it cannot be now."""


def wanted(head: RequestHead) -> bytes | None:
    """The settings of a client that asks for HTTP/2 in the right way; None is that it does not, or that it is ignored.

    §3.2.1: the settings have to come once, and Connection has to name them, so that no proxy has passed them on unread.
    """
    if head.http_version != "1.1" or head.upgrade is None:
        return None
    if b"h2c" not in [name.strip(b" \t") for name in head.upgrade.split(b",")]:
        return None
    if (head.content_length or 0) > _LARGEST or head.expects_continue:
        return None
    settings = [value for name, value in head.headers if name == b"http2-settings"]
    options = b",".join([value for name, value in head.headers if name == b"connection"]).lower().split(b",")
    if len(settings) != 1 or b"http2-settings" not in [name.strip(b" \t") for name in options]:
        return None
    coded = settings[0].rstrip(b"=")
    try:
        payload = base64.b64decode(coded + b"=" * (-len(coded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(payload) % 6 or PeerSettings().take(payload):
        return None
    return payload


class H2cUpgrade:
    """One such request. What it has to be asked in is what a WebSocket's `Upgrade` is asked in."""

    __slots__ = ("_leaver", "_settings", "http", "persistent", "rest")

    def __init__(self, http: HttpCycle, leaver: Leaver, settings: bytes) -> None:
        self.http = http
        self.rest = b""
        #: Whether the connection is as good as before if nothing comes of it.
        self.persistent = True
        self._leaver = leaver
        self._settings = settings

    def refused(self, service: Service) -> bool:
        """Nobody is refused for asking."""
        return False

    def run(self, app: ASGIApplication) -> Coroutine[Any, Any, None]:
        """Wait for the whole request and hand it on, or else have it answered as if nothing had been asked."""
        return self._run(app)

    async def _run(self, app: ASGIApplication) -> None:
        http = self.http
        body = await http.gather(_LARGEST)
        if http.state >= COMPLETE:
            return
        if body is None:
            await http.run(app)
            return
        head = http.head
        asked, trailers = head.headers, head.accepts_trailers
        head.headers = [field for field in asked if field[0] not in _OF_THE_CONNECTION]
        head.http_version, head.accepts_trailers = "2", True
        if not self._leaver.leave_to_http2(head, body, self._settings):
            head.headers, head.http_version, head.accepts_trailers = asked, "1.1", trailers
            await http.run(app)

    def lost(self) -> None:
        """The client is gone, which the cycle is told by itself."""
