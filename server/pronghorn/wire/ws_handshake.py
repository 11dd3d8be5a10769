"""The opening handshake of a WebSocket (RFC 6455 §4.2), made once, from a head that was parsed already.

`wanted` says whether a request asks for one at all, `check` what its client offers, or why it is refused; `accept` makes the
status and the fields of the answer. Nothing here knows how a request was framed: a client over HTTP/2 sends the same fields in an
extended CONNECT (RFC 8441), without the key, and is answered 200 in place of 101.

The origin is looked at because nobody else does. Browsers let any page open a WebSocket to any host and send that host's
cookies along; unlike with `fetch`, no answer of the server is asked for first (RFC 6455 §10.2, "cross-site WebSocket hijacking").
They do tell the origin of the page, and a page cannot change it. Other clients may send what they like, or nothing.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

from .ports import RequestHead
from .ws_deflate import Deflate, negotiate, parse_extensions

#: Pairs of name and value; those of an application as it gave them.
Fields = list[Any]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # §1.3
_VERSION: Final = b"13"
# §4.2.1: "a base64-encoded value that, when decoded, is 16 bytes in length".
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch
_PROTOCOLS: Final = re.compile(
    rb"[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:[ \t]*,[ \t]*[!#$%&'*+\-.^_`|~0-9A-Za-z]+)*[ \t]*"
).fullmatch

# What an application may not set in its own name: the answer to the handshake is the server's.
_OWN: Final = frozenset(
    (
        b"upgrade",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-version",
        b"sec-websocket-key",
    )
)
_PROTOCOL: Final = b"sec-websocket-protocol"


class Refusal(Exception):
    """A handshake that is answered with an error, and the fields that explain it, before any application sees it."""

    def __init__(self, status: int, reason: str, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.fields: Fields = list(fields)


class Offer:
    """What a client offers. `key` is None where the version of HTTP has none, `extensions` is the answer to its extensions."""

    __slots__ = ("deflate", "extensions", "key", "subprotocols")

    def __init__(self) -> None:
        self.key: bytes | None = None
        self.subprotocols: list[str] = []
        self.deflate: Deflate | None = None
        self.extensions = b""


def wanted(head: RequestHead) -> bool:
    """Whether a request asks for a WebSocket: over HTTP/2 by an extended CONNECT for that protocol (RFC 8441 §5).

    A server may ignore the wish for another protocol, and has to over HTTP/1.0 (RFC 9110 §7.8). It is ignored as well where it comes
    with another method than GET, which is no handshake (RFC 6455 §4.1): the request is then served as what it is.
    """
    upgrade = head.upgrade
    if head.http_version == "2":
        return upgrade == b"websocket"
    if upgrade is None or head.http_version != "1.1" or head.method != "GET":
        return False
    return upgrade == b"websocket" or b"websocket" in [name.strip(b" \t") for name in upgrade.split(b",")]


def check(head: RequestHead, *, origins: frozenset[bytes] | None, compress: bool) -> Offer:
    """What the client offers. `origins` are those that are allowed, None is any. Raises `Refusal`."""
    offer = Offer()
    keys: list[bytes] = []
    versions: list[bytes] = []
    protocols: list[bytes] = []
    extensions: list[bytes] = []
    origin: bytes | None = None
    for name, value in head.headers:
        if name == b"sec-websocket-key":
            keys.append(value)
        elif name == b"sec-websocket-version":
            versions.append(value)
        elif name == _PROTOCOL:
            protocols.append(value)
        elif name == b"sec-websocket-extensions":
            extensions.append(value)
        elif name == b"origin":
            origin = value if origin is None else origin + b", " + value
    if head.http_version == "1.1":
        if head.chunked or head.content_length:
            raise Refusal(400, "a WebSocket handshake has no body")
        if len(keys) != 1 or not _KEY(keys[0]):
            raise Refusal(400, "no valid Sec-WebSocket-Key")
        offer.key = keys[0]
    if versions != [_VERSION]:
        # §4.4: the client may try again with a version that it finds here. RFC 9110 §15.5.22 wants Upgrade as well.
        fields = [(b"sec-websocket-version", _VERSION), (b"upgrade", b"websocket")]
        raise Refusal(426, "not version 13 of the WebSocket protocol", fields)
    if origins is not None and origin is not None and origin.lower() not in origins:
        raise Refusal(403, "origin not allowed")
    if protocols:
        listed = b",".join(protocols)
        if not _PROTOCOLS(listed):
            raise Refusal(400, "invalid Sec-WebSocket-Protocol")
        offer.subprotocols = [name.strip(b" \t").decode("ascii") for name in listed.split(b",")]
    if extensions:
        _choose(offer, b",".join(extensions), compress=compress)
    return offer


def _choose(offer: Offer, extensions: bytes, *, compress: bool) -> None:
    """Take the first offer of compression that can be accepted (RFC 7692 §5)."""
    try:
        offered = parse_extensions(extensions)
    except ValueError:
        # RFC 6455 §9.1: "the recipient of such malformed data MUST immediately fail the WebSocket connection".
        raise Refusal(400, "invalid Sec-WebSocket-Extensions") from None
    if not compress:
        return
    for name, parameters in offered:
        agreed = negotiate(parameters) if name == b"permessage-deflate" else None
        if agreed is not None:
            offer.deflate, offer.extensions = agreed
            return


def accept(offer: Offer, subprotocol: str | None, headers: Fields) -> tuple[int, Fields, Fields]:
    """The answer that opens the connection: its status, the server's own fields, and what is left of the application's.

    An application may name the subprotocol among its headers instead.
    """
    own: Fields = []
    status = 200
    if offer.key is not None:
        status = 101
        own.append((b"upgrade", b"websocket"))
        digest = hashlib.sha1(offer.key + _GUID, usedforsecurity=False).digest()
        own.append((b"sec-websocket-accept", base64.b64encode(digest)))
    if offer.extensions:
        own.append((b"sec-websocket-extensions", offer.extensions))
    others: Fields = []
    for name, value in headers:
        lowered = name.lower()
        if lowered == _PROTOCOL:
            if subprotocol is None:
                subprotocol = value.decode("latin-1")
        elif lowered not in _OWN:
            others.append((name, value))
    if subprotocol is not None:
        own.append((_PROTOCOL, subprotocol.encode("latin-1")))
    return status, own, others
