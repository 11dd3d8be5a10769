"""Who the client is, and where it thinks it is, when the peer is a proxy: ``X-Forwarded-*`` and ``Forwarded``.

Anyone can send these headers, so they count only when the peer itself is trusted, and of them only those that are named:
a header that the proxy does not set is one that the client can (docs/proxies.md).

``X-Forwarded-For`` grows to the right, one address a hop: the last was written by the peer, the one before it by whoever
the peer heard it from. So it is read from the right, for as long as the hops are trusted; the first one that is not is
the client, and what stands left of it may be forged. An entry that is no address ends the walk, because
nothing left of it can be vouched for; the last good one is then the client. For the same reason the last
value of the other ``X-Forwarded-*`` is the one that counts. ``Forwarded`` is walked likewise, and since each of its
elements was written by one hop, scheme and host come from the outermost hop that the walk has reached.

The server decides trust once a connection (``trusts``) and rewrites each scope (``apply``);
``ProxyHeadersMiddleware`` does the same around an application, under any server.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from pronghorn.middleware import forwarded
from pronghorn.types import ASGIApplication, Receive, Scope, Send

_HTTP_SCHEMES = {b"http": "http", b"https": "https", b"ws": "http", b"wss": "https"}
_WS_SCHEMES = {b"http": "ws", b"https": "wss", b"ws": "ws", b"wss": "wss"}

_FORWARDED: Final = b"forwarded"
_FOR: Final = b"x-forwarded-for"
_PROTO: Final = b"x-forwarded-proto"
_HOST: Final = b"x-forwarded-host"
_PORT: Final = b"x-forwarded-port"
_PREFIX: Final = b"x-forwarded-prefix"
_KNOWN: Final = frozenset((_FORWARDED, _FOR, _PROTO, _HOST, _PORT, _PREFIX))

# Values up to this size are looked up rather than parsed again: room for three or four hops, and no client
# can make the cache hold more than a few hundred kilobytes.
_CACHED_SIZE, _CACHED_VALUES = 96, 1024

_Client = tuple[str, int]


class TrustedProxies:
    """A set of trusted peers: addresses, networks, ``unix:`` for every Unix peer, ``*`` for everyone.

    `headers` are the names of those that count. `hops` is the most entries that a walk goes through, None is any number;
    with ``*`` it is how the client is found at all.
    """

    def __init__(
        self,
        spec: str | Iterable[str],
        *,
        headers: str | Iterable[str] = "x-forwarded-for,x-forwarded-proto",
        hops: int | None = None,
    ) -> None:
        """Take lists, or strings separated by commas; an empty `spec` trusts nobody.

        Raises ``ValueError`` for an entry that is none of the above, naming it.
        """
        self._spec = _entries(spec)
        self._hops = hops
        self._counted = frozenset(name.lower().encode("latin-1") for name in _entries(headers))
        if unknown := self._counted - _KNOWN:
            raise ValueError(f"{min(unknown).decode('latin-1')!r} is no forwarding header")
        self._everyone = "*" in self._spec
        self._unix = self._everyone or "unix:" in self._spec
        self._addresses: set[IPv4Address | IPv6Address] = set()
        self._networks: list[IPv4Network | IPv6Network] = []
        for entry in self._spec:
            if entry in ("*", "unix:"):
                continue
            try:
                if "/" in entry:
                    self._networks.append(ip_network(entry))
                else:
                    self._addresses.add(forwarded.unmapped(ip_address(entry)))
            except ValueError as exc:
                raise ValueError(
                    f"{entry!r} is not an address, a network such as 10.0.0.0/8, 'unix:' or '*' ({exc})"
                ) from None
        self._client_of = functools.lru_cache(_CACHED_VALUES)(self._walk)
        self._facts_of = functools.lru_cache(_CACHED_VALUES)(self._walk_elements)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({','.join(self._spec)!r})"

    def trusts(self, client: tuple[str, int] | None, *, unix: bool) -> bool:
        """Whether a peer's forwarding headers count: its address, or that it came over a Unix socket."""
        if unix or self._everyone:
            return self._unix
        if client is None:
            return False
        try:
            return self._contains(forwarded.unmapped(ip_address(client[0])))
        except ValueError:
            return False

    def apply(self, scope: Scope) -> None:
        """Rewrite an http or websocket scope whose peer is trusted: what of it depends on the headers that count.

        ``client`` (with port 0 where none is given, as nearly everywhere), ``scheme``, the Host field, and
        ``root_path`` with the two paths that include it. Nothing nested is changed in place.
        """
        counted = self._counted
        values: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in counted:
                # Several lines are one list (RFC 9110 section 5.3).
                values[name] = value if name not in values else values[name] + b"," + value
        if not values:
            return
        client: _Client | None = None
        proto = host = None
        if (value := values.get(_FORWARDED)) is not None:
            facts = self._facts_of if len(value) <= _CACHED_SIZE else self._walk_elements
            client, proto, host = facts(value)
        if (value := values.get(_FOR)) is not None:
            walk = self._client_of if len(value) <= _CACHED_SIZE else self._walk
            client = walk(value)
        if client is not None:
            scope["client"] = client
        proto = values.get(_PROTO, proto)
        if proto is not None:
            schemes = _WS_SCHEMES if scope["type"] == "websocket" else _HTTP_SCHEMES
            scheme = schemes.get(proto) or schemes.get(forwarded.last(proto).lower())
            if scheme is not None:
                scope["scheme"] = scheme
        host, port = values.get(_HOST, host), values.get(_PORT)
        if host is not None or port is not None:
            _rename(scope, host, port)
        if (value := values.get(_PREFIX)) is not None:
            _mount(scope, value)

    def _walk(self, value: bytes) -> _Client | None:
        client: _Client | None = None
        for count, entry in enumerate(reversed(value.split(b",")), 1):
            hop = forwarded.hop(entry.strip(b" \t"))
            if hop is None:
                break
            client = hop[:2]
            if count == self._hops or not self._is_proxy(hop):
                break
        return client

    def _walk_elements(self, value: bytes) -> tuple[_Client | None, bytes | None, bytes | None]:
        client: _Client | None = None
        proto = host = None
        for count, raw in enumerate(reversed(value.split(b",")), 1):
            element = forwarded.element(raw)
            if element is None:
                break
            # Whoever wrote this element is the peer, or was reached through trusted hops alone.
            proto, host = element.get(b"proto", proto), element.get(b"host", host)
            hop = forwarded.node(element.get(b"for", b""))
            if hop is None:
                break
            client = hop[:2]
            if count == self._hops or not self._is_proxy(hop):
                break
        return client, proto, host

    def _is_proxy(self, hop: forwarded.Hop) -> bool:
        return self._everyone or self._contains(hop[2])

    def _contains(self, address: IPv4Address | IPv6Address) -> bool:
        return address in self._addresses or any(address in network for network in self._networks)


class ProxyHeadersMiddleware:
    """The same for an application under any server: ``ProxyHeadersMiddleware(app, "10.0.0.0/8")``.

    `options` are those of `TrustedProxies`. A scope without a client is taken for a Unix peer's, as the ASGI servers
    that listen on one make it.
    """

    def __init__(
        self, app: ASGIApplication, trusted_hosts: str | Iterable[str] = "127.0.0.1,::1", **options: Any
    ) -> None:
        self.app = app
        self.trusted = TrustedProxies(trusted_hosts, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application with a rewritten copy of the scope, or with the scope itself."""
        if scope["type"] in ("http", "websocket"):
            client = scope.get("client")
            if self.trusted.trusts(client, unix=client is None):
                scope = dict(scope)
                self.trusted.apply(scope)
        await self.app(scope, receive, send)


def _rename(scope: Scope, host: bytes | None, port: bytes | None) -> None:
    """Put the host and port that the client asked for into the Host field; values that make no sense change nothing."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    asked = next((value for name, value in headers if name == b"host"), b"")
    name = asked if host is None else forwarded.last(host)
    number = None if port is None else forwarded.last(port)
    wanted = forwarded.authority(name, number, tls=scope["scheme"] in ("https", "wss"))
    if wanted is not None:
        scope["headers"] = [(b"host", wanted), *(field for field in headers if field[0] != b"host")]


def _mount(scope: Scope, value: bytes) -> None:
    """Put the application below the path that the proxy has cut off."""
    prefix = forwarded.prefix(forwarded.last(value))
    if prefix is None:
        return
    text = prefix.decode("ascii")
    scope["root_path"] = text + scope.get("root_path", "")
    scope["path"] = text + scope["path"]
    if scope.get("raw_path") is not None:
        scope["raw_path"] = prefix + scope["raw_path"]


def _entries(given: str | Iterable[str]) -> tuple[str, ...]:
    entries = given.split(",") if isinstance(given, str) else given
    return tuple(entry.strip() for entry in entries if entry.strip())
